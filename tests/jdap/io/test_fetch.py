"""Assets from local folders, the cache and a server of the test's own."""

import hashlib
import socket

import pytest
from servers import BODY, left_behind

from jdap.faces.landmarker import MODEL_FILE
from jdap.io.fetch import Asset, AssetError, cache_folder, fetch

pytestmark = pytest.mark.usefixtures("cache")


def at(url, sha256):
    return Asset("thing", ("folder/thing.bin", "folder/things"), url, sha256)


def test_local_copies_come_first(monkeypatch, tmp_path, server):
    asset = at(server.url, hashlib.sha256(BODY).hexdigest())
    local = tmp_path / "assets"
    (local / "folder").mkdir(parents=True)
    monkeypatch.setenv("JDAP_ASSETS", str(local))
    fetched = fetch(asset)  # the folder does not hold it
    assert cache_folder() in fetched.parents
    (local / "folder/thing.bin").write_bytes(b"mine")
    assert fetch(asset) == local / "folder/thing.bin"
    assert len(server.requests) == 1


def test_misspelt_local_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("JDAP_ASSETS", str(tmp_path / "asets"))
    with pytest.raises(AssetError, match=r"JDAP_ASSETS=.*asets is no folder"):
        fetch(MODEL_FILE)


def test_download_is_verified_kept_and_not_repeated(monkeypatch, server, cache):
    asset = at(server.url, hashlib.sha256(BODY).hexdigest())
    path = fetch(asset)
    assert path.read_bytes() == BODY
    assert path.name == "thing.bin"
    assert left_behind(cache) == [path]
    assert fetch(asset) == path
    assert server.requests == ["/file"]


def test_new_pin_does_not_find_the_old_file(monkeypatch, server):
    asset = at(server.url, hashlib.sha256(BODY).hexdigest())
    old = fetch(asset)
    server.replies = [(200, b"new", 3)]
    asset = at(server.url, hashlib.sha256(b"new").hexdigest())
    assert fetch(asset).read_bytes() == b"new"
    assert old.read_bytes() == BODY


def test_wrong_content_leaves_nothing_behind(monkeypatch, server, cache):
    asset = at(server.url, "0" * 64)
    with pytest.raises(AssetError) as caught:
        fetch(asset)
    message = str(caught.value)
    assert f"its SHA-256 is {hashlib.sha256(BODY).hexdigest()}, not the pinned {'0' * 64}" in message
    assert server.url in message
    assert "\n" not in message
    assert left_behind(cache) == []
    assert len(server.requests) == 1


def test_offline_says_what_where_and_what_to_do(monkeypatch, cache):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"  # bound, but nobody listens
        asset = at(url, "0" * 64)
        with pytest.raises(AssetError) as caught:
            fetch(asset)
    message = str(caught.value)
    assert message.startswith(f"thing cannot be had from {url}: ")
    assert "refused" in message
    assert "set JDAP_ASSETS to a folder that holds folder/thing.bin or folder/things" in message
    assert "\n" not in message
    assert left_behind(cache) == []


def test_what_may_pass_is_tried_again(monkeypatch, server):
    asset = at(server.url, hashlib.sha256(BODY).hexdigest())
    # Busy, then cut short, then whole.
    server.replies = [(503, b"", 0), (200, BODY[:-5], len(BODY)), (200, BODY, len(BODY))]
    assert fetch(asset).read_bytes() == BODY
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "times", "message"),
    [
        ((404, b"", 0), 1, "HTTP 404"),
        ((500, b"", 0), 3, "HTTP 500"),
        ((200, BODY[:-5], len(BODY)), 3, "IncompleteRead"),
    ],
)
def test_attempts_end(monkeypatch, server, cache, reply, times, message):
    asset = at(server.url, hashlib.sha256(BODY).hexdigest())
    server.replies = [reply]
    with pytest.raises(AssetError, match=message):
        fetch(asset)
    assert len(server.requests) == times
    assert left_behind(cache) == []


def test_cache_that_cannot_be_written(monkeypatch, cache):
    cache.write_text("a file where a folder should be")
    with pytest.raises(AssetError, match=r"set XDG_CACHE_HOME"):
        fetch(MODEL_FILE)
