"""What hears speech: its training, and its figures where the truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.speaking import people
from benchmarks.speaking.measure import SeenVideo, of_speakers, of_videos
from benchmarks.speaking.people import SPOKEN, Spoken
from benchmarks.speaking.training import changed, train
from jdap.io.assets import SHIPPED_FOLDER
from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.speaking import Articulation, SpeakingFace
from jdap.models.loading import load_strict
from jdap.pose.talking import AHEAD

FRAMES = 60


@pytest.fixture
def spoken() -> Spoken:
    """Noise that grows and fades: the louder it is, the wider the mouth."""
    rng = np.random.default_rng(0)
    loud_NF = np.abs(rng.normal(0, 1, (6, FRAMES))).cumsum(1) % 3 / 3
    sound = rng.normal(0, 0.1, (6, FRAMES, FRAME_SAMPLES)) * loud_NF[..., None]
    opening = torch.from_numpy(10 * loud_NF).float()
    audio = torch.from_numpy(sound.reshape(6, -1)).float().clamp(-1, 1)
    return Spoken(audio, (opening / 10)[..., None].repeat(1, 1, len(SPOKEN)), opening)


class Known:
    """Says what it is told, in the order of the speakers."""

    def __init__(self, opening_mm_NF: torch.Tensor) -> None:
        self.opening_mm_NF, self.at = opening_mm_NF, 0

    def __call__(self, audio_BS: torch.Tensor, frames: int) -> Articulation:
        opening = self.opening_mm_NF[self.at : self.at + len(audio_BS), :frames]
        self.at += len(audio_BS)
        return Articulation((opening / 10)[..., None].repeat(1, 1, len(SPOKEN)), opening)


def test_training_goes_on_where_it_was_interrupted(spoken: Spoken, tmp_path: Path) -> None:
    losses: list[float] = []
    whole, done, _ = train(spoken, 8, tmp_path / "whole.pt", on_step=lambda step, loss: losses.append(loss))
    assert (done, len(losses)) == (8, 8)
    assert min(losses[-3:]) < losses[0]

    class Stop(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Stop

    train(spoken, 8, tmp_path / "parts.pt", seconds=0)  # nothing yet, but begun
    with pytest.raises(Stop):
        train(spoken, 8, tmp_path / "parts.pt", on_step=stop)
    again, _, _ = train(spoken, 8, tmp_path / "parts.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    with pytest.raises(BenchmarkError, match=r"parts.pt.*begun with"):
        train(spoken, 9, tmp_path / "parts.pt")


def test_another_voice_says_the_same_at_the_same_time() -> None:
    power = torch.zeros(8, 80, 40)
    power[:, 20:30, 15:25] = 1e-3
    made = changed(power, torch.Generator().manual_seed(0))
    assert torch.equal(made, changed(power, torch.Generator().manual_seed(0)))
    loudest = made.sum(1).topk(10, dim=1).indices.sort(1).values
    assert torch.equal(loudest, torch.arange(15, 25).expand(8, 10))
    assert made.min() >= 0
    assert (made[0] - made[1]).abs().max() > 0


def test_figures_of_one_who_knows_and_of_one_who_hears_the_next(spoken: Spoken) -> None:
    def found(rows: list[dict], answer: str, measure: str = "opening") -> float:
        (row,) = (r for r in rows if (r["answer"], r["measure"]) == (answer, measure))
        return row["mean"]

    rows = of_speakers(Known(spoken.opening_mm_NF), spoken, 0)  # type: ignore[arg-type]
    assert found(rows, "own sound") == pytest.approx(1)
    assert found(rows, "own sound", "amplitude") == pytest.approx(1)
    assert found(rows, "own sound", "lag") == 0
    assert found(rows, "another's sound") < 0.5
    # People's mouths are ahead of what is heard.
    ahead = spoken.opening_mm_NF.roll(-AHEAD, 1)
    videos = [SeenVideo(str(k), *both) for k, both in enumerate(zip(spoken.audio_NS, ahead, strict=True))]
    rows = of_videos(Known(2 * spoken.opening_mm_NF), videos, 0)  # type: ignore[arg-type]
    assert found(rows, "own sound") == pytest.approx(1)
    assert found(rows, "own sound", "amplitude") == pytest.approx(2)


def test_what_ships_hears_speakers_that_it_has_not_met(assets: Path, tmp_path: Path) -> None:
    assert list(people.draw_missing(tmp_path, "test", 4)) == [4]
    (file,) = tmp_path.glob("*.npz")
    written = file.stat().st_mtime_ns
    assert list(people.draw_missing(tmp_path, "test", 4)) == [4]
    assert file.stat().st_mtime_ns == written
    face = load_strict(SpeakingFace, SHIPPED_FOLDER / "speaking")
    rows = of_speakers(face, people.read(tmp_path, "test", 4), 0)
    own = next(r for r in rows if r["measure"] == "opening")
    assert own["mean"] > 0.85


def test_the_command_measures_what_ships_and_refuses_a_folder_without_talkers(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = ["speaking", "--speaking", "shipped:speaking", "--test-speakers", "2", "--out", str(tmp_path / "out")]
    assert main(what) == 0
    data = json.loads((tmp_path / "out" / "speaking.json").read_text())
    assert {row["whom"] for row in data["rows"]} == {"drawn speakers"}
    (tmp_path / "videos").mkdir()
    wavfile.write(tmp_path / "videos" / "sound.mp4", 16000, np.zeros(1600, np.int16))
    assert main([*what, "--videos", str(tmp_path / "videos")]) == 2
    assert "in none of them" in capsys.readouterr().err
