"""``jdap app`` in Chromium without a network: a photo is dropped, and each tab is tried.

With ``JDAP_SHOTS=FOLDER`` the pictures of docs/app.md are written there.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import Browser
from PIL import Image

from jdap.app.limits import MOST_BYTES
from jdap.io.assets import SHIPPED_FOLDER

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason='needs gradio: pip install "jdap[app]"')
pytest.importorskip("trimesh", reason='needs trimesh: pip install "jdap[app]"')
if browser.missing():
    pytest.skip(browser.missing(), allow_module_level=True)

ROOT = Path(__file__).resolve().parents[4]
#: Seconds for anything on a busy machine; and what a visitor should wait for a first result on two free cores.
PATIENCE_S, FIRST_S = 120, 10
#: The picture of the lamp's tab; and what WebDriver calls the key.
LIT = "document.querySelector('#pad img')?.getAttribute('src')"
LEFT_KEY = "\ue012"
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
        window.open(app.url)
        window.wait("return !!document.querySelector('#drop input')", PATIENCE_S, "the page")
        yield window
        own = (app.url, "data:", "blob:", "chrome")  # the browser's first page is chrome's
        strange = [url for url in window.requests() if not url.startswith(own)]
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


def until_solid(window: Browser) -> None:
    """Until a mesh is seen in the middle of its tab: before, all of it has one colour."""
    window.wait("return !!document.querySelector('#solid canvas')", PATIENCE_S, "the place of the mesh")
    until = time.monotonic() + PATIENCE_S
    while True:
        seen = window.picture("#solid canvas")
        width, height = seen.size
        middle = seen.crop((width // 3, height // 3, 2 * width // 3, 2 * height // 3))
        if np.asarray(middle).std((0, 1)).max() > 5:
            return
        assert time.monotonic() < until, "waited in vain for a mesh"
        time.sleep(0.5)


def test_a_photo_goes_through_all_tabs(app: App, window: Browser, tmp_path: Path) -> None:
    assert app.url.rstrip("/") in app.said
    first_s = drop(window, Path(os.environ.get("JDAP_SHOTS_OF", PEOPLE[1])))
    load = os.getloadavg()[0]
    print(f"the first result came after {first_s:.1f} s, at a load of {load:.1f}")
    assert first_s < FIRST_S or load > 2.5
    assert "One face found" in window.text("#photo-note")
    shot(window, "depth.png")
    depth = np.asarray(Image.open(window.download("#depth-file", PATIENCE_S)))
    assert depth.dtype == np.uint16
    assert len(np.unique(depth)) > 1000
    meaning = window.download("#depth-json", PATIENCE_S)
    assert meaning.name.endswith(".depth.json")
    assert "window_px" in json.loads(meaning.read_text())

    go_to(window, "3D")
    until_solid(window)
    assert window.download("#solid-file", PATIENCE_S).read_bytes()[:4] == b"glTF"
    window.drag("#solid canvas", (0.5, 0.5), (0.42, 0.47))
    shot(window, "solid.png")

    go_to(window, "Light")
    window.wait(f"return ({LIT} ?? '').startsWith('data:image/jpeg')", PATIENCE_S, "light")
    before = window.js(f"return {LIT}")
    begun = time.monotonic()
    window.drag("#pad .stage", (0.2, 0.3), (0.6, 0.4), (0.83, 0.35))
    window.wait(f"return {LIT} != arguments[0]", PATIENCE_S, "new light", before)
    print(f"a lamp that is dragged over 0.12 s was answered after {time.monotonic() - begun:.2f} s")
    where = window.text("#pad .where")
    assert "right" in where
    shot(window, "light.png")
    # where a new picture renders the pad anew, the keys are the lamp's again a moment later
    window.wait("return document.activeElement?.classList.contains('stage')", PATIENCE_S, "the lamp's focus")
    before = window.js(f"return {LIT}")
    window.press(LEFT_KEY)
    window.wait(f"return {LIT} != arguments[0]", PATIENCE_S, "light by a key", before)
    assert window.text("#pad .where") != where
    assert Image.open(window.download("#relit-file", PATIENCE_S)).mode == "RGB"

    go_to(window, "Expression")
    view = "document.querySelector('#face-view img')?.getAttribute('src')"
    window.wait(f"return !!{view}", PATIENCE_S, "the face")
    before = window.js(f"return {view}")
    window.drag("#slide-jawOpen input[type=range]", (0.1, 0.5), (0.6, 0.5))
    window.wait(f"return {view} != arguments[0]", PATIENCE_S, "another face", before)
    assert Image.open(window.download("#face-file", PATIENCE_S)).mode == "RGB"
    shot(window, "face.png")

    go_to(window, "Talk")
    window.click("#say")
    until_said(window, "#talk-note", "sound file")
    window.click("#speech")
    window.wait("return document.querySelector('#sound').innerText.includes('0:04')", PATIENCE_S, "the sound")
    window.click("#say")
    window.wait("return /[Ff]rame [0-9]+ of 96/.test(document.body.innerText)", PATIENCE_S, "progress")
    window.wait("return document.querySelector('#video video')?.readyState >= 2", PATIENCE_S, "the video")
    shot(window, "talk.png")
    assert window.download("#video-file", PATIENCE_S).read_bytes()[4:8] == b"ftyp"


def test_what_the_microphone_heard_is_said(window: Browser) -> None:
    drop(window, PEOPLE[0])
    go_to(window, "Talk")
    window.click("#sound button[aria-label='Record audio']")
    window.wait("return !!document.querySelector('#sound .record-button')", PATIENCE_S, "the microphone")
    window.click("#sound .record-button")
    time.sleep(1.5)
    window.click("#sound .stop-button")
    window.wait("return document.querySelector('#sound').innerText.includes('0:0')", PATIENCE_S, "the record")
    window.click("#say")
    window.wait("return document.querySelector('#video video')?.readyState >= 2", PATIENCE_S, "the video")


def test_bad_uploads_are_answered_and_the_next_photo_works(window: Browser, tmp_path: Path) -> None:
    words, large = tmp_path / "words.jpg", tmp_path / "large.jpg"
    words.write_text("not a picture")
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    window.give("#drop input", words)
    until_said(window, "#photo-note", "cannot be used")
    assert str(tmp_path) not in window.text("body")
    window.give("#drop input", large)
    until_said(window, "body", "maximum allowed size")
    assert window.js("return document.querySelectorAll('#depth img').length") == 0
    window.wait("return !!document.querySelector('#drop input')", PATIENCE_S, "the place to drop")
    drop(window, PEOPLE[2])
    go_to(window, "3D")
    until_solid(window)


def test_one_visitor_does_not_see_another(app: App, window: Browser, tmp_path: Path) -> None:
    drop(window, PEOPLE[0])
    with Browser(tmp_path / "other") as other:
        other.open(app.url)
        other.wait("return !!document.querySelector('#drop input')", PATIENCE_S, "the page")
        go_to(other, "Talk")
        other.click("#speech")
        other.wait("return document.querySelector('#sound').innerText.includes('0:04')", PATIENCE_S, "the sound")
        other.click("#say")
        until_said(other, "#talk-note", "Drop a photo first")
        assert other.js("return document.querySelectorAll('#depth img, #framed img').length") == 0


def test_nothing_is_left_when_it_is_ended(assets: Path, tmp_path: Path) -> None:
    app = App(tmp_path)
    with Browser(tmp_path.with_name(f"{tmp_path.name}-profile")) as window:
        window.open(app.url)
        window.wait("return !!document.querySelector('#drop input')", PATIENCE_S, "the page")
        drop(window, PEOPLE[0])
        assert list(tmp_path.glob("jdap-app-*/**/*.depth.png"))
        assert app.close() == 143
    assert not list(tmp_path.glob("jdap-app-*"))
    assert not list(tmp_path.glob("gradio*"))
