"""``jdap app`` in Chromium without a network: a photo is dropped, and each tab is tried.

With ``JDAP_SHOTS=FOLDER`` the pictures of docs/app.md are written there.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from browser import Browser

from jdap.io.assets import SHIPPED_FOLDER

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason='needs gradio: pip install "jdap[app]"')
pytest.importorskip("trimesh", reason='needs trimesh: pip install "jdap[app]"')
if browser.missing():
    pytest.skip(browser.missing(), allow_module_level=True)

ROOT = Path(__file__).resolve().parents[4]
#: Seconds for anything on a busy machine; and what a visitor should wait for a first result on two free cores.
PATIENCE_S, FIRST_S = 120, 10
PEOPLE = sorted((SHIPPED_FOLDER / "app").glob("*.jpg"))


class App:
    """The command in a process of its own, with a folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            port = door.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}/"
        words = [sys.executable, "-m", "jdap", "app", "--port", str(port)]
        env = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def close(self) -> int:
        """End it as a system does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def app(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    app.close()


@pytest.fixture
def window(app: App, tmp_path: Path) -> Iterator[Browser]:
    """The page, just opened; at the end no other machine was asked for anything, and no error was logged."""
    with Browser(tmp_path / "profile") as window:
        window.requests()
        window.open(app.url)
        window.wait("return !!document.querySelector('#drop input')", PATIENCE_S, "the page")
        yield window
        strange = [url for url in window.requests() if not url.startswith((app.url, "data:", "blob:"))]
        assert not strange
        # what shows meshes asks for a graphics card first
        assert not [line for line in window.complaints() if "WebGPU" not in line]


def shot(window: Browser, name: str) -> None:
    if "JDAP_SHOTS" in os.environ:
        time.sleep(1)  # what fades in is there
        window.js("window.scrollTo(0, 0)")
        window.shot(Path(os.environ["JDAP_SHOTS"]) / name)


def go_to(window: Browser, tab: str) -> None:
    tabs = "[...document.querySelectorAll('#tabs button[role=tab]')]"
    window.js(f"{tabs}.find(x => x.innerText.trim() == arguments[0]).click()", tab)


def drop(window: Browser, path: Path) -> float:
    """Drop a photo; returns the seconds until its depth was there."""
    begun = time.monotonic()
    window.give("#drop input", path)
    window.wait("return document.querySelectorAll('#depth img').length >= 2", PATIENCE_S, "depth")
    return time.monotonic() - begun


def until_said(window: Browser, css: str, word: str) -> None:
    code = "return (document.querySelector(arguments[0])?.innerText ?? '').includes(arguments[1])"
    window.wait(code, PATIENCE_S, word, css, word)


def test_a_photo_goes_through_all_tabs(app: App, window: Browser, tmp_path: Path) -> None:
    assert app.url.rstrip("/") in app.said
    photo = Path(os.environ.get("JDAP_SHOTS_OF", PEOPLE[1]))
    first_s = drop(window, photo)
    load = os.getloadavg()[0]
    print(f"first result after {first_s:.1f} s, load {load:.1f}")
    assert first_s < FIRST_S or load > 2.5
    assert "One face found" in window.text("#photo-note")
    shot(window, "depth.png")

    go_to(window, "3D")
    window.wait("return !!document.querySelector('#solid canvas')", PATIENCE_S, "the mesh")
    time.sleep(3)
    shot(window, "solid.png")

    go_to(window, "Light")
    source = "document.querySelector('#pad img')?.getAttribute('src')"
    window.wait(f"return ({source} ?? '').startsWith('data:image/jpeg')", PATIENCE_S, "light")
    before = window.js(f"return {source}")
    begun = time.monotonic()
    window.drag("#pad .stage", (0.2, 0.3), (0.6, 0.4), (0.85, 0.4))
    window.wait(f"return {source} != arguments[0]", PATIENCE_S, "new light", before)
    print(f"a drag was answered after {time.monotonic() - begun:.1f} s")
    assert "right" in window.text("#pad .where")
    shot(window, "light.png")

    go_to(window, "Talk")
    window.click("#say")
    until_said(window, "#talk-note", "sound file")
    window.click("#speech")
    window.wait("return !!document.querySelector('#sound audio, #sound [data-testid*=waveform]')", 60, "the sound")
    window.click("#say")
    window.wait("return /[Ff]rame \\\\d+ of/.test(document.body.innerText)", PATIENCE_S, "progress")
    window.wait("return document.querySelector('#video video')?.readyState >= 2", PATIENCE_S, "the video")
    shot(window, "talk.png")


def test_bad_uploads_are_answered_in_words_and_the_next_photo_works(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("not a picture")
    window.give("#drop input", tmp_path / "words.jpg")
    until_said(window, "#photo-note", "cannot be used")
    assert str(tmp_path) not in window.text("body")
    assert not window.js("return document.querySelectorAll('#depth img').length")
