"""One photo, asked about in all of its views: what each method says, and the skin on which answers are compared.

Shapes: H x W pixels of the photo, S x S of a view, V views, M pairs of landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull
from torch import Tensor

from benchmarks.depth.measured import measured_fields, stack
from benchmarks.depth.method import CarriedDepth, JdapHead, Method
from benchmarks.depth.photo_batch import PhotoBatch
from benchmarks.depth.photo_heads import FITS, HeadGuesses
from benchmarks.depth.scores import timed_prediction
from benchmarks.steadiness.symmetry import FELLOWS
from benchmarks.steadiness.views import VIEWS, colour_seed
from data_prep.photos.find import PhotoPerson, pictures_of
from jdap.choices import PARSED, SHIPPED_PARSER, SKIN
from jdap.faces import crop
from jdap.faces.landmarker import FACE_LANDMARKS, Face, Landmarker
from jdap.faces.parser import load_parser
from jdap.photos.read import PhotoError, read_photo
from jdap.pose.depth import draw_head
from jdap.pose.heads import Heads
from jdap.shape.assumed import assumed_camera

#: Faces are looked for in views of this side, pixels.
VIEW_PX = 256
#: Where the depth would come from.
NO_TRUTH = "none"


@dataclass(frozen=True, eq=False)
class ViewAnswers:
    """Of one photo: ``rgb_SS3`` uint8 and ``skin_SS`` bool as it is, ``pairs_px_M22`` landmarks there that are each
    other's fellows, and what each method says of all views, (V, 1, S, S), larger = farther."""

    name: str
    person: str
    rgb_SS3: np.ndarray
    skin_SS: np.ndarray
    pairs_px_M22: np.ndarray
    depth_V1SS: dict[str, Tensor]


class Asker:
    """Asks methods about photos, in views of ``size`` pixels."""

    def __init__(self, methods: Sequence[Method], size: int, landmarker: Landmarker, seed: int) -> None:
        self.methods, self.size, self.landmarker, self.seed = methods, size, landmarker, seed
        fields = {method.field for method in methods if isinstance(method, CarriedDepth)}
        self.guesses = HeadGuesses({field: fit for field, fit in FITS.items() if field in fields}) if fields else None
        betters = any(isinstance(method, JdapHead) and method.betters_heads for method in methods)
        self.heads = Heads(landmarker) if betters else None
        self.parser = load_parser(SHIPPED_PARSER)

    def __call__(self, person: PhotoPerson) -> ViewAnswers:
        """A person's first photo by name. Raises :class:`jdap.photos.read.PhotoError` for one that cannot be read, or
        in a view of which no face is found, and OSError for a folder that cannot be read."""
        path = pictures_of(person.path)[0]
        photo = read_photo(path)
        found = self.landmarker.find(photo.rgb_HW3)
        if not found:
            raise PhotoError(f"{path}: no face is found")
        window = crop.head_window(found[0].landmarks_px_N3[:FACE_LANDMARKS], photo.width, photo.height)
        seed = colour_seed(self.seed, path.name)
        large = [view.picture(photo.rgb_HW3, window, VIEW_PX, seed) for view in VIEWS]
        small = [view.picture(photo.rgb_HW3, window, self.size, seed) for view in VIEWS]
        faces = [self._face(path, view.check, rgb) for view, rgb in zip(VIEWS, large, strict=True)]
        batch = self._batch(path.name, person.name, small, faces)
        points = faces[0].landmarks_px_N3[:FACE_LANDMARKS, :2] * (self.size / VIEW_PX)
        answers = {method.name: timed_prediction(method, batch)[0].float().cpu() for method in self.methods}
        return ViewAnswers(
            path.name, person.name, small[0], self._skin(small[0], points), points[list(FELLOWS)], answers
        )

    def _face(self, path: Path, check: str, rgb_SS3: np.ndarray) -> Face:
        """The face in the middle of a view."""
        middle = VIEW_PX / 2
        faces = self.landmarker.detect(rgb_SS3)
        if not faces:
            raise PhotoError(f"{path}: no face is found {check}")
        return min(faces, key=lambda face: float(np.linalg.norm(face.landmarks_px_N3[:, :2].mean(0) - middle)))

    def _skin(self, rgb_SS3: np.ndarray, points_N2: np.ndarray) -> np.ndarray:
        """(S, S) bool: what the parser takes for skin within the outline of the landmarks."""
        outline = Image.new("1", (self.size, self.size))
        hull = points_N2[ConvexHull(points_N2).vertices]
        ImageDraw.Draw(outline).polygon([(float(x), float(y)) for x, y in hull], fill=1)
        assert self.parser is not None
        likeliest = self.parser.shares(rgb_SS3[None])[0].argmax(0)
        return np.asarray(outline) & (likeliest == PARSED.index(SKIN))

    def _batch(self, name: str, person: str, small: Sequence[np.ndarray], faces: Sequence[Face]) -> PhotoBatch:
        """The views as photos by themselves, of which nothing is known but the picture."""
        count, size = len(VIEWS), self.size
        everywhere = torch.ones(count, 1, size, size, dtype=torch.bool)
        maps: dict[str, Any] = {}
        whole = np.array([0.0, 0.0, VIEW_PX])
        if self.guesses is not None:
            each = [self.guesses(face, VIEW_PX, VIEW_PX, whole, size)[0] for face in faces]
            maps = {field: stack([one[field] for one in each])[:, None] for field in each[0]}
        if self.heads is not None:
            heads = self.heads
            drawn = [draw_head(heads, heads.fit_face(face, VIEW_PX, corrected=False), size) for face in faces]
            maps |= {"head_relief": torch.cat([one.relief for one in drawn])}
            maps |= {"head_face": torch.cat([one.face for one in drawn])}
        fields = measured_fields(stack(small), torch.zeros(count, 1, size, size), everywhere, NO_TRUTH)
        return PhotoBatch(
            **fields,
            camera_px=assumed_camera(size).expand(count, 3),
            key=tuple(f"{name} {number}" for number in range(count)),
            person_id=(person,) * count,
            **maps,
        )
