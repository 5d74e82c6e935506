"""A visitor's photo that talks, by the weights that ship."""

from contextlib import closing
from pathlib import Path

import av
import pytest
from command_line import frames

from jdap.app import talk
from jdap.app.limits import RefusedError
from jdap.app.models import Models
from jdap.app.photo import Seen
from jdap.app.talk import say
from jdap.choices import BY_MODEL, RENDERERS
from jdap.io.assets import SHIPPED_FOLDER

SPEECH = SHIPPED_FOLDER / "talk" / "speech.wav"


@pytest.mark.slow
@pytest.mark.parametrize("by", RENDERERS)
def test_the_first_seconds_are_said_and_progress_is_told(
    models: Models, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(talk, "MOST_SOUND_S", 0.6)
    told = []
    made = say(models, seen, SPEECH, tmp_path, tell=lambda done, of: told.append((done, of)), by=by)
    assert {of for _, of in told} == {15}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == 15
    shown = frames(made.preview)
    assert len(shown) == len(frames(made.video)) == 15
    side = 128 if by == BY_MODEL else round(seen.window_px[2])  # a photo that is moved keeps its pixels
    assert shown[0].shape == (side, 2 * side, 3)
    assert made.depth.stat().st_size > 0
    assert "first 0.6 seconds" in made.notes[0]
    with av.open(str(made.video)) as container:
        assert container.streams.audio


def test_weights_that_are_not_installed_leave_the_rest(
    assets: Path, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jdap.io.assets.SHIPPED_FOLDER", tmp_path)
    (tmp_path / "image-tiny").symlink_to(SHIPPED_FOLDER / "image-tiny")
    models = Models.load("shipped:image-tiny", "shipped:talk-tiny", "cpu")
    with closing(models), pytest.raises(RefusedError, match="not installed"):
        say(models, seen, SPEECH, tmp_path, by=BY_MODEL)
    with pytest.raises(FileNotFoundError, match="shipped:talker"):
        Models.load("shipped:image-tiny", "shipped:talker", "cpu")


def test_what_is_no_sound_is_refused_politely(models: Models, seen: Seen, tmp_path: Path) -> None:
    for name, data in (("empty.wav", b""), ("words.mp3", b"not a sound at all, only words"), ("cut.wav", b"RIFF")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(RefusedError) as caught:
            say(models, seen, path, tmp_path)
        assert str(tmp_path) not in str(caught.value)
    assert not list(tmp_path.glob("*.mp4*"))
