"""``jdap pack``: a weights folder made ready to be handed on (:mod:`jdap.pipelines.pack`)."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap pack``."""
    parser.description = "A weights folder made ready to be handed on."
    parser.add_argument("weights", type=Path, help="the weights folder of a training run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; an existing one is replaced")
    parser.add_argument("--codec", type=Path, help="take the decoder of this codec; its encoder must be the same")
    parser.add_argument(
        "--image",
        help="of weights that talk: name this image model, not hold a copy",
    )
    parser.add_argument("--half", action="store_true", help="store weights in 16 bits")
    parser.add_argument("--lean", action="store_true", help="zeros for what no answer depends on: they zip to nothing")


def run(args: argparse.Namespace) -> int:
    """Pack, and say how large the folder is."""
    from jdap.io.files import check_folder
    from jdap.pipelines.pack import pack

    check_folder(args.out)
    pack(args.weights, args.out, codec=args.codec, half=args.half, lean=args.lean, image=args.image)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")
    return 0
