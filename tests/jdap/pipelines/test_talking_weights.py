"""The weights folder of a portrait that talks: read back as written, and strictly."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from talker import SHAPE, person, speech, talker
from tensor_files import refused, tensors_of

from jdap.models.clip.motion import load_motion
from jdap.models.loading import WeightsError
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline, WindowShape

WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = ("unet/motion", "unet/audio_attention", "audio/encoder", "audio/projection", "drive")
FILES = ("model_index.json", "README.md", "pipeline.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sound folder."""
    folder = tmp_path_factory.mktemp("talking") / "weights"
    talker(driven=True).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "weights")
    return tmp_path / "weights"


refusal = partial(refused, TalkingPipeline.from_pretrained)


def change(folder: Path, **settings) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def shape(folder: Path, **settings) -> None:
    change(folder, shape=json.loads((folder / "model_index.json").read_text())["shape"] | settings)


def test_saved_weights_say_the_same(whole):
    pipeline, loaded = talker(driven=True), TalkingPipeline.from_pretrained(whole)
    assert (loaded.shape, loaded.schedule, loaded.size_px, loaded.preset) == (SHAPE, pipeline.schedule, 32, "tiny")
    for part in ("codec", "unet", "reference", "audio", "drive"):
        ours, theirs = (getattr(p, part).state_dict() for p in (pipeline, loaded))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    how = {"steps": 2, "guidance": 2.0, "audio_guidance": 3.0, "seed": 5}
    said = zip(*(p.talk(person(), speech(0.3), **how) for p in (pipeline, loaded)), strict=True)
    for window in said:
        torch.testing.assert_close(*map(tuple, window), atol=1e-5, rtol=1e-5)  # where tensors lie decides on rounding


def test_the_folder_is_in_diffusers_layout(whole):
    parts = ("codec", "unet", "reference", "audio", "drive", "scheduler")
    assert sorted(p.name for p in whole.iterdir()) == sorted([*parts, *FILES])
    index = json.loads((whole / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "TalkingPipeline"]
    assert index["shape"] == {
        "frames": 4,
        "motion_frames": 2,
        "audio_margin": 5,
        "fps": 25.0,
        "start": "null",
        "noise_sharing": 0.0,
        "anchor": False,
    }
    assert index["audio"] == ["jdap.models.audio.tokens", "AudioTokens"]
    assert index["unet"] == ["jdap.models.clip.unet", "ClipUNet"]
    load_motion(whole / "unet" / "motion")
    assert "_name_or_path" not in "".join(file.read_text() for file in whole.rglob("config.json"))
    assert list(whole.parent.iterdir()) == [whole]


def test_a_start_that_the_weights_name_is_the_default(folder):
    plain = TalkingPipeline.from_pretrained(folder)
    shape(folder, start="reference")
    loaded = TalkingPipeline.from_pretrained(folder)
    (expected,) = plain.talk(person(), speech(0.1), steps=1, start="reference")
    (found,) = loaded.talk(person(), speech(0.1), steps=1)
    assert torch.equal(found.rgb, expected.rgb)


def test_a_deaf_model_has_no_parts_of_sound(tmp_path):
    deaf = talker(deaf=True)
    deaf.save_pretrained(tmp_path / "weights")
    assert not list((tmp_path / "weights").glob("audio*"))
    assert TalkingPipeline.from_pretrained(tmp_path / "weights").audio is None


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)  # what talks; for the others see test_pipelines_hostile
def test_every_component_is_read_strictly(folder, part):
    file = folder / part / WEIGHTS
    tensors = tensors_of(file)
    name = min(tensors, key=lambda k: tensors[k].numel())
    for broken, says in (
        ({k: v for k, v in tensors.items() if k != name}, f"missing_keys ({name})"),
        ({**tensors, "stranger": torch.zeros(2)}, "unexpected_keys (stranger)"),
        ({**tensors, name: torch.full_like(tensors[name], float("nan"))}, f"hold NaN or infinity ({name})"),
    ):
        save_file(broken, file)
        assert says in refusal(folder)
    file.unlink()
    assert f"{part}" in refusal(folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames": 0}, "frames must be a whole number from 1"),
        ({"frames": 1}, "motion_frames 2 are more than the 1 frames"),
        ({"frames": 31}, "windows of 33 frames; the motion modules have positions for 32"),
        ({"frames": None}, "frames must be a whole number"),
        ({"motion_frames": 1.5}, "motion_frames must be a whole number from 0"),
        ({"audio_margin": 2}, "audio_margin 2 is less than the"),
        ({"fps": 0}, "fps must be above 0"),
        ({"noise_sharing": 2}, "noise_sharing must be within 0 … 1"),
        ({"fps": "25"}, "fps must be within"),
        ({"anchor": 1}, "anchor must be bool"),
        ({"start": "end"}, "start must be one of null, reference"),
    ],
)
def test_windows_that_do_not_fit_are_refused(folder, settings, says):
    shape(folder, **settings)
    assert says in refusal(folder)


def test_an_index_that_does_not_fit_is_refused(folder):
    change(folder, audio="yes")
    assert "audio is 'yes', expected AudioTokens" in refusal(folder)
    change(folder, audio=[None, None])
    assert "audio tokens and layers of audio: the one is of no use without the other" in refusal(folder)


def test_parts_of_another_model_are_refused(folder, tmp_path):
    other = talker(seed=1)
    other.unet.motion_config = dict(other.unet.motion_config)
    config = folder / "unet" / "motion" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [32, 32]}))
    assert "motion" in refusal(folder)


def test_weights_of_the_image_stage_do_not_talk_and_the_other_way_round(folder):
    with pytest.raises(WeightsError, match="'TalkingPipeline', expected 'PortraitPipeline'"):
        PortraitPipeline.from_pretrained(folder)
    change(folder, _class_name=["pipeline", "PortraitPipeline"])
    assert "as `make train-video` writes it" in refusal(folder)
    assert "make train-video" in refusal(folder.parent / "nowhere")


def test_parts_that_do_not_go_together_are_told():
    pipeline = talker()
    with pytest.raises(ValueError, match="audio_margin 2 is less than"):
        talker(shape=replace(SHAPE, audio_margin=2))
    with pytest.raises(ValueError, match="without the other"):
        TalkingPipeline(
            pipeline.codec,
            pipeline.unet,
            pipeline.reference,
            None,
            pipeline.schedule,
            shape=SHAPE,
            preset="tiny",
            size_px=32,
        )
    with pytest.raises(ValueError, match="fps must be above"):
        WindowShape(fps=0)


def test_saving_replaces_a_folder_whole(folder):
    (folder / "stale.txt").write_text("old")
    TalkingPipeline.from_pretrained(folder).save_pretrained(
        folder, extras=lambda part: (part / "training.json").write_text("{}")
    )
    assert (folder / "training.json").is_file()
    assert not (folder / "stale.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["weights"]
