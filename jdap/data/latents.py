"""Training on latents rather than pictures: from a drawn pair of frames to an example, and examples to a batch.

Shapes: C latent channels, h = w latent cells.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import fsspec
import safetensors.torch
import torch
from torch import Tensor

from jdap.batch import ImageBatch, LatentBatch
from jdap.data import draw
from jdap.data.draw import Drawn
from jdap.data.transforms import Example
from jdap.shards.latents import FrameLatents, LatentSettings, decode_frame, latents_member
from jdap.shards.schema import SchemaError
from jdap.shards.urls import ShardError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentExample:
    """A reference and F target frames of one person as latents, as stored; see :class:`jdap.batch.LatentBatch`."""

    key: str
    person_id: str
    depth_source: str
    source: str
    size_px: int
    codec: str
    reference_Chw: Tensor
    rgb_FChw: Tensor
    depth_FChw: Tensor
    skin_F1hw: Tensor
    confidence_F1hw: Tensor
    range_mm_F2: Tensor


class LatentReader:
    """Decodes drawn frames that are stored as latents.

    Args:
        size_px: side of the pictures that the latents must be of, or None.
        flip: draw the mirrored versions, too, where there are some.
        jitter, zoom: what pictures would be augmented with. Latents come as they were made: one warning says so.
    """

    def __init__(self, size_px: int | None, flip: bool, jitter: float = 0.0, zoom: float = 0.0) -> None:
        self.size_px, self.flip, self.jitter, self.zoom = size_px, flip, jitter, zoom
        self._told = False

    def __call__(self, drawn: Drawn, source: str | None, confidence: float | None) -> LatentExample:
        """One version of all frames, chosen by the group's own chance. Raises :class:`SchemaError`."""
        record, settings = drawn.record, LatentSettings.of(drawn.record)
        if self.size_px not in (None, record.size_px):
            raise SchemaError(
                f"holds latents of {record.size_px} pixels, asked for {self.size_px}: set size_px to that or null, "
                "or cache them anew with `jdap cache-latents --size`"
            )
        self._tell(drawn, settings)
        targets, reference = [_frame(drawn, index) for index in drawn.targets], _frame(drawn, drawn.reference)
        generator = draw.seeded("version", *drawn.chance)
        variant, heads = torch.randint(1 << 30, (2,), generator=generator).tolist()
        v = settings.version(variant % settings.variants, self.flip and settings.mirrored and heads % 2 == 1)
        default = draw.CONFIDENCE_OF[record.depth_source] if confidence is None else confidence
        trust = [
            torch.full_like(one.skin_V1hw[v], default) if one.confidence_V1hw is None else one.confidence_V1hw[v]
            for one in targets
        ]
        return LatentExample(
            key=drawn.key,
            person_id=record.person_id,
            depth_source=record.depth_source,
            source=source or record.depth_source,
            size_px=record.size_px,
            codec=settings.codec,
            reference_Chw=(reference.rgb_VChw if reference.reference_VChw is None else reference.reference_VChw)[v],
            rgb_FChw=torch.stack([one.rgb_VChw[v] for one in targets]),
            depth_FChw=torch.stack([one.depth_VChw[v] for one in targets]),
            skin_F1hw=torch.stack([one.skin_V1hw[v] for one in targets]),
            confidence_F1hw=torch.stack(trust),
            range_mm_F2=torch.stack([one.range_mm_V2[v] for one in targets]),
        )

    def _tell(self, drawn: Drawn, settings: LatentSettings) -> None:
        """Warn once of augmentation that is asked for and not in the latents."""
        kept = (settings.jitter, settings.zoom) if settings.variants > 1 else (0, 0)
        lacks = [
            f"{name} {asked}"
            for name, asked, has in (("jitter", self.jitter, kept[0]), ("zoom", self.zoom, kept[1]))
            if asked > has
        ]
        lacks += ["flip"] if self.flip and not settings.mirrored else []
        if lacks and not self._told:
            _log.warning(
                "%s: its latents were cached without %s, which they train without", drawn.url, ", ".join(lacks)
            )
        self._told = True


def collate(examples: Sequence[Example | LatentExample]) -> ImageBatch | LatentBatch:
    """Examples of pictures, or of latents of one codec, as a batch. Raises :class:`ShardError` for a mixture."""
    pictures = [e for e in examples if isinstance(e, Example)]
    latents = [e for e in examples if isinstance(e, LatentExample)]
    if pictures and latents:
        raise ShardError(
            f"{pictures[0].key} of source {pictures[0].source} is a picture, {latents[0].key} of {latents[0].source} "
            "is latents: train on either; `jdap cache-latents` makes latents of all"
        )
    return _latent_batch(latents) if latents else draw.image_batch(pictures)


def read_depth_sums(urls: list[str]) -> tuple[Tensor, Tensor] | None:
    """Sum (1, H, W) of the normalised depth over skin, and the count, of shards of latents; None if one has no such."""
    found = []
    for url in urls:
        try:
            with fsspec.open(f"{url.removesuffix('.tar')}.safetensors", "rb") as file:
                found.append(safetensors.torch.load(file.read()))
        except FileNotFoundError:
            return None
    return sum(f["total"] for f in found), sum(f["count"] for f in found)  # type: ignore[return-value]


def _latent_batch(examples: list[LatentExample]) -> LatentBatch:
    first = examples[0]
    for one in examples:
        if (one.codec, one.size_px) != (first.codec, first.size_px):
            raise ShardError(
                f"latents of {one.key} (codec {one.codec[:12]}, {one.size_px} pixels) and of {first.key} (codec "
                f"{first.codec[:12]}, {first.size_px} pixels) make no batch: cache them with one codec and --size"
            )
    return LatentBatch(
        reference=torch.stack([e.reference_Chw for e in examples]),
        rgb=torch.cat([e.rgb_FChw for e in examples]),
        depth=torch.cat([e.depth_FChw for e in examples]),
        skin=torch.cat([e.skin_F1hw for e in examples]),
        confidence=torch.cat([e.confidence_F1hw for e in examples]),
        range_mm=torch.cat([e.range_mm_F2 for e in examples]),
        codec=first.codec,
        **draw.names_of(examples, len(first.rgb_FChw)),
    )


def _frame(drawn: Drawn, index: int) -> FrameLatents:
    name = latents_member(index)
    try:
        return decode_frame(drawn.members[name], drawn.record)
    except SchemaError as error:
        raise SchemaError(f"{name}: {error}") from error
