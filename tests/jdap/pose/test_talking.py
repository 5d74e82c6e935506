"""A photo that talks, judged by a landmark detector on what is drawn."""

import numpy as np
import pytest
import torch
from networks import small_pipeline

from jdap.faces.landmarker import Landmarker
from jdap.io.assets import SHIPPED_FOLDER
from jdap.media.sound import open_sound
from jdap.metrics.lips import correlation
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict
from jdap.photos.read import Photo
from jdap.pipelines.sound_windows import SoundWindows
from jdap.pose.heads import Heads
from jdap.pose.pipeline import PosePipeline
from jdap.pose.talking import AHEAD, Speaker
from jdap.units import FPS, SAMPLE_RATE

WINDOW_PX = np.array([70.0, 0.0, 320.0])


@pytest.fixture(scope="module")
def speaker(heads: Heads, photo: Photo) -> Speaker:
    face = load_strict(SpeakingFace, SHIPPED_FOLDER / "speaking")
    return Speaker(face, PosePipeline(small_pipeline(), heads), photo, WINDOW_PX)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return np.concatenate(list(open_sound(SHIPPED_FOLDER / "talk" / "speech.wav").blocks()))[: 2 * SAMPLE_RATE]


def opening(landmarker: Landmarker, rgb_3SS: torch.Tensor) -> float:
    picture = ((rgb_3SS.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    (face,) = landmarker.detect(picture)
    points = face.landmarks_px_N3
    return float(np.linalg.norm(points[13] - points[14]) / np.ptp(points[:, 1]))


def test_lips_do_what_was_heard(speaker: Speaker, landmarker: Landmarker, sound: np.ndarray) -> None:
    with torch.inference_mode():
        heard = speaker.face(torch.from_numpy(sound)[None], 2 * FPS).opening_mm_BF[:, AHEAD:]
    made = list(speaker.talk(sound, motion=0.0))
    rgb, depth = (torch.cat(x) for x in zip(*made, strict=True))
    assert rgb.shape == (2 * FPS, 3, 320, 320)
    assert depth.shape == (2 * FPS, 1, 320, 320)
    seen = torch.tensor([[opening(landmarker, frame) for frame in rgb[:-AHEAD]]])
    assert correlation(seen, heard)[0] > 0.8
    assert correlation(seen, heard.roll(12, 1))[0] < 0.5


def test_silence_keeps_the_lips_together_and_the_head_still(speaker: Speaker, landmarker: Landmarker) -> None:
    (made,) = speaker.talk(np.zeros(SAMPLE_RATE, np.float32), motion=0.0)
    assert (made.rgb[1:] - made.rgb[:1]).abs().mean() < 0.01
    assert opening(landmarker, made.rgb[12]) < 0.02


def test_a_video_does_not_depend_on_how_its_sound_is_cut(speaker: Speaker, sound: np.ndarray) -> None:
    def heard(blocks: list[np.ndarray], first: int, frames: int) -> torch.Tensor:
        windows = SoundWindows(blocks, FPS)
        return speaker.hear(windows, first, frames)

    whole = heard([sound], 0, 50)
    torch.testing.assert_close(heard(np.array_split(sound, 7), 20, 10), whole[20:30], atol=1e-5, rtol=0)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_a_sound_without_samples_is_refused(speaker: Speaker) -> None:
    with pytest.raises(ValueError, match="empty"):
        next(speaker.talk(np.zeros(0, np.float32)))
