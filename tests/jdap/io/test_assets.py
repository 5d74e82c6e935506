"""Weights by name."""

import socket
from pathlib import Path

import huggingface_hub.constants
import pytest

from jdap.io.assets import SHIPPED_FOLDER, find_folder
from jdap.models.loading import WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_folders_and_what_ships(tmp_path: Path) -> None:
    assert find_folder(str(tmp_path), "train one") == tmp_path
    assert find_folder("shipped:image-tiny/codec", "train one") == SHIPPED_FOLDER / "image-tiny" / "codec"
    with pytest.raises(FileNotFoundError, match="shipped:nothing"):
        find_folder("shipped:nothing", "train one")


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "a b/c", "../weights"])
def test_what_is_no_repository_either_is_no_folder(name: str) -> None:
    with pytest.raises(WeightsError, match="no such weights folder"):
        find_folder(name, "train one")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache in a folder of the test's own; nothing beyond it can be reached."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_repository_comes_from_the_hubs_cache(offline: Path) -> None:
    home = offline / "models--somebody--weights"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    snapshot = home / "snapshots" / COMMIT
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    assert find_folder("somebody/weights", "train one") == snapshot
    assert find_folder(f"somebody/weights@{COMMIT}", "train one") == snapshot


def test_a_repository_that_cannot_be_had_is_one_line(offline: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_folder("somebody/weights", "train one")
    message = str(caught.value)
    assert message.startswith("somebody/weights: no such folder here, and the hub does not give it: ")
    assert "\n" not in message


def test_a_hub_that_does_not_answer_is_one_line(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, but nobody listens
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", url)
        with pytest.raises(WeightsError, match="the hub does not give it"):
            find_folder("somebody/weights", "train one")
