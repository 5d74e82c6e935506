"""Training on latents rather than pictures: from drawn frames to an example, and examples to a batch.

Shapes: C latent channels, h = w latent cells, N audio samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import safetensors.torch
import torch
from torch import Tensor

from jdap.batch import ImageBatch, LatentBatch
from jdap.data import draw
from jdap.data.draw import Drawn
from jdap.data.transforms import Example, amplify
from jdap.io.files import write_whole
from jdap.shards.latents import FrameLatents, LatentSettings, decode_frame, latents_member
from jdap.shards.schema import Record, SchemaError
from jdap.shards.urls import ShardError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentExample:
    """A reference and F target frames of one person as latents, as stored.

    See :class:`jdap.batch.LatentBatch`, and for the rest :class:`jdap.data.transforms.Example`.
    """

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
    camera_px_F3: Tensor
    pose_F6: Tensor
    lip_opening_mm_F: Tensor
    audio: Tensor | None = None
    audio_margin: int = 0
    fps: float = 0.0


class LatentReader:
    """Decodes drawn frames that are stored as latents.

    Args:
        size_px: side of the pictures that the latents must be of, or None.
        flip: draw the mirrored versions, too, where there are some.
        jitter, zoom: what pictures would be augmented with. Latents come as they were made: one warning says so.
        clips: whether it reads those of clips, for the temporal stage, or those for the image stage; never both.
        gain_db: how much louder or quieter the sound of a clip may be made.
    """

    def __init__(
        self,
        size_px: int | None,
        flip: bool,
        jitter: float = 0.0,
        zoom: float = 0.0,
        clips: bool = False,
        gain_db: float = 0.0,
    ) -> None:
        self.size_px, self.flip, self.jitter, self.zoom = size_px, flip, jitter, zoom
        self.clips, self.gain_db = clips, gain_db
        self._told = False

    def refusal(self, record: Record) -> str:
        """Why latents are of no use here; nothing where they are. Raises :class:`SchemaError`."""
        if LatentSettings.of(record).clips == self.clips:
            return ""
        have, want = ("the image stage", "with --clips") if self.clips else ("the temporal stage", "without --clips")
        return f"holds latents for {have}: cache them by `jdap cache-latents` {want}"

    def __call__(
        self, drawn: Drawn, source: str | None, confidence: float | None, audio_margin: int | None = None
    ) -> LatentExample:
        """One version of all frames, chosen by the group's own chance. Raises :class:`SchemaError`.

        ``audio_margin`` as in :func:`jdap.data.draw.decode`.
        """
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
        audio = None if audio_margin is None else draw.decode_audio(drawn, audio_margin)
        if audio is not None and self.gain_db > 0:
            audio = amplify(audio, self.gain_db * (2 * torch.rand((), generator=generator).item() - 1))
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
            camera_px_F3=torch.stack([one.camera_px_V3[v] for one in targets]),
            pose_F6=torch.stack([one.pose_V6[v] for one in targets]),
            lip_opening_mm_F=draw.lip_opening_mm(record)[list(drawn.targets)],
            audio=audio,
            audio_margin=audio_margin or 0,
            fps=record.fps / drawn.stride,
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


def collate(
    examples: Sequence[Example | LatentExample],
    of_pictures: Callable[[list[Example]], Any],
    of_latents: Callable[[list[LatentExample]], Any],
) -> Any:
    """Examples of pictures, or of latents of one codec, as a batch. Raises :class:`ShardError` for a mixture."""
    pictures = [e for e in examples if isinstance(e, Example)]
    latents = [e for e in examples if isinstance(e, LatentExample)]
    if pictures and latents:
        raise ShardError(
            f"{pictures[0].key} of source {pictures[0].source} is a picture, {latents[0].key} of {latents[0].source} "
            "is latents: train on either; `jdap cache-latents` makes latents of all"
        )
    for one in latents:
        first = latents[0]
        if (one.codec, one.size_px) != (first.codec, first.size_px):
            raise ShardError(
                f"latents of {one.key} (codec {one.codec[:12]}, {one.size_px} pixels) and of {first.key} (codec "
                f"{first.codec[:12]}, {first.size_px} pixels) make no batch: cache them with one codec and --size"
            )
    return of_latents(latents) if latents else of_pictures(pictures)


class MeanSums:
    """What the mean depth of the cached pictures is made of: sums over the pictures in which a pixel is skin."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count: Tensor | None = None

    def add(self, pictures: ImageBatch) -> None:
        """Add N pictures."""
        seen = pictures.skin & (pictures.depth_mm > 0)
        total, count = (pictures.depth * seen).sum(0).double(), seen.sum(0)
        self.total = total if self.total is None else self.total + total
        self.count = count if self.count is None else self.count + count

    def write(self, path: Path) -> None:
        """Write ``total`` (1, H, W) float64 and ``count`` (1, H, W) int64."""
        assert self.total is not None
        assert self.count is not None
        write_whole(path, safetensors.torch.save({"total": self.total, "count": self.count}))


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


def latent_batch(examples: list[LatentExample]) -> LatentBatch:
    """Examples of equally many frames as a batch, the frames of an example one after the other."""
    maps = {name: x.flatten(0, 1) for name, x in maps_of(examples).items()}
    reference = torch.stack([e.reference_Chw for e in examples])
    range_mm = torch.cat([e.range_mm_F2 for e in examples])
    names = draw.names_of(examples, len(examples[0].rgb_FChw))
    return LatentBatch(reference=reference, **maps, range_mm=range_mm, codec=examples[0].codec, **names)


def maps_of(examples: list[LatentExample]) -> dict[str, Any]:
    """The maps of all examples by their name in a batch, (B, F, channels, h, w) each."""
    names = {"rgb": "rgb_FChw", "depth": "depth_FChw", "skin": "skin_F1hw", "confidence": "confidence_F1hw"}
    return {name: torch.stack([getattr(e, its) for e in examples]) for name, its in names.items()}


def _frame(drawn: Drawn, index: int) -> FrameLatents:
    name = latents_member(index)
    try:
        return decode_frame(drawn.members[name], drawn.record)
    except SchemaError as error:
        raise SchemaError(f"{name}: {error}") from error
