"""Fitted depth as maps, or drawn again when it is read: bytes, time and error, a part of ``benchmarks coding``.

A sample of ``prepare`` holds the fit, so its depth can be drawn anew from that and the head model; what a parser took
out of the skin cannot. Times are processor time of a frame, four frames at a time.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmarks import BenchmarkError
from benchmarks.cost.timing import best_seconds
from data_prep.fit.render import FRAMES_AT_ONCE, HeadRenderer
from data_prep.head.files import load_face_model
from jdap.data.shards import resolve_shards
from jdap.depth import to_tenths
from jdap.shards import schema
from jdap.shards.reader import read_samples
from jdap.shards.schema import FITTED


def redraw_rows(shards: str, limit: int, repeats: int) -> list[dict[str, Any]]:
    """Maps and drawing, means over the frames of at most ``limit`` samples.

    ``bytes`` of depth and skin a frame, ``read_ms`` to have both, ``off_mm`` the most by which depth differs from the
    drawn one where both have some, ``skin_off`` the share of skin's pixels that are in one mask alone. Raises
    :class:`benchmarks.BenchmarkError` where no sample has fitted depth.
    """
    face = load_face_model(None)
    renderer = HeadRenderer(face.model, face.correspondence)
    kinds: dict[str, list[dict[str, float]]] = {"maps": [], "drawn": []}
    samples = (sample for shard in resolve_shards(shards) for sample in read_samples(shard))
    for sample in islice((one for one in samples if one.record.depth_source == FITTED), limit):
        few = slice(0, FRAMES_AT_ONCE)
        pose = [torch.from_numpy(sample.arrays[name][few]) for name in ("expression", "rotation", "translation_mm")]
        identity, camera = torch.from_numpy(sample.arrays["identity"][0]), torch.from_numpy(sample.arrays["camera_px"])

        def draw(
            identity: torch.Tensor = identity,
            pose: list[torch.Tensor] = pose,
            camera: torch.Tensor = camera[few],
            size: int = sample.record.size_px,
        ) -> Any:
            return renderer.render(identity, pose[0], pose[1], pose[2], camera, size)

        coded = [
            (schema.encode_depth(to_tenths(depth)), schema.encode_skin(skin))
            for depth, skin in zip(sample.depth_mm_FHW[few], sample.skin_FHW[few], strict=True)
        ]

        def decode(coded: list[tuple[bytes, bytes]] = coded) -> None:
            for depth, skin in coded:
                schema.decode_depth(depth)
                schema.decode_skin(skin)

        maps, frames = draw(), len(coded)
        both = (maps.depth_mm_FHW > 0) & (sample.depth_mm_FHW[few] > 0)
        alone = (maps.skin_FHW != sample.skin_FHW[few]).sum() / max(sample.skin_FHW[few].sum(), 1)
        size = sum(map(len, (part for pair in coded for part in pair))) / frames
        off = float(np.abs(maps.depth_mm_FHW - sample.depth_mm_FHW[few])[both].max())
        milliseconds = {
            name: 1000 * best_seconds(call, repeats) / frames for name, call in (("m", decode), ("d", draw))
        }
        kinds["maps"].append({"bytes": size, "read_ms": milliseconds["m"], "off_mm": 0.05, "skin_off": 0.0})
        kinds["drawn"].append({"bytes": 0.0, "read_ms": milliseconds["d"], "off_mm": off, "skin_off": float(alone)})
    if not kinds["maps"]:
        raise BenchmarkError(f"{shards}: --redraw needs samples with fitted depth, of `python -m data_prep prepare`")
    return [
        {"depth": kind, "n": len(rows)} | {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for kind, rows in kinds.items()
    ]
