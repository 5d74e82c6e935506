"""``python -m benchmarks steadiness``: depth of photos that have no true depth, judged by what must hold anyway.

A photo mirrored must have the mirrored depth; cut a little otherwise, grey or in other colours, the same; and a face's
left is about as deep as its right (:mod:`benchmarks.steadiness.symmetry`). All in the normalised frame, after one scale
and shift, on skin. Whoever always gives one answer passes all of it: beside the checks stands how far a method's
answers about different people are apart. Writes ``steadiness.json`` (with each photo's numbers), ``steadiness.csv`` and
``steadiness.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import BenchmarkError, answers, report
from benchmarks.choices import STEADY_DEFAULT
from benchmarks.depth.depth import build_methods
from benchmarks.depth.method import Method
from benchmarks.steadiness.asking import Asker
from benchmarks.steadiness.measure import BETWEEN_PEOPLE, STEADY_MEASURES, VIEW_CHECKS, Steadiness
from benchmarks.steadiness.sheet import Shown, plot_shown
from data_prep.photos.find import PeopleError, PhotoPerson, find_people
from jdap.faces.landmarker import Landmarker
from jdap.io.progress import track
from jdap.photos.read import PhotoError

#: Side of the views, when no method asks for one.
STEADY_SIZE_PX = 128
#: Rank from the worst → its title in the picture; the median is shown, too.
WORST_RANKS = {-1: "worst", -2: "second worst", -3: "third worst"}


@dataclass
class SteadyScores:
    """``values[method][measure]``, a number a photo of ``people``, and why others were ``left_out``."""

    people: list[PhotoPerson] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def chosen(args: argparse.Namespace) -> list[PhotoPerson]:
    """The people of the folder in the asked splits, by name, the first ``limit`` of them.

    Raises :class:`BenchmarkError` where there is nobody.
    """
    if not args.photos.is_dir():
        raise BenchmarkError(f"{args.photos}: no such folder; name one of people's folders of photos")
    try:
        people = [person for person in find_people([args.photos]) if person.split in args.splits]
    except PeopleError as error:
        raise BenchmarkError(str(error)) from error
    if not people:
        raise BenchmarkError(f"{args.photos}: nobody is in the splits {', '.join(args.splits)}; ask for more --splits")
    return people[: args.limit]


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write it and the picture."""
    console, people = Console(), chosen(args)
    methods, size_px = build_methods(args, STEADY_DEFAULT)
    with Landmarker() as landmarker:
        asker = Asker(methods, size_px or STEADY_SIZE_PX, landmarker, args.seed)
        scores = measure_people(asker, people, console)
        if not scores.people:
            name, reason = next(iter(scores.left_out.items()))
            raise BenchmarkError(f"{args.photos}: nothing to measure in {len(people)} photos ({name}: {reason})")
        shown = worst_shown(asker, scores)
    args.out.mkdir(parents=True, exist_ok=True)
    plot_shown(shown, methods[0].name, args.out / "steadiness.png")
    publish_steadiness(scores, methods, asker.size, args, console)
    return 0


def measure_people(asker: Asker, people: Sequence[PhotoPerson], console: Console) -> SteadyScores:
    """Every method's steadiness about everybody; who comes next is compared with who came before."""
    scores = SteadyScores()
    before: dict[str, Steadiness] = {}
    for person in track(people, "photo", console):
        try:
            found = asker(person)
        except (PhotoError, OSError) as error:
            scores.left_out[person.name] = str(error)
            continue
        scores.people.append(person)
        for method in found.depth_V1SS:
            mine = Steadiness(found, method)
            numbers = mine.scores()
            numbers[BETWEEN_PEOPLE] = mine.from_other(before[method]) if method in before else float("nan")
            for measure, number in numbers.items():
                scores.values.setdefault(method, {}).setdefault(measure, []).append(number)
            before[method] = mine
    return scores


def worst_shown(asker: Asker, scores: SteadyScores) -> list[Shown]:
    """The worst photos and the median by the first method's mean over the checks of views; each is asked again."""
    name = asker.methods[0].name
    means = np.mean([scores.values[name][check] for check in VIEW_CHECKS], axis=0)
    order = [int(i) for i in np.argsort(means, kind="stable") if np.isfinite(means[i])]
    titles = {order[rank]: title for rank, title in WORST_RANKS.items() if -rank <= len(order)}
    if order:
        titles.setdefault(order[(len(order) - 1) // 2], "median")
    shown = []
    for index, title in titles.items():
        found = asker(scores.people[index])
        mine = Steadiness(found, name)
        assert mine.relief is not None
        shown.append(Shown(title, found.name, found.rgb_SS3, mine.relief[0, 0].numpy(), found.skin_SS, mine.off()))
    return shown


def publish_steadiness(
    scores: SteadyScores, methods: Sequence[Method], size: int, args: argparse.Namespace, console: Console
) -> None:
    """Print the table and paired differences, and write them."""
    people = [person.name for person in scores.people]
    table = answers.rows(scores.values, STEADY_MEASURES, people, args.seed)
    pairs = list(combinations([method.name for method in methods], 2))
    differences = answers.compared(scores.values, pairs, STEADY_MEASURES, people, args.seed)
    stamp: dict[str, Any] = report.software_stamp() | {
        "photos": str(args.photos),
        "splits": list(args.splits),
        "weights": args.weights,
        "steps": args.steps,
        "ensemble": args.ensemble,
        "size_px": size,
        "seed": args.seed,
        "people": len(people),
        "interval_over": "people",
        "left_out": scores.left_out,
    }
    pictures = {"people": people, "values": scores.values}
    results = {"rows": table, "differences": differences, "stamp": stamp, "pictures": pictures}
    report.write_json(args.out / "steadiness.json", results)
    report.write_csv(args.out / "steadiness.csv", table)
    report.show(answers.table(table, STEADY_MEASURES), console)
    console.print(f"RMSE of {len(people)} photos, a person each; a face's range of depth is 0.9", style="dim")
    report.print_left_out(stamp, console)
    first = methods[0].name
    answers.print_differences([row for row in differences if row["first"] == first], 4, console)
