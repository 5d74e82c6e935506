"""Holes by the names of parts, in pictures of heads: what ``jdap edit --part`` would hide, and asks the model for.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from jdap.batch import ImageBatch
from jdap.choices import SHIPPED_PARSER
from jdap.faces.landmarker import Landmarker
from jdap.faces.parser import load_parser
from jdap.faces.parsing import Parser
from jdap.io.fetch import AssetError
from jdap.photos.parts import BY_LANDMARKS, mask_parts
from jdap.photos.read import Photo, PhotoError


class PartHoles:
    """Finds ``names`` of :data:`jdap.choices.HEAD_PARTS` in the true pictures."""

    def __init__(self, names: Sequence[str], parser: Parser, landmarker: Landmarker | None) -> None:
        self.names, self.parser, self.landmarker = names, parser, landmarker

    def of(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Part → holes (B, 1, S, S) bool; empty where a picture has no such part."""
        side = batch.rgb.shape[-1]
        rgb = ((batch.rgb + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        found = {name: np.zeros((len(rgb), 1, side, side), dtype=bool) for name in self.names}
        for i, (picture, key) in enumerate(zip(rgb, batch.key, strict=True)):
            for name, holes in found.items():
                window = np.array([0.0, 0.0, side])
                try:
                    holes[i, 0] = mask_parts(Photo(picture), Path(key), window, [name], self.parser, self.landmarker)
                except PhotoError:  # nothing of it is there
                    continue
        return {name: torch.from_numpy(holes).to(batch.rgb.device) for name, holes in found.items()}


@contextmanager
def part_holes(names: Sequence[str]) -> Iterator[PartHoles]:
    """What finds these parts, by the parser that ships. Raises :class:`BenchmarkError` where faces cannot be found."""
    parser = load_parser(SHIPPED_PARSER)
    assert parser is not None
    if not BY_LANDMARKS & set(names):
        yield PartHoles(names, parser, None)
        return
    try:
        landmarker = Landmarker()
    except (AssetError, ImportError) as error:
        raise BenchmarkError(f"--part needs a face finder: {error}") from error
    with landmarker:
        yield PartHoles(names, parser, landmarker)
