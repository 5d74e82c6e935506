"""What all tests share: seeds, and the folder of development assets."""

import os
from pathlib import Path

import pytest
import torch
from servers import Server

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "assets"
if "JDAP_ASSETS" not in os.environ and _BESIDE.is_dir():
    os.environ["JDAP_ASSETS"] = str(_BESIDE)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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
