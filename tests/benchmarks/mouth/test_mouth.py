import csv
import json

import fakes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import small_codec
from PIL import Image
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.clips import talking_clips
from benchmarks.mouth import mouth
from benchmarks.mouth.curves import Curves, landmark_opening, rows
from benchmarks.mouth.training import MouthClips, batch, frames_of, train
from jdap.blur import gaussian_blur
from jdap.faces.landmarker import Landmarker
from jdap.metrics.bootstrap import grouped_interval
from jdap.metrics.lips import correlation
from jdap.metrics.mouth import MouthError, MouthReader, around, load_readers, save_readers, sized, smooth


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return small_codec().eval()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    fakes.write_fakes(folder, people=3, frames=6, size_px=32, fps=25.0, seed=9)
    return folder


def dots(mouths_BG3, size=128):
    """Clips that are black but for one bright disc, as large as the mouth."""
    y, x = np.mgrid[:size, :size] + 0.5
    centre = mouths_BG3[..., None, None]
    inside = np.hypot(x - centre[:, :, 0], y - centre[:, :, 1]) < 0.5 * centre[:, :, 2]
    return torch.from_numpy(np.where(inside, 255, 0).astype(np.uint8))[:, :, None].expand(-1, -1, 3, -1, -1)


def test_views_move_the_mouth_with_the_picture():
    rng = np.random.default_rng(0)
    mouths = np.stack([rng.uniform(50, 80, (4, 5)), rng.uniform(60, 90, (4, 5)), rng.uniform(8, 14, (4, 5))], -1)
    frames = MouthClips((dots(mouths),), torch.from_numpy(mouths).float(), torch.arange(20.0).reshape(4, 5))
    view, mouth_px, opening = batch(frames, 3, 4, torch.Generator().manual_seed(1))
    assert view.shape == (3, 4, 3, 128, 128)
    assert len(opening.unique()) >= 8
    bright = (view.mean(2) > view.mean(2).amax((2, 3), keepdim=True) / 2).double()
    at = torch.arange(128) + 0.5
    seen = torch.stack([(bright.sum(2) * at).sum(-1), (bright.sum(3) * at).sum(-1)], -1)
    seen /= bright.sum((2, 3))[..., None]
    assert (seen - mouth_px[..., :2]).abs().max() < 0.6
    area = bright.sum((2, 3)) / (torch.pi * (0.5 * mouth_px[..., 2]) ** 2)
    assert area.min() > 0.85
    assert area.max() < 1.15


def test_a_square_around_a_mouth_is_what_lies_there():
    picture = torch.arange(128.0).expand(1, 1, 128, 128)  # each pixel's column
    square = around(picture, torch.tensor([[70.0, 60.0, 10.0]]))
    # 40 pixels over 32 of the picture, whose pixel k has its centre at k + 0.5
    expected = 54 - 0.5 + (torch.arange(40) + 0.5) * 0.8
    assert square.shape == (1, 1, 40, 40)
    assert square[0, 0, 17].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_blur_and_smoothing_are_scipys():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.standard_normal((2, 3, 20, 24)))
    expected = gaussian_filter(frames.numpy(), (0, 0, 1.3, 1.3), mode="nearest", radius=(0, 0, 4, 4))
    assert gaussian_blur(frames, 1.3).numpy() == pytest.approx(expected)
    assert gaussian_blur(frames, 0.1) is frames
    places = torch.from_numpy(rng.standard_normal((2, 30, 3)))
    assert smooth(places).numpy() == pytest.approx(gaussian_filter1d(places.numpy(), 2.0, 1, mode="nearest", radius=6))


def drawn_mouths(clips, frames, seed):
    """Grey pictures with a dark ellipse of some width somewhere, half as high as it says (millimetres = pixels)."""
    rng = np.random.default_rng(seed)
    place = rng.uniform([50, 70, 9], [80, 95, 13], (clips, 3))
    mouths = np.repeat(place[:, None], frames, 1)
    opening = rng.uniform(0, 12, (clips, frames))
    y, x = np.mgrid[:128, :128] + 0.5
    u = (x - mouths[..., 0, None, None]) / mouths[..., 2, None, None]
    v = (y - mouths[..., 1, None, None]) / (opening[..., None, None] / 2 + 0.5)
    grey = rng.integers(120, 220, (clips, 1, 1, 1))
    pictures = np.where(u**2 + v**2 < 1, 30, grey).astype(np.uint8)[:, :, None]
    return MouthClips((torch.from_numpy(pictures),), *(torch.from_numpy(x).float() for x in (mouths, opening)))


