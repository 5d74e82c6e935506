"""``python -m data_prep scans FOLDER --out DIR``: textured scans of heads → shards with exact depth."""

from __future__ import annotations

import argparse

import torch
from rich.console import Console

from data_prep.clips.quality import KEPT
from data_prep.scans.shards import Ring, ScansError, ScanSettings, prepare_scans

LIMITS = {"yaws": (-89.0, 89.0), "pitches": (-60.0, 60.0), "distances_mm": (250.0, 5000.0)}


def run(args: argparse.Namespace) -> int:
    """Photograph, and print what became of the scans; 0 when every scan has its row."""
    if args.size < 32 or args.size % 8:
        raise ScansError(f"--size must be a multiple of 8, at least 32, got {args.size}")
    for name, (low, high) in LIMITS.items():
        for value in getattr(args, name):
            if not low <= value <= high:
                raise ScansError(f"--{name.replace('_', '-')} must be {low:g} … {high:g}, got {value:g}")
    if args.mm_per_unit is not None and not 0 < args.mm_per_unit < float("inf"):
        raise ScansError(f"--mm-per-unit must be positive, got {args.mm_per_unit}")
    if args.seed < 0:
        raise ScansError(f"--seed must not be negative, got {args.seed}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ScansError("--device cuda: this torch sees no CUDA device; use --device cpu")
    ring = Ring(args.yaws, args.pitches, args.distances_mm)
    settings = ScanSettings(args.size, ring, args.region, args.mm_per_unit, args.seed, args.device, args.mean_head)
    rows = prepare_scans(args.folder, args.out, settings, args.overwrite)
    console = Console()
    for row in rows:
        if row["status"] != KEPT:
            console.print(f"{row['status']}: {row['source']}: {row['reason']}", markup=False, soft_wrap=True)
    kept = [row for row in rows if row["status"] == KEPT]
    frames = sum(row["frames"] for row in kept)
    console.print(f"{args.out}: {len(kept)} of {len(rows)} scans kept, {frames} pictures", markup=False, soft_wrap=True)
    return 0
