"""``python -m benchmarks likeness``: trains the network by which weights draw portraits of a moved reference.

Sittings of the studio are made into pairs (:mod:`benchmarks.likeness.pairs`), and of these a small network learns to
better what the weights' own UNet says; one that they have is trained on. Both go on where they were interrupted. Writes
the folder ``likeness_net/``, and ``weights/``, those that were given with it. ``python -m benchmarks modes`` measures
what it is worth.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from benchmarks import BenchmarkError
from benchmarks.likeness.pairs import read_tried, try_missing
from benchmarks.likeness.training import train
from jdap.faces.landmarker import Landmarker
from jdap.io.assets import resolve
from jdap.io.files import make_folder
from jdap.io.progress import Telling
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.loading import load_strict
from jdap.pipelines.pack import beside
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pose.heads import Heads


def run(args: argparse.Namespace) -> int:
    """Make the pairs, train, and write the weights; the exit status is 0."""
    console, began, limit = Console(), time.monotonic(), 60 * args.minutes
    folder = Path(resolve(args.weights))
    pipeline = PortraitPipeline.from_pretrained(folder).quiet()
    if not pipeline.joint or pipeline.shared_timestep or pipeline.reference is None or pipeline.one_step_start:
        raise BenchmarkError(f"--weights {args.weights}: they draw no picture of a reference on depth that is given")
    make_folder(args.out)
    done = 0
    with Landmarker() as landmarker, Telling("person", args.people, console=console) as telling:
        for done in try_missing(args.out / "pairs", args.shards, pipeline, Heads(landmarker), args.people, args.seed):
            telling.tell(done)
            if time.monotonic() - began > limit:
                break
    if not done:
        raise BenchmarkError(f"{args.shards}: holds no sittings; `data_prep studio --sittings` draws some")
    left = limit - (time.monotonic() - began)
    if left <= 0:
        console.print(f"{args.minutes:g} minutes are over at {done} people: the same command goes on")
        return 0
    with Telling("step", args.steps, console=console) as telling:
        net, steps, _ = train(
            read_tried(args.out / "pairs"),
            args.steps,
            args.out / "last.pt",
            start=pipeline.likeness_net,
            seconds=left,
            seed=args.seed,
            on_step=lambda step, loss: telling.tell(step, f"error {loss:.3f} of the UNet's"),
        )
    if steps < args.steps:
        console.print(f"{args.minutes:g} minutes are over at step {steps} of {args.steps}: the same command goes on")
        return 0
    net.half().save_pretrained(args.out / "likeness_net")
    pipeline.register_modules(likeness_net=load_strict(LikenessNet, args.out / "likeness_net"))
    pipeline.save_pretrained(args.out / "weights", beside(folder))
    console.print(f"{args.out / 'weights'}: {args.weights} with the network")
    return 0
