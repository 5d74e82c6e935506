"""Assets from local folders, the cache and a server of the test's own."""

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from dataclasses import replace

import numpy as np
import pytest

from data_prep import assets as module
from data_prep.assets import ASSETS, AssetError, cache_folder, fetch
from data_prep.morphable_ict import content_sha256, pack_obj_folder, read_packed

BODY = bytes(range(256)) * 9000


class Server:
    """Answers every GET with the next of ``replies`` (status, body, length to claim), the last one for ever."""

    def __init__(self):
        self.replies = [(200, BODY, len(BODY))]
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                status, body, length = outer.replies[min(len(outer.requests), len(outer.replies)) - 1]
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache, no local copies, no waiting."""
    monkeypatch.delenv("JDAP_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    return tmp_path / "cache"


def serve(monkeypatch, name, url, sha256):
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], url=url, sha256=sha256))


def left_behind(cache):
    return [p for p in cache.rglob("*") if not p.is_dir()]


def test_local_copies_come_first(monkeypatch, tmp_path, server):
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(BODY).hexdigest())
    local = tmp_path / "assets"
    (local / "mediapipe").mkdir(parents=True)
    monkeypatch.setenv("JDAP_ASSETS", str(local))
    fetched = fetch("face_landmarker")  # the folder does not hold it
    assert cache_folder() in fetched.parents
    (local / "mediapipe/face_landmarker.task").write_bytes(b"mine")
    assert fetch("face_landmarker") == local / "mediapipe/face_landmarker.task"
    assert len(server.requests) == 1


def test_local_obj_folder_does_without_the_packed_file(monkeypatch, tmp_path):
    (tmp_path / "ict_facekit/FaceXModel").mkdir(parents=True)
    monkeypatch.setenv("JDAP_ASSETS", str(tmp_path))
    assert fetch("ict_facekit") == tmp_path / "ict_facekit/FaceXModel"


def test_misspelt_local_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("JDAP_ASSETS", str(tmp_path / "asets"))
    with pytest.raises(AssetError, match=r"JDAP_ASSETS=.*asets is no folder; correct it or unset it"):
        fetch("canonical_face")


def test_unknown_name():
    with pytest.raises(KeyError):
        fetch("flame")


def test_download_is_verified_kept_and_not_repeated(monkeypatch, server, cache):
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(BODY).hexdigest())
    path = fetch("face_landmarker")
    assert path.read_bytes() == BODY
    assert path.name == "face_landmarker.task"
    assert left_behind(cache) == [path]
    assert fetch("face_landmarker") == path
    assert server.requests == ["/file"]


def test_new_pin_does_not_find_the_old_file(monkeypatch, server):
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(BODY).hexdigest())
    old = fetch("face_landmarker")
    server.replies = [(200, b"new", 3)]
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(b"new").hexdigest())
    assert fetch("face_landmarker").read_bytes() == b"new"
    assert old.read_bytes() == BODY


def test_wrong_content_leaves_nothing_behind(monkeypatch, server, cache):
    serve(monkeypatch, "canonical_face", server.url, "0" * 64)
    with pytest.raises(AssetError) as caught:
        fetch("canonical_face")
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
        serve(monkeypatch, "ict_facekit", url, "0" * 64)
        with pytest.raises(AssetError) as caught:
            fetch("ict_facekit")
    message = str(caught.value)
    assert message.startswith(f"ict_facekit cannot be had from {url}: ")
    assert "refused" in message
    assert "set JDAP_ASSETS to a folder that holds ict_facekit/ict_face_model_full.npz or" in message
    assert "\n" not in message
    assert left_behind(cache) == []


def test_what_may_pass_is_tried_again(monkeypatch, server):
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(BODY).hexdigest())
    # Busy, then cut short, then whole.
    server.replies = [(503, b"", 0), (200, BODY[:-5], len(BODY)), (200, BODY, len(BODY))]
    assert fetch("face_landmarker").read_bytes() == BODY
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
    serve(monkeypatch, "face_landmarker", server.url, hashlib.sha256(BODY).hexdigest())
    server.replies = [reply]
    with pytest.raises(AssetError, match=message):
        fetch("face_landmarker")
    assert len(server.requests) == times
    assert left_behind(cache) == []


def test_cache_that_cannot_be_written(monkeypatch, cache):
    cache.write_text("a file where a folder should be")
    with pytest.raises(AssetError, match=r"cannot be written .*set XDG_CACHE_HOME"):
        fetch("face_landmarker")


def archive(folder, evil=True):
    """A tar.gz like GitHub's, with members that try to leave it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, "ICT-FaceKit-da5f95a/FaceXModel", recursive=True)
        names = ["../../FaceXModel/../evil.obj", "/FaceXModel/../../../evil.json", "ICT-FaceKit-da5f95a/README.md"]
        for name in names if evil else []:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) if evil else ():
            member = tarfile.TarInfo("ICT-FaceKit-da5f95a/FaceXModel/identity002.obj")
            member.type, member.linkname = kind, "../../../evil.obj"
            tar.addfile(member)
    return buffer.getvalue()


def test_archive_becomes_the_packed_file(monkeypatch, server, cache, obj_folder, tmp_path):
    packed = pack_obj_folder(obj_folder)
    body = archive(obj_folder)
    server.replies = [(200, body, len(body))]
    serve(monkeypatch, "ict_facekit", server.url, content_sha256(packed))
    path = fetch("ict_facekit")
    assert path.name == "ict_face_model_full.npz"
    assert left_behind(cache) == [path]
    assert [p for p in path.parent.rglob("*")] == [path]
    assert not list(tmp_path.rglob("evil*"))
    found = read_packed(path)
    for name, array in packed.items():
        np.testing.assert_array_equal(found[name], array)
    # The same content in other bytes passes too: that is why content is pinned.
    path.unlink()
    body = archive(obj_folder, evil=False)
    server.replies = [(200, body, len(body))]
    assert fetch("ict_facekit") == path


def test_archive_with_other_content_leaves_nothing_behind(monkeypatch, server, cache, obj_folder):
    good = content_sha256(pack_obj_folder(obj_folder))
    file = obj_folder / "jawOpen.obj"
    file.write_text(file.read_text().replace("v 1 0.8", "v 1 0.81"))
    body = archive(obj_folder)
    server.replies = [(200, body, len(body))]
    serve(monkeypatch, "ict_facekit", server.url, good)
    with pytest.raises(AssetError, match=f"the SHA-256 of its packed arrays is .*, not the pinned {good}"):
        fetch("ict_facekit")
    assert left_behind(cache) == []


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_archive(monkeypatch, server, cache, obj_folder, damage):
    body = {"cut": archive(obj_folder)[:-400], "text": b"<html>sign in</html>", "empty": b""}[damage]
    server.replies = [(200, body, len(body))]
    serve(monkeypatch, "ict_facekit", server.url, "0" * 64)
    with pytest.raises(AssetError, match="the archive is damaged or of another kind: ") as caught:
        fetch("ict_facekit")
    assert "\n" not in str(caught.value)
    assert left_behind(cache) == []


def test_pins_are_those_of_the_known_copies(assets):
    """The pins in the table against the files that development uses."""
    packed = read_packed(assets / "ict_facekit/ict_face_model_full.npz")
    assert content_sha256(packed) == ASSETS["ict_facekit"].sha256
    for name in ("face_landmarker", "canonical_face"):
        data = (assets / ASSETS[name].local[0]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == ASSETS[name].sha256
