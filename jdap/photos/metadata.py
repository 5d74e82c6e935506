"""What is said beside the pictures that are made of a photo, in ``NAME.WORD.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch

from jdap import __version__
from jdap.faces import crop
from jdap.photos import paste
from jdap.photos.head import AnyPipeline
from jdap.photos.made import Made
from jdap.photos.read import Photo


def where_from(source: str, photo: Photo, faces: int | None, window_px: np.ndarray) -> dict[str, object]:
    """Where a window (left, top, size) comes from; ``faces``: how many were found, None: not looked for."""
    left, top, size = (round(x, 3) for x in window_px.tolist())
    return {
        "source": source,
        "photo": {"width": photo.width, "height": photo.height, "exif_orientation": photo.orientation}
        | ({"turned_deg": 90 * photo.turned} if photo.turned else {}),
        "faces_found": faces,
        "window_px": {"left": left, "top": top, "size": size, "outside": round(share_outside(photo, window_px), 4)},
    }


def share_outside(photo: Photo, window_px: np.ndarray) -> float:
    """The share of a window that lies outside of the photo, in [0, 1]."""
    return float(crop.padded_share(window_px[None], photo.width, photo.height)[0])


def what_depth_means(name: str, uncertainty_SS: np.ndarray | None) -> dict[str, object]:
    """What the files of depth hold that begin with ``name``: its frame, and of an ensemble its uncertainty's."""
    said: dict[str, object] = {"depth": {"files": [Made.DEPTH.of(name, "png")], **paste.FRAME}}
    if uncertainty_SS is not None:
        said["uncertainty"] = {
            "file": Made.DEPTH.of(name, "uncertainty.png"),
            **paste.UNCERTAINTY,
            "mean": round(float(uncertainty_SS.mean()), 5),
        }
    return said


def made_by(pipeline: AnyPipeline, weights: str, steps: int, seed: int, dtype: str) -> dict[str, object]:
    """What made a file, and with which settings."""
    return {
        "weights": weights,
        "preset": pipeline.preset,
        "size_px": pipeline.size_px,
        "steps": steps,
        "seed": seed,
        "device": str(pipeline.device),
        "dtype": dtype,
        "jdap": __version__,
        "torch": torch.__version__,
    }


def as_json(data: Mapping[str, object]) -> bytes:
    """Metadata as a file holds it."""
    return utf8(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def utf8(text: str) -> bytes:
    """JSON as UTF-8. Bytes of a file's name that are no UTF-8 are JSON's escapes of what Python has for them."""
    return text.encode("utf-8", "backslashreplace")
