"""The assets of data preparation: their pins, and the archive that becomes one packed file."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from servers import left_behind

from data_prep.head.assets import ASSETS, fetch
from data_prep.head.ict import content_sha256, pack_obj_folder, read_packed
from jdap.io.fetch import AssetError

pytestmark = pytest.mark.usefixtures("cache")


def serve(monkeypatch, name, url, sha256):
    monkeypatch.setitem(ASSETS, name, replace(ASSETS[name], url=url, sha256=sha256))


def test_local_obj_folder_does_without_the_packed_file(monkeypatch, tmp_path):
    (tmp_path / "ict_facekit/FaceXModel").mkdir(parents=True)
    monkeypatch.setenv("JDAP_ASSETS", str(tmp_path))
    assert fetch("ict_facekit") == tmp_path / "ict_facekit/FaceXModel"


def test_unknown_name():
    with pytest.raises(KeyError):
        fetch("flame")


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
    with pytest.raises(AssetError, match=f"SHA-256 .*{good}"):
        fetch("ict_facekit")
    assert left_behind(cache) == []


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_archive(monkeypatch, server, cache, obj_folder, damage):
    body = {"cut": archive(obj_folder)[:-400], "text": b"<html>sign in</html>", "empty": b""}[damage]
    server.replies = [(200, body, len(body))]
    serve(monkeypatch, "ict_facekit", server.url, "0" * 64)
    with pytest.raises(AssetError, match="archive is damaged") as caught:
        fetch("ict_facekit")
    assert "\n" not in str(caught.value)
    assert left_behind(cache) == []


def test_pins_are_those_of_the_known_copies(assets):
    """The pins in the table against the files that development uses."""
    packed = read_packed(assets / "ict_facekit/ict_face_model_full.npz")
    assert content_sha256(packed) == ASSETS["ict_facekit"].sha256
    canonical = ASSETS["canonical_face"]
    data = (assets / canonical.local[0]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == canonical.sha256
