"""The weights that ship and talk: they load, name no path of a machine, and follow sound."""

import json
from pathlib import Path

import pytest
import torch

from jdap.io.assets import resolve
from jdap.media.sound import open_sound
from jdap.pipelines.talking import TalkingPipeline


@pytest.mark.slow
def test_they_load_and_move_with_the_sound():
    pipeline = TalkingPipeline.from_pretrained(resolve("shipped:talk-tiny"))
    assert pipeline.shape.anchor
    speech = next(open_sound(Path(resolve("shipped:talk/speech.wav"))).blocks())[: 14 * 640]
    reference = torch.zeros(1, 3, 128, 128)
    said, silent = (next(pipeline.talk(reference, x, steps=2)) for x in (speech, 0 * speech))
    assert said.rgb.shape == (14, 3, 128, 128)
    assert (said.depth - silent.depth).abs().mean() > 1e-3


def test_they_hold_no_path_of_a_machine():
    folder = Path(resolve("shipped:talk-tiny"))
    told = json.loads((folder / "training.json").read_text())
    assert told["hyper_parameters"]["init"] == "shipped:talk-tiny"  # trained on from those before
    # A path of a file system is a text that begins with a slash.
    assert not any('"/' in path.read_text() for path in folder.rglob("*.json"))
