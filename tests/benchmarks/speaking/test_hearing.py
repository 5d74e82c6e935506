"""What mouths hear by: the same network on other features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.speaking import people
from benchmarks.speaking.hearing import Mouthing, learn, mel_ear
from benchmarks.speaking.people import SPOKEN, Spoken

FRAMES = 24


def humming(speakers: int) -> Spoken:
    """Speakers whose every mouth movement is how loud they hum, which changes every fourth frame."""
    rng = np.random.default_rng(3)
    loud = np.repeat(rng.uniform(0, 1, (speakers, FRAMES // 4)), 4, axis=1)
    tone = np.sin(2 * np.pi * 440 / 16000 * np.arange(640 * FRAMES))
    audio = 0.3 * tone * np.repeat(loud, 640, axis=1)
    loud_NF = torch.from_numpy(loud).float()
    return Spoken(torch.from_numpy(audio).float(), loud_NF[..., None].expand(-1, -1, len(SPOKEN)), 10 * loud_NF)


def test_a_mouth_learns_what_it_hears_and_nothing_of_another() -> None:
    spoken, ear = humming(24), mel_ear()
    others = Spoken(spoken.audio_NS.roll(1, 0), spoken.expression_NFE, spoken.opening_mm_NF)
    found = []
    for given in (spoken, others):
        torch.manual_seed(0)
        net = learn(
            Mouthing(*ear),
            ear[0](given.audio_NS[:20]),
            Spoken(*(x[:20] for x in vars(spoken).values())),
            60,
            0,
            lambda step: None,
        )
        with torch.no_grad():
            said = net(spoken.audio_NS[20:], FRAMES).opening_mm_BF
        found.append(np.corrcoef(said.flatten(), spoken.opening_mm_NF[20:].flatten())[0, 1])
    assert found[0] > 0.8
    assert abs(found[1]) < 0.5


def test_a_long_sound_is_heard_in_windows() -> None:
    torch.manual_seed(1)
    ear = mel_ear()
    net, sound = (
        Mouthing(*ear).eval(),
        torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 150 * 640))).float(),
    )
    with torch.no_grad():
        whole = net(sound, 150)
        first = net(sound[:, : 100 * 640], 100)
    assert whole.expression_BFE.shape == (1, 150, len(SPOKEN))
    torch.testing.assert_close(whole.opening_mm_BF[:, :100], first.opening_mm_BF)


def test_from_drawn_speakers_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = humming(8)
    monkeypatch.setattr(people, "draw_missing", lambda folder, split, count: iter([count]))
    monkeypatch.setattr(
        people, "read", lambda folder, split, count: Spoken(*(x[:count] for x in vars(spoken).values()))
    )
    how = ["--drawn", str(tmp_path), "--out", str(tmp_path / "found"), "--ears", "mel", "--steps", "2"]
    assert main(["hearing", *how, "--speakers", "8", "--test-speakers", "4"]) == 0
    data = json.loads((tmp_path / "found" / "hearing.json").read_text())
    rows = {row["answer"]: row for row in data["rows"] if row["measure"] == "opening"}
    assert [name.rpartition(":")[0] for name in rows][::2] == ["mel", "mel, taught by another's sound", "no sound"]
    assert rows["no sound: own sound"]["mean"] == pytest.approx(rows["no sound: another's sound"]["mean"], abs=0.9)
    assert "drawn speakers" in capsys.readouterr().out