@pytest.mark.slow
def test_a_reader_learns_to_find_and_to_read_mouths_that_it_has_not_seen():
    losses = []
    frames = drawn_mouths(30, 6, seed=0)
    reader, seconds = train(frames, 40, clips=4, group=4, on_step=lambda step, loss: losses.append(loss))
    assert seconds > 0
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    held_out = drawn_mouths(4, 12, seed=1)
    clips = held_out.versions[0] / 127.5 - 1
    with torch.inference_mode():
        at = reader.find(clips)[0]
        r = correlation(reader(clips), held_out.opening_mm_KF)
    assert (at - held_out.mouth_px_KF3)[..., :2].norm(dim=-1).mean() < 8
    assert r.min() > 0.7


def test_frames_to_train_on_are_true_coded_and_coded_with_noise(codec, shards):
    found = frames_of(talking_clips(str(shards), 128, stride=2, silent=True), codec)
    clips = list(talking_clips(str(shards), 128, stride=2, silent=True))
    true, coded, noisy = found["depth"].versions
    assert true.shape == (3, 3, 1, 128, 128)
    assert torch.equal(true[1], (clips[1].depth[0] * 127.5 + 127.5).round().byte())
    expected = codec.decode(codec.encode(clips[1].depth[0].expand(-1, 3, -1, -1))).mean(1, keepdim=True)
    assert torch.equal(coded[1], (expected.clamp(-1, 1) * 127.5 + 127.5).round().byte())
    assert not torch.equal(coded, noisy)
    assert torch.equal(found["rgb"].opening_mm_KF[2], clips[2].lip_opening_mm[0])
    assert torch.equal(found["rgb"].mouth_px_KF3[2], clips[2].mouth_px[0])


def test_exposure_and_depths_frame_do_not_matter():
    reader = MouthReader(1).eval()
    coarse = torch.rand(5, 1, 9, 9)
    clip, large = (F.interpolate(coarse, (s, s), mode="bicubic").clamp(-1, 1)[None] for s in (128, 256))
    with torch.inference_mode():
        spread = reader(clip).std()
        assert (reader(0.5 * clip - 0.3) - reader(clip)).abs().max() < 0.2 * spread
        assert (reader(large) - reader(clip)).abs().max() < 0.2 * spread
    assert sized(clip).data_ptr() == clip.data_ptr()


