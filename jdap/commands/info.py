"""``jdap info FOLDER``: what a weights folder or a folder of shards holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from jdap.commands.arguments import CommandError

#: Kinds of samples, with how many there are of each.
COUNTED = ("sizes_px", "fps", "depth_sources", "languages", "schema_versions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap info``."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="weights folder or shipped:NAME; folder, pattern or URL of shards"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """Print it; the exit status is 0."""
    from jdap.io import assets as shipped
    from jdap.pipelines.summary import is_weights, weights_summary
    from jdap.shards.summary import shards_summary

    folder = Path(shipped.resolve(args.folder))
    if folder.is_dir() and not is_weights(folder) and not list(folder.glob("*.tar")):
        raise CommandError(f"{args.folder}: holds neither weights ({folder}/model_index.json) nor shards (*.tar)")
    found = weights_summary(folder) if is_weights(folder) else shards_summary(args.folder)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join([args.folder, *lines(found, 1)]))
    return 0


def lines(found: dict, depth: int) -> Iterator[str]:
    """What was found, a line each; what is not there has none. Bytes and numbers as people read them."""
    for name, value in found.items():
        label = "  " * depth + str(name).replace("_", " ")
        if value is None or value in ({}, [], ""):
            continue
        if isinstance(value, dict) and name in COUNTED:
            yield f"{label}: " + ", ".join(f"{key} ({count:,})" for key, count in value.items())
        elif isinstance(value, dict) and all(isinstance(x, float) for x in value.values()):
            yield f"{label}: " + ", ".join(f"{key} {x:.4g}" for key, x in value.items())
        elif isinstance(value, dict):
            yield f"{label}:"
            yield from lines(value, depth + 1)
        else:
            yield f"{label}: {plain(name, value)}"


def plain(name: str, value: object) -> str:
    """``17.5 MB`` of bytes, ``6,123,456`` of large numbers, everything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value / 1e6:.1f} MB" if name == "bytes" else f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
