"""Homes that are none and terminals that show little: a line, or the result, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HOUSE = Path(__file__).resolve().parents[3]


def run(*command: str, **changes: str | None) -> subprocess.CompletedProcess[bytes]:
    """A command of ours in a process of its own, with an environment that is changed (None: taken out)."""
    environment = {name: value for name, value in (dict(os.environ) | changes).items() if value is not None}
    return subprocess.run([sys.executable, *command], capture_output=True, env=environment, cwd=HOUSE, check=False)


ASCII: dict[str, str | None] = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "jdap", "--help"),
        ("-m", "jdap", "nothing"),
        ("-m", "data_prep", "--help"),
        ("-m", "data_prep", "prepare", "--help"),
        ("-m", "benchmarks", "--help"),
    ],
    ids=" ".join,
)
def test_help_on_a_terminal_of_ascii(command: tuple[str, ...]) -> None:
    done = run(*command, **ASCII)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (2 if "nothing" in command else 0)
    (done.stdout + done.stderr).decode("ascii")


@pytest.mark.slow
def test_a_photo_of_any_name_on_a_terminal_of_ascii(small_photo: Path) -> None:
    photo = small_photo.rename(small_photo.with_name("zoë 東京 🎬.png"))
    out = photo.parent / "out"
    command = ("-m", "jdap", "depth", str(photo), "--no-crop", "--out", str(out), "--device", "cpu")
    done = run(*command, **ASCII)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"/zo\\" in done.stdout
    assert (out / "zoë 東京 🎬.depth.png").is_file()


@pytest.fixture
def small_photo(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.slow
def test_without_a_home_it_is_one_line(small_photo: Path) -> None:
    """No HOME, and a user whom the system does not know: there is nowhere to keep downloads in."""
    code = (
        "import pwd, sys\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from jdap.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "JDAP_ASSETS"))
    out = str(small_photo.parent / "out")
    command = ("-c", code, "depth", str(small_photo), "--device", "cpu", "--out", out)
    done = run(*command, **nowhere)
    assert done.returncode == 2, done.stderr
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("error: there is no home folder to keep downloads in; set HOME or XDG_CACHE_HOME; or do")
    assert b"Traceback" not in done.stderr
    whole = run(*command, "--no-crop", **nowhere)
    assert whole.returncode == 0, whole.stderr
