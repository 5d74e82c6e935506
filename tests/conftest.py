"""What all tests share: threads, seeds, marks, clean signal handlers, and the folder of development assets."""

import os
import signal
from pathlib import Path

import pytest
from servers import Server

from jdap.io.threads import wait_asleep

if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores: one thread each, and in the processes they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
wait_asleep()

import torch  # noqa: E402  both settings count from its first import on

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "assets"
if "JDAP_ASSETS" not in os.environ and _BESIDE.is_dir():
    os.environ["JDAP_ASSETS"] = str(_BESIDE)


def pytest_itemcollected(item: pytest.Item) -> None:
    """What asks for the fixture ``assets`` has the mark of that name: ``-m assets``."""
    if "assets" in getattr(item, "fixturenames", ()):
        item.add_marker("assets")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked ``gpu`` where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _handlers() -> dict[signal.Signals, object]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(scope="session", autouse=True)
def _handlers_at_first() -> dict[signal.Signals, object]:
    return _handlers()


@pytest.fixture(autouse=True)
def _clean_handlers(_handlers_at_first):
    """Fails a test that leaves a signal handler behind: interrupted training would end differently in later tests."""
    yield
    left = {number: now for number, now in _handlers().items() if now != _handlers_at_first[number]}
    for number in left:
        signal.signal(number, _handlers_at_first[number])
    if left:
        named = ", ".join(f"{number.name}: {handler}" for number, handler in left.items())
        pytest.fail(f"left a signal handler behind ({named}): put back the one that was there", pytrace=False)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of development assets; tests that need it are skipped where it is not there."""
    folder = os.environ.get("JDAP_ASSETS", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip(
            "needs development assets: set JDAP_ASSETS to a folder that holds ict_facekit/, mediapipe/, videos/ …"
        )
    return Path(folder)


@pytest.fixture
def server():
    """A web server of the test's own."""
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of downloads, no local copies, no waiting."""
    monkeypatch.delenv("JDAP_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jdap.io.fetch.WAIT_S", 0.0)
    return tmp_path / "cache"
