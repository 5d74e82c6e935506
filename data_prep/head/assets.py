"""Files that data preparation needs and does not ship: what they are and how :mod:`jdap.io.fetch` gets them."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.head import ict
from jdap.io.fetch import Asset, AssetError, flush
from jdap.io.fetch import fetch as fetch_asset

#: The OBJ files of ICT-FaceKit are 2.6 MB each, its index 0.2 MB. A member over this is not one of them.
_MAX_MEMBER_BYTES = 16 << 20


def _pack_ict(archive: Path, target: Path, sha256: str) -> None:
    """Pack the OBJ files of a GitHub archive of ICT-FaceKit.

    GitHub makes archives when asked for and has changed their bytes before, so what is pinned is the content: the hash
    of the packed arrays (:func:`data_prep.head.ict.content_sha256`), which conversion reproduces bit for bit.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary)
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    # Only plain files straight inside FaceXModel, written under their last name: no link, no "..".
                    path = PurePosixPath(member.name)
                    wanted = path.suffix in (".obj", ".json") and path.parent.name == ict.OBJ_FOLDER
                    if not (wanted and member.isreg() and member.size <= _MAX_MEMBER_BYTES):
                        continue
                    source = tar.extractfile(member)
                    if source is not None:
                        with source, (folder / path.name).open("wb") as file:
                            shutil.copyfileobj(source, file)
            packed = ict.pack_obj_folder(folder)
        except (tarfile.TarError, EOFError, zlib.error, ict.ModelFileError) as error:
            reason = str(error).replace(f"{folder}/", "")
            raise AssetError(f"the archive is damaged or of another kind: {reason}") from error
        found = ict.content_sha256(packed)
        if found != sha256:
            raise AssetError(f"the SHA-256 of its packed arrays is {found}, not the pinned {sha256}")
        made = folder / "packed.npz"
        np.savez_compressed(made, **packed)  # type: ignore[arg-type]  # numpy's stub takes allow_pickle for a member
        flush(made)
        made.rename(target)


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "ict_facekit",
            (f"ict_facekit/{ict.PACKED_NAME}", f"ict_facekit/{ict.OBJ_FOLDER}"),
            "https://codeload.github.com/ICT-VGL/ICT-FaceKit/tar.gz/da5f95a607f5e6b37755b38d3385d7f2853732e5",
            "d808ce9262297187b1972469237ae31d6d83e043ac9f68c9efdb4012e42e1175",
            _pack_ict,
        ),
        Asset(
            "canonical_face",
            ("mediapipe/canonical_face_model.obj",),
            "https://raw.githubusercontent.com/google-ai-edge/mediapipe/a908d668c730da128dfa8d9f6bd25d519d006692"
            "/mediapipe/modules/face_geometry/data/canonical_face_model.obj",
            "8bac80443397e113f41a8b565ea72c59390bc031d9defab289dba7bc0c54e618",
        ),
    )
}


def fetch(name: str) -> Path:
    """The local path of an asset of :data:`ASSETS`: ``ict_facekit`` or ``canonical_face``.

    ``ict_facekit`` is the packed file, or the OBJ folder where ``JDAP_ASSETS`` has only that. Raises KeyError for
    another name, and :class:`jdap.io.fetch.AssetError`, one line with the remedy, where an asset cannot be had.
    """
    return fetch_asset(ASSETS[name])
