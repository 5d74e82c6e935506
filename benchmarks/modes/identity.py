"""Identity of drawn pictures: distances of face embeddings, on the landmarks of the geometry that was asked for.

Shapes: B pictures, H x W pixels, N landmarks, E numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from benchmarks.depth.regions import find_landmarks
from benchmarks.modes import measure as modes
from jdap.batch import ImageBatch
from jdap.faces.embedding import Embedder, load_embedder
from jdap.faces.landmarker import Landmarker
from jdap.io.fetch import AssetError
from jdap.metrics.identity import distance, separation

IDENTITY, FACE_FOUND = "identity", "face_found"


class Identity:
    """Adds ``identity`` to the outcomes of :mod:`benchmarks.modes.measure`; keeps the true pictures' embeddings."""

    def __init__(self, embedder: Embedder, landmarker: Landmarker) -> None:
        self.embed, self.landmarker = embedder, landmarker
        self.people: list[str] = []
        self.embeddings: list[Tensor] = []

    def landmarks(self, rgb_B3HW: Tensor) -> tuple[np.ndarray, Tensor]:
        """mediapipe's landmarks (B, N, 2) in pixels of the pictures, and where a face was found (B,) bool.

        A picture in which none is found gets the mean of the others' (the middle of the picture where there are none),
        so that a drawing is not left out because it failed.
        """
        points = find_landmarks(self.landmarker, rgb_B3HW)[..., :2]
        found = ~np.isnan(points).any((1, 2))
        points[~found] = points[found].mean(0) if found.any() else rgb_B3HW.shape[-1] / 2
        return points, torch.from_numpy(found)

    def add(self, outcomes: dict[str, modes.Answers], batch: ImageBatch) -> None:
        """Note distances: of depth-to-image and inpainting to the true picture, of joint generation to the reference.

        Pictures drawn for the true picture's geometry are cropped by its landmarks, the others by their own.
        """
        at, found = self.landmarks(batch.rgb)
        true = self.embed(batch.rgb, at)
        reference = self.embed(batch.reference_rgb, self.landmarks(batch.reference_rgb)[0])
        self.people += [*batch.person_id, *batch.person_id]
        self.embeddings += [true, reference]
        others, lonely = modes.other_people(batch.person_id)
        for question, outcome in outcomes.items():
            if question == modes.JOINT_QUESTION:
                for answer in (modes.JOINT_QUESTION, modes.BY_MOVED, modes.KEPT_FACE):
                    if (rgb := outcome.rgb.get(answer)) is not None:
                        drawn_at, drawn_found = self.landmarks(rgb)
                        outcome.add(answer, FACE_FOUND, drawn_found.double())
                        outcome.add(answer, IDENTITY, distance(self.embed(rgb, drawn_at), reference))
                outcome.add(modes.TRUE, FACE_FOUND, found.double())
                outcome.add(modes.TRUE, IDENTITY, distance(true, reference))
                outcome.add(modes.OTHER, IDENTITY, modes.without(distance(true[others], reference), lonely))
            elif question in (modes.DEPTH_TO_IMAGE_QUESTION, modes.INPAINT_BOTH, modes.INPAINT_RGB):
                for answer, rgb in outcome.rgb.items():
                    if answer == modes.REFERENCE:
                        outcome.add(answer, IDENTITY, distance(reference, true))
                    elif answer != modes.OTHER:
                        outcome.add(answer, IDENTITY, distance(self.embed(rgb, at), true))
                    elif question == modes.DEPTH_TO_IMAGE_QUESTION:
                        outcome.add(answer, IDENTITY, modes.without(distance(true[others], true), lonely))

    def separation(self) -> dict[str, float]:
        """How well the embeddings of the true pictures (targets and references) tell these people apart."""
        return separation(torch.cat(self.embeddings), self.people)


@contextmanager
def identity(path: Path | None = None) -> Iterator[tuple[Identity | None, str]]:
    """The measure and "", or None and why it cannot be had here (not installed, no landmark model).

    ``path``: a file of ONNX in place of dlib's network. It was asked for, so what is missing then is a
    :class:`BenchmarkError`.
    """
    try:
        embedder, landmarker = load_embedder(path), Landmarker()
    except (AssetError, ImportError) as error:
        if path is not None:
            raise BenchmarkError(f"--embedder {path}: {error}") from error
        yield None, str(error)
        return
    with landmarker:
        yield Identity(embedder, landmarker), ""
