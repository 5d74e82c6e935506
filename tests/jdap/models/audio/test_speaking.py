"""What a face does that says a sound: when it is heard, and what is stored of it."""

from pathlib import Path

import pytest
import torch

from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import WeightsError, load_strict

NAMES = ("jawOpen", "mouthPucker")


def new(blocks: int = 2) -> SpeakingFace:
    torch.manual_seed(0)
    return SpeakingFace(NAMES, channels=16, blocks=blocks).eval()


def noise(frames: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, frames * FRAME_SAMPLES, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_sound_in_pieces_gives_what_the_whole_gives():
    face, sound = new(), noise(20)
    whole = face(sound, 20)
    assert (whole.expression_BFE.shape, whole.opening_mm_BF.shape) == ((1, 20, 2), (1, 20))
    around = face.context_frames
    first, stop = 6, 11
    piece = face(sound[:, (first - around) * FRAME_SAMPLES : (stop + around) * FRAME_SAMPLES], 5 + 2 * around)
    for part, all_of_it in zip(piece, whole, strict=True):
        torch.testing.assert_close(part[:, around : around + 5], all_of_it[:, first:stop], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_what_lies_beyond_the_context_is_not_heard():
    face, sound = new(), noise(30)
    changed = sound.clone()
    changed[:, (15 + face.context_frames) * FRAME_SAMPLES :] = 0
    one, other = face(sound, 30), face(changed, 30)
    assert torch.equal(one.opening_mm_BF[:, :15], other.opening_mm_BF[:, :15])
    assert not torch.equal(one.opening_mm_BF[:, 16:], other.opening_mm_BF[:, 16:])


def test_it_is_stored_whole_and_refused_otherwise(tmp_path: Path):
    face = new()
    face.save_pretrained(tmp_path)
    again = load_strict(SpeakingFace, tmp_path)
    assert again.names == NAMES
    with torch.inference_mode():
        assert torch.equal(again(noise(4), 4).expression_BFE, face(noise(4), 4).expression_BFE)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_strict(SpeakingFace, tmp_path)


def test_sound_of_another_length_is_refused():
    with pytest.raises(ValueError, match="1920"):
        new()(noise(3)[:, :-1], 3)
