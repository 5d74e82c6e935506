import json
import math
from dataclasses import replace
from functools import partial

import fakes
import numpy as np
import pytest
import torch
from networks import networks, small_codec
from PIL import Image
from talker import SHAPE, SIZE, talker

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.clips import talking_clips
from benchmarks.talking import lipsync, measure
from benchmarks.talking.long import Long
from benchmarks.talking.talking import TALKING_MEASURES, TalkingScores, rows
from jdap.depth import from_codec
from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import draw_frames
from jdap.diffusion.samplers import ddim
from jdap.diffusion.schedule import NoiseSchedule
from jdap.metrics.depth import absrel, align_scale_shift, delta1, ground_truth, rmse
from jdap.metrics.mouth import MouthReader, save_readers
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Conditions
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import WindowShape

FRAMES = 7


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    fakes.write_fakes(folder, people=2, frames=FRAMES, size_px=SIZE, fps=25.0, seed=9)
    return str(folder)


@pytest.fixture(scope="module")
def clips(shards):
    return list(talking_clips(shards, SIZE))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    talker().save_pretrained(folder / "with")
    talker(deaf=True).save_pretrained(folder / "none")
    joint, reference = networks()
    codec = small_codec()
    image = PortraitPipeline(codec, joint, reference, NoiseSchedule(), preset="tiny", size_px=SIZE)
    image.save_pretrained(folder / "image")
    save_readers({"rgb": MouthReader(3), "depth": MouthReader(1)}, folder / "mouth.safetensors")
    return folder