def test_readers_survive_their_file(tmp_path):
    readers = {"rgb": MouthReader(3).eval(), "depth": MouthReader(1).eval()}
    save_readers(readers, tmp_path / "mouth.safetensors")
    assert (tmp_path / "mouth.safetensors").stat().st_size < 1_000_000
    again = load_readers(tmp_path / "mouth.safetensors")
    clip = torch.rand(1, 4, 3, 128, 128)
    with torch.inference_mode():
        assert torch.allclose(readers["rgb"](clip), again["rgb"](clip), atol=0.05)
    with pytest.raises(MouthError, match=r"none\.safetensors"):
        load_readers(tmp_path / "none.safetensors")
    save_file({"rgb.heat": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(MouthError, match=r"other\.safetensors: .*rgb"):
        load_readers(tmp_path / "other.safetensors")


def test_one_mouth_is_the_same_in_every_frame_and_nothing_else_changes():
    frames = torch.rand(4, 3, 64, 64)
    mouths = torch.tensor([[30.0, 40, 6], [31, 41, 6], [33, 38, 6], [30, 40, 6]])
    made = mouth.one_mouth(frames, mouths, 0)
    assert torch.allclose(made[0], frames[0], atol=1e-5)
    assert torch.equal(made[:, :, :20], frames[:, :, :20])
    assert torch.allclose(made[1][:, 38:44, 28:34], frames[0][:, 37:43, 27:33], atol=1e-5)
    assert torch.allclose(made[3][:, 36:44, 26:34], frames[0][:, 36:44, 26:34], atol=1e-5)


def test_rows_are_means_over_clips_and_differences_are_paired():
    rng = np.random.default_rng(0)
    curves = Curves(key=list("abcd"), person_id=["p", "p", "q", "r"])
    curves.true = [torch.from_numpy(rng.standard_normal(30)) for _ in range(4)]
    curves.true[3] = torch.zeros(30)  # nobody speaks
    for k, true in enumerate(curves.true):
        curves.add("one", {"rgb": true + 0.5 * torch.from_numpy(rng.standard_normal(30))})
        other = torch.from_numpy(rng.standard_normal(30))
        curves.add("two", {"rgb": other})
        curves.add("three", {"rgb": other}, other * 2 + k)
    found = {(r["arm"], r["measure"]): r for r in rows(curves, [("one", "two")], seed=1)}
    numpy_r = {
        arm: [np.corrcoef(a, b)[0, 1] for a, b in zip(curves.read[arm]["rgb"][:3], curves.true[:3], strict=True)]
        for arm in ("one", "two")
    }
    row = found["one", "correlation"]
    assert row["n"] == 3
    assert row["mean"] == pytest.approx(np.mean(numpy_r["one"]))
    assert row["mean_ci"] == pytest.approx(grouped_interval(np.array(numpy_r["one"]), ["p", "p", "q"], seed=1))
    differences = np.subtract(numpy_r["one"], numpy_r["two"])
    assert found["one − two", "correlation"]["mean"] == pytest.approx(differences.mean())
    assert found["one − two", "correlation"]["mean_ci"] == pytest.approx(
        grouped_interval(differences, ["p", "p", "q"], seed=1)
    )
    assert found["three", "correlation"]["mean"] == pytest.approx(1)
    assert found["three", "amplitude"]["mean"] == pytest.approx(0.5)
    assert found["three", "correlation"]["n"] == 4


def test_landmarks_read_a_photograph_and_nothing_in_noise(assets):
    pytest.importorskip("mediapipe")
    portrait = Image.open(assets / "portraits" / "astronaut.png").convert("RGB").resize((256, 256))
    frame = torch.from_numpy(np.asarray(portrait).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with Landmarker() as landmarker:
        found = landmark_opening(landmarker, torch.cat([frame, frame, torch.zeros_like(frame)]))
        assert landmark_opening(landmarker, torch.rand(3, 3, 64, 64)).isnan().all()
    assert 0 < found[0] < 0.3  # she smiles with teeth
    assert found[0] == found[1]
    assert found[2].isnan()


@pytest.mark.slow
def test_the_command_trains_measures_and_writes(codec, shards, tmp_path, capsys):
    codec.save_pretrained(tmp_path / "codec")
    command = ["mouth", "--train", str(shards), "--test", str(shards), "--codec", str(tmp_path / "codec")]
    assert main([*command, "--out", str(tmp_path / "out"), "--steps", "2", "--limit", "1"]) == 0
    data = json.loads((tmp_path / "out" / "mouth.json").read_text())
    arms = ["true", "codec", "codec twice", "codec, blur 1 px", "codec, blur 2 px", "codec, blur 3 px"]
    arms += ["one mouth", "one mouth, codec"]
    assert list(dict.fromkeys(row["arm"] for row in data["rows"])) == arms
    assert data["stamp"]["clips"] == 1
    assert data["stamp"]["frames_trained_on"] == 9
    assert len(data["clips"]["read"]["true"]["depth"][0]) == 6
    with (tmp_path / "out" / "mouth.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(data["rows"])
    assert set(load_readers(tmp_path / "out" / "mouth.safetensors")) == {"rgb", "depth"}
    assert Image.open(tmp_path / "out" / "mouth.png").width > 100
    assert "read from depth" in capsys.readouterr().out
    reader = tmp_path / "out" / "mouth.safetensors"
    again = ["mouth", *command[3:], "--out", str(tmp_path / "again"), "--reader", str(reader), "--limit", "1"]
    assert main(again) == 0
    rows = json.loads((tmp_path / "again" / "mouth.json").read_text())["rows"]
    # Halves of the file's numbers are kept.
    for mine, its in zip(rows, data["rows"], strict=True):
        assert mine["mae_mm"] == pytest.approx(its["mae_mm"], abs=0.05)
    assert not (tmp_path / "again" / "mouth.safetensors").exists()


def test_shards_of_silent_stills_are_refused(tmp_path, capsys):
    fakes.write_fakes(tmp_path / "stills", people=1, frames=2, size_px=32)
    assert main(["mouth", "--train", str(tmp_path / "stills"), "--out", str(tmp_path / "out")]) == 2
    assert "holds a usable sample" in capsys.readouterr().err
    fakes.write_fakes(tmp_path / "uneven", people=1, frames=2, size_px=32, fps=25.0)
    fakes.write_fakes(tmp_path / "uneven" / "more", people=1, frames=3, size_px=32, fps=25.0, first_person=1)
    spec = str(tmp_path / "uneven" / "{,more/}*.tar")
    assert main(["mouth", "--train", spec, "--out", str(tmp_path / "out"), "--stride", "1"]) == 2
    assert "clips have [2, 3] frames" in capsys.readouterr().err
    fakes.write_fakes(tmp_path / "mute", people=1, frames=2, size_px=32, fps=25.0, sound=False)
    with pytest.raises(BenchmarkError, match="has no sound"):
        list(talking_clips(str(tmp_path / "mute"), 32))
    assert len(list(talking_clips(str(tmp_path / "mute"), 32, silent=True))) == 1
    fakes.write_fakes(tmp_path / "fitted", people=1, frames=2, size_px=32, fps=25.0, depth_source="fitted")
    with pytest.raises(BenchmarkError, match="has no lip_opening_mm"):
        list(talking_clips(str(tmp_path / "fitted"), 32))
