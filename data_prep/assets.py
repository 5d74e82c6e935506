"""Where files that the project does not ship come from."""

from __future__ import annotations

import os
from pathlib import Path

LOCAL = {
    "ict_facekit": Path("ict_facekit/ict_face_model_full.npz"),
    "face_landmarker": Path("mediapipe/face_landmarker.task"),
    "canonical_face": Path("mediapipe/canonical_face_model.obj"),
}


class AssetError(RuntimeError):
    """A file that could be had neither locally nor by download."""


def fetch(name: str) -> Path:
    """The local path of an asset: ``ict_facekit``, ``face_landmarker`` or ``canonical_face``."""
    folder = os.environ.get("JDAP_ASSETS")
    if folder and (path := Path(folder) / LOCAL[name]).exists():
        return path
    raise AssetError(f"{name} is missing: set JDAP_ASSETS to a folder that holds {LOCAL[name]}")
