"""Options of ``python -m benchmarks footprint``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.choices import PRESETS
from benchmarks.options.arguments import add_device, refuse_idle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    switches = {"on": [True], "off": [False], "both": [True, False]}

    def switch(text: str) -> list[bool]:
        if text not in switches:
            raise argparse.ArgumentTypeError(f"one of {', '.join(switches)}")
        return switches[text]

    parser.add_argument("--stage", choices=("image", "video"), default="image", help="whose training step")
    parser.add_argument("--frames", type=int, default=14, help="drawn of a clip (--stage video)")
    parser.add_argument("--preset", choices=PRESETS, default="sd15")
    parser.add_argument("--size", type=int, help="side of the pictures in pixels (the preset's own)")
    add_device(parser)
    parser.add_argument("--batch", type=int, nargs="+", help="batch sizes (default 1; on a GPU 1 4 8)")
    parser.add_argument("--targets", type=int, nargs="+", default=[1], help="pictures of each reference (default 1)")
    parser.add_argument(
        "--share", action=argparse.BooleanOptionalAction, help="a process for all rows of the same networks (on a GPU)"
    )
    parser.add_argument("--checkpointing", type=switch, metavar="on|off|both", help="default on; on a GPU both")
    parser.add_argument("--compile", type=switch, metavar="on|off|both", help="default off; on a GPU both")
    precisions = ("bf16-mixed", "bf16-true")
    parser.add_argument("--precision", choices=precisions, help="default bf16-true; on a GPU bf16-mixed")
    parser.add_argument("--steps", type=int, help="steps that are timed (default 1; on a GPU 10)")
    parser.add_argument("--warmup", type=int, help="steps before them (default 0; on a GPU 3)")
    parser.add_argument("--sampling-steps", type=int, help="of joint generation; 0: none (default 1; on a GPU 20)")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: as many as torch takes)")
    parser.add_argument("--json", type=Path, help="write rows and what was run here")


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raises CommandError for options that would do nothing."""
    # the temporal stage is not compiled
    refuse_idle(args, parser, ("frames",) if args.stage == "image" else ("compile",), f"with --stage {args.stage}")
