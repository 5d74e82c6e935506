"""A photo that talks, judged by a landmark detector on what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import small_pipeline

from data_prep.head.mouth import LIPS_INNER
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import SHIPPED_FOLDER
from jdap.media.sound import open_sound
from jdap.metrics.lips import correlation
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict
from jdap.photos.read import Photo
from jdap.pipelines.sound_windows import SoundWindows
from jdap.pose.change import Change
from jdap.pose.heads import Heads
from jdap.pose.pipeline import PosePipeline
from jdap.pose.talking import AHEAD, PARTED_FRAMES, SMILE_EASE, SPEAKING_SMILE, Speaker, speaks
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


def wearing(speaker: Speaker, monkeypatch: pytest.MonkeyPatch, strength: float, *names: str) -> list[int]:
    """Gives the photo's face these expressions alone; → their columns."""
    columns = [speaker.heads.names.index(name) for name in names]
    expression = torch.zeros(len(speaker.heads.names))
    expression[columns] = strength
    monkeypatch.setattr(speaker, "head", replace(speaker.head, expression_E=expression))
    return columns


def test_lips_meet_whatever_they_did_in_the_photo(
    speaker: Speaker, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the vertices: a photo's own closing is not counted as if speech did it."""
    wearing(speaker, monkeypatch, 0.4, "mouthClose")
    said = speaker.hear(SoundWindows(sound, FPS), 0, 40)
    upper, lower = LIPS_INNER[2], LIPS_INNER[6]
    model = speaker.heads.model
    height = speaker.head.shape_V3[:, 1] + said @ model.expression_EV3[:, :, 1]
    apart_mm = height[:, upper] - height[:, lower]
    with torch.inference_mode():
        heard_mm = speaker.face(torch.from_numpy(sound)[None], 2 * FPS).opening_mm_BF[0, AHEAD : AHEAD + 40]
    assert heard_mm.min() < 1
    assert (apart_mm - heard_mm).max() < 0.3
    assert apart_mm[heard_mm > 5].min() > 2


def test_a_broad_smile_falls_while_there_is_something_to_say(
    speaker: Speaker, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    windows = SoundWindows(np.concatenate([quiet, sound, quiet]), FPS)
    smile = wearing(speaker, monkeypatch, 0.9, "mouthSmile_L", "mouthSmile_R")
    said = speaker.hear(windows, 0, 6 * FPS)[:, smile]
    assert said[0].tolist() == pytest.approx([0.9] * 2)
    assert said[3 * FPS].tolist() == pytest.approx([SPEAKING_SMILE] * 2)
    assert said[-1].tolist() == pytest.approx([0.9] * 2)
    assert said.diff(dim=0).abs().max() <= 0.5 / SMILE_EASE  # no jerk
    smile = wearing(speaker, monkeypatch, 0.3, "mouthSmile_L", "mouthSmile_R")
    said = speaker.hear(SoundWindows(np.concatenate([quiet, sound]), FPS), 0, 4 * FPS)[:, smile]
    assert said.min() == pytest.approx(0.3)


def test_who_speaks_is_told_by_lips_that_part_nearby() -> None:
    opening_mm = torch.zeros(101)
    opening_mm[50] = 10.0
    found = speaks(opening_mm)
    beyond = PARTED_FRAMES + SMILE_EASE
    assert found.shape == (101 - 2 * beyond,)
    expected = [
        np.mean([abs(k + j - 50) <= PARTED_FRAMES for j in range(-SMILE_EASE, SMILE_EASE + 1)])
        for k in range(beyond, 101 - beyond)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_head_turns_as_it_is_told(speaker: Speaker, landmarker: Landmarker) -> None:
    turn = Change(yaw=12.0).rotation()
    (made,) = speaker.talk(np.zeros(640, np.float32), turns=turn[None])
    (still,) = speaker.talk(np.zeros(640, np.float32), turns=torch.eye(3)[None])

    def nose(rgb_3SS: torch.Tensor) -> float:
        """How far the nose is right of the middle between the cheeks, over the face's width."""
        (face,) = landmarker.detect(((rgb_3SS.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())
        left, right = face.landmarks_px_N3[234, 0], face.landmarks_px_N3[454, 0]
        return float((face.landmarks_px_N3[1, 0] - (left + right) / 2) / (right - left))

    assert nose(made.rgb[0]) > nose(still.rgb[0]) + 0.08
