"""Chromium without a window, driven by its own driver: W3C WebDriver over HTTP (Debian: chromium, chromium-driver)."""

import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

#: What WebDriver calls a reference to an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: No name resolves but this machine's: the network is off. A microphone that beeps. 3D without a graphics card.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
)


def missing() -> str:
    """What is not installed of what this needs; empty if all is."""
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(programs)} (Debian: chromium, chromium-driver)" if programs else ""


class Browser:
    """A context manager: a browser with one window of ``size`` pixels."""

    def __init__(self, profile: Path, size: tuple[int, int] = (1280, 900)) -> None:
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._driver.stdout is not None
        ports = (re.search(r"started successfully on port (\d+)", line) for line in self._driver.stdout)
        self._url = f"http://127.0.0.1:{next(filter(None, ports))[1]}"
        arguments = [*ARGUMENTS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        #: Where what is downloaded comes.
        self.downloads = profile.with_name(f"{profile.name}-downloads")
        options = {"binary": shutil.which("chromium"), "args": arguments}
        logs = {"performance": "ALL", "browser": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"
        keep = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Browser.setDownloadBehavior", "params": keep})

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._ask("DELETE", "")
        self._driver.terminate()
        self._driver.wait(20)

    def open(self, url: str) -> None:
        """Go to an address."""
        self._ask("POST", "/url", {"url": url})

    def js(self, code: str, *args: object) -> object:
        """What the body of a function returns, of these arguments."""
        return self._ask("POST", "/execute/sync", {"script": code, "args": list(args)})

    def text(self, css: str) -> str:
        """What the first element of this kind says, empty where there is none."""
        return str(self.js("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def click(self, css: str) -> None:
        """Press the first element of this kind."""
        self._ask("POST", f"/element/{self._find(css)}/click", {})

    def give(self, css: str, path: Path) -> None:
        """Choose a file in an ``<input type=file>``."""
        self._ask("POST", f"/element/{self._find(css)}/value", {"text": str(path)})

    def download(self, css: str, seconds: float) -> Path:
        """Press a button once it can be pressed, and wait for the file that comes."""
        self.wait("return document.querySelector(arguments[0])?.disabled === false", seconds, css, css)
        before = set(self.downloads.glob("*"))
        self.click(css)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            new = [path for path in set(self.downloads.glob("*")) - before if path.suffix != ".crdownload"]
            if new:
                return new[0]
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s in vain for a file of {css}")

    def press(self, key: str) -> None:
        """A key for what has the focus."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def drag(self, css: str, *places: tuple[float, float]) -> None:
        """Press at the first of the places (shares of an element's width and height), go to the others, and let go."""
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", css)
        left, top, width, height = self.box(css)
        points = [(round(left + x * width), round(top + y * height)) for x, y in places]
        moves = [{"type": "pointerMove", "duration": 60, "x": x, "y": y} for x, y in points]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        self._ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def box(self, css: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window."""
        found = self.js(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.x, b.y, b.width, b.height]",
            css,
        )
        assert isinstance(found, list)
        return found[0], found[1], found[2], found[3]

    def wait(self, code: str, seconds: float, what: str, *args: object) -> float:
        """Until the body of a function returns something true; returns the seconds that it took."""
        begun = time.monotonic()
        while not self.js(code, *args):
            assert time.monotonic() - begun < seconds, f"waited {seconds} s in vain for {what}"
            time.sleep(0.1)
        return time.monotonic() - begun

    def shot(self, path: Path) -> None:
        """A picture of the window as PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def picture(self, css: str) -> Image.Image:
        """What is seen of the first element of this kind."""
        data = base64.b64decode(self._ask("GET", f"/element/{self._find(css)}/screenshot"))
        return Image.open(io.BytesIO(data)).convert("RGB")

    def requests(self) -> list[str]:
        """The addresses that were asked since the last call."""
        found = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [m["params"]["request"]["url"] for m in found if m["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors that the page logged since the last call."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]

    def _log(self, kind: str) -> list[dict]:
        return self._ask("POST", "/se/log", {"type": kind})

    def _find(self, css: str) -> str:
        return self._ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def _ask(self, method: str, path: str, body: object = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from None
