"""``jdap cache-latents``: shards of pictures → shards of latents, to train on (:mod:`jdap.data.caching`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from jdap.commands.arguments import CommandError, refuse_idle
from jdap.io.device import AUTO, DEVICE_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``jdap cache-latents``."""
    parser.description = (
        "Shards of pictures to shards of latents, which `jdap train-image --data.train` reads in their place, or with "
        "--clips `jdap train-video --data.train`."
    )
    parser.add_argument("--shards", nargs="+", required=True, help="folders, patterns or URLs of shards of pictures")
    parser.add_argument("--codec", default="shipped:image-tiny/codec", help="folder of the codec that training uses")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one that was begun is gone on with")
    parser.add_argument(
        "--clips", action="store_true", help="for train-video: clips alone, with sound, one depth range a sample"
    )
    parser.add_argument("--size", type=int, help="side of the pictures in pixels; as stored by default")
    parser.add_argument("--flip", action="store_true", help="cache the mirrored pictures, too")
    parser.add_argument("--variants", type=int, default=1, help="versions of colour and crop, the first as it is")
    parser.add_argument("--jitter", type=float, default=0.1, help="strength of the further variants' colour")
    parser.add_argument("--zoom", type=float, default=0.0, help="largest crop of the further variants' targets")
    parser.add_argument("--seed", type=int, default=0, help="of the further variants")
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    parser.add_argument("--batch-size", type=int, default=32, help="pictures that are encoded at a time")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises :class:`CommandError` for what is out of range, and for options that would do nothing."""
    for name in ("variants", "batch_size"):
        if getattr(args, name) < 1:
            raise CommandError(f"--{name.replace('_', '-')} must be at least 1")
    if not (0 <= args.jitter < 1 and 0 <= args.zoom < 1):
        raise CommandError("--jitter and --zoom must lie in [0, 1)")
    if args.variants == 1:
        refuse_idle(args, parser, ("jitter", "zoom", "seed"), "without --variants from 2 on")


def run(args: argparse.Namespace) -> int:
    """Cache, and say what there is; 1 where a shard could not be read, which lacks then."""
    from jdap.data.caching import cache

    options = {"mirrored": args.flip, "jitter": args.jitter, "zoom": args.zoom, "seed": args.seed, "clips": args.clips}
    more = {"device": args.device, "batch_size": args.batch_size, "workers": args.workers, "variants": args.variants}
    done, wrong = cache(args.shards, args.codec, args.out, args.size, **options, **more)
    size = sum(path.stat().st_size for path in done)
    print(f"{args.out}: {len(done)} shards of latents, {size / 1e6:.1f} MB, {len(wrong)} left out")
    return 1 if wrong else 0
