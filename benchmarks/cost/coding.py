"""``python -m benchmarks coding``: size, quality and time of the ways to code frames in shards.

RGB: JPEG by quality and chroma subsampling, WebP, PNG. Depth: 16-bit PNG by effort, and lossless WebP of its two bytes.
Skin and confidence, where shards have it: PNG by effort, and run lengths alone.
Each is written and read by Pillow, but for the coding of :mod:`jdap.shards.schema`, which is marked. Writes
``coding.json`` and ``coding.csv`` into a folder.

Frames of shards have been through JPEG once. Coded anew on the same grid of blocks they lose less than a camera's
pictures would, so ``--shrink 2`` first averages blocks of 2 x 2 pixels, which is the honest way to compare.

Shapes: H = W pixels.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import PIL
from PIL import Image, features
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.cost.redraw import redraw_rows
from benchmarks.cost.timing import best_seconds
from jdap.data.shards import ALONE, ShardOrder, resolve_shards, usable
from jdap.data.tars import BadSamplePolicy, read_tars
from jdap.io.progress import track
from jdap.shards import png, schema

RGB, DEPTH, SKIN_MASK, CONFIDENCE = "rgb", "depth", "skin", "confidence"
MEMBER_KINDS = (RGB, DEPTH, SKIN_MASK, CONFIDENCE)
FRAMES_DECODED = 4
#: Pillow's way to code nothing but runs of equal values.
RUN_LENGTHS = {"compress_level": 5, "compress_type": Image.core.RLE}


@dataclass(frozen=True)
class Coding:
    """One way to code a picture: (H, W, 3) uint8 RGB, or (H, W): uint16 depth in tenths of a millimetre, bool skin,
    uint8 confidence. All but RGB must come back as it was."""

    kind: str
    name: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def _pillow(picture: np.ndarray, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, file_format, **options)
    return buffer.getvalue()


def codings() -> list[Coding]:
    """Every coding that is measured, RGB first."""
    found = [Coding(RGB, "shards: JPEG 95 4:4:4", schema.encode_rgb, schema.decode_rgb)]
    options: list[tuple[str, str, dict[str, Any]]] = [
        (f"JPEG {quality} {chroma}", "JPEG", {"quality": quality, "subsampling": chroma})
        for quality in (85, 90, 95)
        for chroma in ("4:2:0", "4:4:4")
    ]
    if features.check("webp"):
        options += [(f"WebP {quality}", "WEBP", {"quality": quality}) for quality in (80, 90, 95)]
        options += [("WebP lossless", "WEBP", {"lossless": True})]
    options += [(f"PNG level {level}", "PNG", {"compress_level": level}) for level in (1, 6)]
    for name, file_format, more in options:
        found.append(Coding(RGB, name, partial(_pillow, file_format=file_format, **more), schema.decode_rgb))
    found.append(Coding(DEPTH, f"shards: PNG up, level {png.PNG_LEVEL}", schema.encode_depth, schema.decode_depth))
    found += _pngs(DEPTH, schema.decode_depth)
    if features.check("webp"):
        found.append(Coding(DEPTH, "WebP of two bytes", _encode_bytes, _decode_bytes))
    found.append(Coding(SKIN_MASK, "shards: PNG unfiltered", schema.encode_skin, schema.decode_skin))
    found += _pngs(SKIN_MASK, schema.decode_skin)
    found.append(Coding(CONFIDENCE, "shards: PNG unfiltered", _encode_grey, _decode_grey))
    found += _pngs(CONFIDENCE, _decode_grey)
    return found


def _pngs(kind: str, decode: Callable[[bytes], np.ndarray]) -> list[Coding]:
    def pillow_png(**options: Any) -> Callable[[np.ndarray], bytes]:
        return partial(_pillow, file_format="PNG", **options)

    found = [
        Coding(kind, f"PNG level {level}", pillow_png(compress_level=level), decode) for level in (1, 3, 4, 5, 6, 9)
    ]
    found.append(Coding(kind, "PNG optimised", pillow_png(optimize=True), decode))
    return [*found, Coding(kind, "PNG of run lengths", pillow_png(**RUN_LENGTHS), decode)]


def _encode_grey(grey: np.ndarray) -> bytes:
    return schema.encode_confidence(grey.astype(np.float32) / 255)


def _decode_grey(data: bytes) -> np.ndarray:
    return np.rint(schema.decode_confidence(data) * 255).astype(np.uint8)


def _encode_bytes(depth: np.ndarray) -> bytes:
    """The high byte of a depth as red and the low one as green."""
    planes = [depth >> 8, depth & 255, np.zeros_like(depth)]
    return _pillow(np.stack(planes, -1).astype(np.uint8), "WEBP", lossless=True)


def _decode_bytes(data: bytes) -> np.ndarray:
    high, low, _ = np.moveaxis(schema.decode_rgb(data).astype(np.uint16), -1, 0)
    return high << 8 | low


def read_pictures(shards: str, limit: int, shrink: int) -> Iterator[dict[str, np.ndarray]]:
    """Pictures by :data:`MEMBER_KINDS` of ``limit`` frames, at most :data:`FRAMES_DECODED` of a sample; sides are
    divided by ``shrink``.

    RGB is averaged; of the others every ``shrink``-th pixel is taken. Raises :class:`jdap.data.shards.ShardError` where
    there are no shards or a bad one.
    """
    faults, count = BadSamplePolicy(strict=True), 0
    once = ShardOrder(resolve_shards(shards), ALONE, faults, seed=0, endless=False)
    for sample, record in usable(read_tars(once(), faults), faults):
        for frame in sorted({round(i) for i in np.linspace(0, record.frames - 1, min(FRAMES_DECODED, record.frames))}):
            rgb = schema.decode_rgb(sample[schema.frame_member(RGB, frame)])
            found = {RGB: np.asarray(Image.fromarray(rgb).reduce(shrink))}
            for kind, decode in (
                (DEPTH, schema.decode_depth),
                (SKIN_MASK, schema.decode_skin),
                (CONFIDENCE, _decode_grey),
            ):
                if (member := schema.frame_member(kind, frame)) in sample:
                    found[kind] = np.ascontiguousarray(decode(sample[member])[::shrink, ::shrink])
            yield found
            count += 1
            if count == limit:
                return


def psnr(decoded: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures in dB; infinite where they are equal."""
    error = np.square(decoded.astype(np.float64) - original).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def measure(coding: Coding, pictures: list[np.ndarray], repeats: int) -> dict[str, Any]:
    """Means over pictures: ``bytes``, ``encode_ms``, ``decode_ms``, ``psnr_db`` (None: every one was lossless).

    ``psnr_db`` is over the pictures that lost something; ``psnr_worst_db`` is the worst one's. Raises
    :class:`benchmarks.BenchmarkError` for a coding of anything but RGB that loses something.
    """
    sizes, encode, decode, quality = [], [], [], []
    for picture in pictures:
        data = coding.encode(picture)
        decoded = coding.decode(data)
        if coding.kind != RGB and not np.array_equal(decoded, picture):
            raise BenchmarkError(f"{coding.name} does not give {coding.kind} back as it was")
        sizes.append(len(data))
        encode.append(best_seconds(partial(coding.encode, picture), repeats))
        decode.append(best_seconds(partial(coding.decode, data), repeats))
        if not np.array_equal(decoded, picture):
            quality.append(psnr(decoded, picture))
    return {
        "kind": coding.kind,
        "coding": coding.name,
        "n": len(pictures),
        "size_px": pictures[0].shape[0],
        "bytes": round(fmean(sizes)),
        "encode_ms": round(1000 * fmean(encode), 3),
        "decode_ms": round(1000 * fmean(decode), 3),
        "psnr_db": round(fmean(quality), 2) if quality else None,
        "psnr_worst_db": round(min(quality), 2) if quality else None,
    }


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write ``coding.json`` and ``coding.csv`` into ``args.out``."""
    console = Console()
    pictures = list(read_pictures(args.shards, args.limit, args.shrink))
    rows = []
    for coding in track(codings(), "coding", console):
        if there := [one[coding.kind] for one in pictures if coding.kind in one]:
            rows.append(measure(coding, there, args.repeats))
    stamp = report.software_stamp() | {
        "pillow": PIL.__version__,
        "shards": args.shards,
        "shrink": args.shrink,
        "repeats": args.repeats,
    }
    redrawn = redraw_rows(args.shards, args.limit, args.repeats) if args.redraw else []
    args.out.mkdir(parents=True, exist_ok=True)
    report.write_json(args.out / "coding.json", {"rows": rows, "redrawn": redrawn, "stamp": stamp})
    report.write_csv(args.out / "coding.csv", rows)
    for kind in MEMBER_KINDS:
        if of_kind := [row for row in rows if row["kind"] == kind]:
            console.print(_table(of_kind))
    for row in redrawn:
        console.print(
            f"fitted depth, {row['depth']}, {row['n']} samples: {row['bytes']:.0f} bytes a frame, read in "
            f"{row['read_ms']:.1f} ms, off by {row['off_mm']:.2f} mm at most, skin by {row['skin_off']:.2%}"
        )
    return 0


def _table(rows: list[dict[str, Any]]) -> Table:
    """The rows of one kind; sizes also as a share of what shards use, which is the first row."""
    first = rows[0]
    title = f"{first['kind']}: means over {first['n']} pictures of {first['size_px']} x {first['size_px']} pixels"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("coding", no_wrap=True)
    for header in ("bytes", "share", "decode ms", "encode ms", "PSNR dB", "worst"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        lossless = row["psnr_db"] is None
        table.add_row(
            row["coding"],
            str(row["bytes"]),
            f"{100 * row['bytes'] / first['bytes']:.0f} %",
            f"{row['decode_ms']:.2f}",
            f"{row['encode_ms']:.2f}",
            "lossless" if lossless else f"{row['psnr_db']:.1f}",
            "" if lossless else f"{row['psnr_worst_db']:.1f}",
        )
    return table