@pytest.mark.slow
def test_lipsync_from_weights_to_files(weights, shards, tmp_path, capsys):
    command = ["lipsync", "--weights", f"with={weights / 'with'}", "--weights", f"none={weights / 'none'}"]
    command += ["--shards", shards, "--steps", "2", "--reader", str(weights / "mouth.safetensors")]
    assert main([*command, "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "lipsync.json").read_text())
    arms = ["true", "codec", "still portrait", "with", "with, another's sound", "with, another's sound and curve"]
    arms += ["with, silence", "none", "with − none", "with − with, another's sound", "with − with, silence"]
    assert list(dict.fromkeys(row["arm"] for row in data["rows"])) == [*arms, "with − still portrait"]
    found = {(r["arm"], r["reader"], r["measure"]): r for r in data["rows"]}
    for reader in ("rgb", "depth"):
        # However little an untrained reader sees, what does not change has no curve.
        assert found["still portrait", reader, "correlation"]["mean"] == pytest.approx(0, abs=1e-6)
        with_sound = [data["clips"]["read"][arm][reader] for arm in ("with", "with, silence")]
        assert with_sound[0] != with_sound[1]
        true = np.array(data["clips"]["true_mm"])
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(with_sound[0], true, strict=True)]
        assert found["with", reader, "correlation"]["mean"] == pytest.approx(np.mean(r), abs=0.02)
        assert found["with", reader, "correlation"]["n"] == 2
    assert [len(curve) for curve in data["clips"]["read"]["none"]["rgb"]] == [FRAMES] * 2
    assert (tmp_path / "lipsync.csv").stat().st_size > 100
    assert Image.open(tmp_path / "lipsync.png").width > 100
    assert "read from rgb" in capsys.readouterr().out
    assert data["sync"] == []
    assert data["stamp"]["syncnet"] is None


def test_sounds_that_are_not_the_clips_own(clips):
    own, other = (clip.audio[0] for clip in clips)
    found = lipsync.sounds(clips, 0, controls=True)
    assert torch.equal(found[""][0], own)
    sound, curve = found["another's sound"]
    assert torch.equal(sound, other)
    assert torch.equal(curve, clips[1].lip_opening_mm[0])
    assert not found["silence"][0].any()
    assert set(lipsync.sounds(clips, 0, controls=False)) == {""}
    assert lipsync.fitted(torch.ones(3), 5).tolist() == [1, 1, 1, 0, 0]
    assert lipsync.fitted(torch.ones(3), 2).tolist() == [1, 1]
    with pytest.raises(BenchmarkError, match="needs clips of two people"):
        lipsync.other_clips([clips[0], clips[0]])


def test_a_shorter_sound_of_another_ends_its_curve(clips):
    short = replace(
        clips[1],
        audio=clips[1].audio[:, : 640 * 3],
        **{
            name: getattr(clips[1], name)[:, :3]
            for name in (
                "rgb",
                "depth_mm",
                "depth",
                "skin",
                "confidence",
                "camera_px",
                "pose",
                "lip_opening_mm",
                "mouth_px",
            )
        },
    )
    sound, curve = lipsync.sounds([clips[0], short], 0, controls=True)["another's sound"]
    assert len(sound) == len(clips[0].audio[0])
    assert curve.isfinite().tolist() == [True] * 3 + [False] * (FRAMES - 3)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--weights", "with=nowhere"], "names must differ"),
        (["--weights", "other=nowhere"], "nowhere: no such weights folder"),
        (["--steps", "9999"], "--steps: "),
        (["--reader", "none.safetensors"], "none.safetensors: no readers of mouths"),
        (["--shards", "nowhere"], "nowhere"),
        (["--syncnet", "none.bin"], "none.bin: give SyncNet's weights as"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(weights, shards, tmp_path, capsys, more, says):
    command = ["lipsync", "--weights", f"with={weights / 'with'}", "--shards", shards]
    command += ["--reader", str(weights / "mouth.safetensors"), "--out", str(tmp_path)]
    assert main([*command, *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_talking_from_weights_to_files(weights, shards, tmp_path, capsys):
    command = ["talking", "--weights", f"with={weights / 'with'}", "--image", str(weights / "image")]
    command += ["--shards", shards, "--steps", "2", "--out", str(tmp_path), "--seconds", "0.9"]
    assert main(command) == 0
    data = json.loads((tmp_path / "talking.json").read_text())
    found = {(r["question"], r["answer"], r["measure"]): r["mean"] for r in data["rows"]}
    asked = {"likeness", "depth", "steadiness on true frames", "steadiness on drawn frames", "window borders"}
    if "identity" not in data["stamp"]["left_out"]:
        asked.add("drift of identity")
    assert {r["question"] for r in data["rows"]} == asked
    for answer in ("with", "codec", "true") if "drift of identity" in asked else ():
        times = [found["drift of identity", answer, f"at {20 * k} %"] for k in range(6)]
        assert np.mean(times) == pytest.approx(found["likeness", answer, "identity"])
    for answer in ("with, drawn", "with, of true frames", "frame by frame", "codec", "still portrait"):
        assert found["depth", answer, "rmse"] > 0
    assert ("depth", "with, drawn − codec", "absrel") in found
    assert data["long"]["frames"] == [*range(2, 21, 2), 23]
    assert len(data["long"]["rgb_changes"]) == 22
    assert data["long"]["jumps"]["rgb"]["borders"] == 21  # two of four frames are shared
    assert data["long"]["drawn_fps"] > 0
    for name in ("talking.png", "talking_long.png"):
        assert Image.open(tmp_path / name).width > 100
    shown = capsys.readouterr().out
    assert "window borders" in shown
    assert "0.9 s of video in" in shown


def test_drift_is_the_slope_over_a_clip():
    far = torch.tensor([0.3, 0.35, 0.3, 0.45, 0.4, 0.5])
    found = measure.drift(far)
    assert list(found) == ["at 0 %", "at 20 %", "at 40 %", "at 60 %", "at 80 %", "at 100 %", measure.OVER_CLIP]
    assert [found[f"at {20 * k} %"] for k in range(6)] == pytest.approx(far.tolist())
    slope, _ = np.polyfit(np.linspace(0, 1, 6), far.numpy(), 1)
    assert found[measure.OVER_CLIP] == pytest.approx(slope)
    assert math.isnan(measure.drift(torch.full((6,), torch.nan))[measure.OVER_CLIP])


@torch.no_grad()
def test_estimating_draws_depth_beside_known_frames_window_by_window(clips):
    """By the definitions: the RGB latents are known, the motion frames are those before."""
    pipeline = talker(shape=replace(SHAPE, noise_sharing=0.4, anchor=True), driven=True)
    rgb, sound = clips[0].rgb[0], clips[0].audio[0]
    frames, margin, before = SHAPE.frames, SHAPE.audio_margin, SHAPE.motion_frames
    found = measure.estimate(pipeline, rgb, rgb[:1], sound, steps=2, seed=5)
    assert found.shape == (FRAMES, 1, SIZE, SIZE)
    padded = torch.cat([torch.zeros(640 * (before + margin)), sound, torch.zeros(640 * 20)])
    led = pipeline.unet.project_reference(pipeline.reference(pipeline.codec.encode(rgb[:1])))
    anchor = Anchor(pipeline.codec.encode(rgb[:1]), 999)
    motion = MotionFrames(torch.zeros(1, 2, 3, 4, 4), torch.zeros(1, 2, 3, 4, 4), torch.tensor([999]))
    expected = []
    for k in range(2):
        known = pipeline.codec.encode(torch.cat([rgb, rgb[-1:]])[4 * k : 4 * k + 4])
        heard = padded[640 * frames * k :][: 640 * (before + frames + 2 * margin)]
        tokens = pipeline.audio(heard[None], before + frames, margin)
        free = pipeline.drive(Conditions(torch.full((1, before + frames, 6), torch.nan)))
        keys = pipeline.unet.project_audio(torch.cat([tokens, free], 2), True)
        network = partial(pipeline.unet, frames=frames, motion=motion, reference=led, audio=keys, anchor=anchor)
        noise = draw_frames(Pair(known, known), 5, frames * k, 0.4)
        drawn = ddim(pipeline.denoiser, network, noise, known_rgb=known, steps=2)
        motion = MotionFrames(known[None, -2:], drawn.depth[None, -2:], torch.tensor([0]))
        expected.append(from_codec(pipeline.codec.decode(drawn.depth)))
    torch.testing.assert_close(found, torch.cat(expected)[:FRAMES], atol=1e-5, rtol=1e-5)


def test_a_clips_depth_has_one_scale_and_shift(clips):
    clip = clips[0]
    target, mask = ground_truth("normalised", clip.depth_mm[0], clip.skin[0], clip.range_mm.expand(FRAMES, 2))
    exact = measure.depth_of_clip(0.3 * target - 2, clip)
    assert exact["rmse"] == pytest.approx(0, abs=1e-6)
    assert exact["delta1"] == 1
    # Frames that swim against one another are not forgiven, as they would be one by one.
    swims = target + torch.linspace(0, 0.5, FRAMES)[:, None, None, None]
    assert align_scale_shift(swims, target, mask)[mask].numpy() == pytest.approx(target[mask].numpy(), abs=1e-5)
    numpy_p, numpy_d = (x[mask].double().numpy() for x in (swims, target))
    scale, shift = np.polyfit(numpy_p, numpy_d, 1)
    aligned = scale * swims.double() + shift
    found = measure.depth_of_clip(swims, clip)
    assert found["rmse"] > 0.05
    for name, of in (("rmse", rmse), ("absrel", absrel), ("delta1", delta1)):
        assert found[name] == pytest.approx(float(of(aligned, target, mask).mean()), rel=1e-6)


def test_steadiness_is_of_heads_that_stand_still():
    rgb = torch.zeros(5, 3, 16, 16)
    rgb[:, :, :, :8] += torch.arange(5.0)[:, None, None, None] / 5  # the left half changes
    depth = torch.zeros(5, 1, 16, 16)
    depth[1::2, :, :8] = 0.2  # the upper half flickers
    depth[:, :, 12:] = 1.0  # background below
    head = measure.head_of(depth)
    assert torch.equal(head, torch.ones(4, 1, 16, 16, dtype=torch.bool) & (torch.arange(16) < 12)[:, None])
    found = measure.steadiness(depth, rgb, head)
    # Static: columns 9 and up, whose neighbourhood does not reach the left half.
    assert found["flicker"] == pytest.approx(0.2 * 8 / 12)
    assert found["jitter"] == pytest.approx(0.4 * 8 / 12)
    assert found["static"] == pytest.approx(7 / 16)
    assert math.isnan(measure.steadiness(depth, torch.rand(5, 3, 16, 16), head)["flicker"])


def test_borders_are_where_two_windows_share_frames():
    shape = WindowShape(frames=6, motion_frames=1)
    assert shape.overlap() == 2
    assert measure.borders(15, shape) == [4, 5, 6, 8, 9, 10, 12, 13, 14]
    assert measure.borders(10, shape) == [4, 5, 6]  # the second window ends with the video
    assert measure.borders(4, shape) == []
    assert measure.borders(7, WindowShape(frames=2, motion_frames=2)) == [2, 4, 6]


def test_jumps_of_each_half():
    rgb = torch.arange(9.0)[:, None, None, None].expand(9, 3, 4, 4) / 10
    rgb = rgb + (torch.arange(9) >= 4)[:, None, None, None] * 0.3
    found = measure.jumps(rgb, torch.arange(9.0)[:, None, None, None].expand(9, 1, 4, 4) / 10, [4, 8])
    # Borders before frames 4 and 8: changes 0.4 and 0.1, inside 0.1.
    assert found["rgb_jump"] == pytest.approx(2.5)
    assert found["depth_jump"] == pytest.approx(1)
    assert math.isnan(measure.jumps(rgb, rgb, [])["rgb_jump"])


def test_rows_compare_the_first_answer_with_the_others():
    scores = TalkingScores(key=["a", "b", "c"], person_id=["p", "q", "r"])
    for mine, its in ((0.1, 0.3), (0.2, 0.3), (math.nan, 0.3)):
        scores.add("depth", "ours", {"rmse": mine})
        scores.add("depth", "theirs", {"rmse": its, "absrel": 1.0})
    found = {(r["answer"], r["measure"]): r for r in rows(scores, seed=0)}
    assert found["ours", "rmse"]["n"] == 2
    assert found["ours", "rmse"]["mean"] == pytest.approx(0.15)
    assert found["ours − theirs", "rmse"]["mean"] == pytest.approx(-0.15)
    assert ("ours − theirs", "absrel") not in found
    assert found["theirs", "absrel"]["higher_is_better"] is TALKING_MEASURES["absrel"][1]


def test_a_long_video_says_how_memory_grew():
    long = Long(
        borders=[2, 4, 6],
        fps=25.0,
        seconds=[3.0, 4.0, 5.0, 6.0],
        frames=[2, 4, 6, 7],
        resident_mb=[100.0, 110, 111, 112],
        rgb_changes=[1.0, 4, 1, 4, 1, 4],
        depth_changes=[1.0] * 6,
        gpu_mb=None,
    )
    assert long.growth_mb == 2
    assert long.drawn_fps == pytest.approx(5 / 3)
    assert long.jumps()["rgb"]["ratio"] == 4
    assert long.jumps()["depth"]["ratio"] == 1
    assert "+2.0 MB" in long.sentence()
    assert "unknown" in replace(long, resident_mb=[None] * 4).sentence()
