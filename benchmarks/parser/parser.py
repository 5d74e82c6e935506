"""``python -m benchmarks parser``: trains the parser of heads that ships, and measures it (or another one).

Studio people are photographed and labelled, a small network is trained on them under strong augmentation
(:mod:`benchmarks.parser.augment`), and measured on people that it has not seen: IoU a class, milliseconds a crop, and
what it does to fitted depth. Drawing and training go on where they were interrupted. Writes the parser's folder
``parser/``, ``parser.json``, ``iou.csv`` and ``masked.csv``.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.parser import masked, people
from benchmarks.parser.measure import iou_rows, milliseconds
from benchmarks.parser.training import train
from jdap.faces.parser import load_parser
from jdap.faces.parser_net import SIDE_PX, load_studio_parser, save_parser
from jdap.faces.parsing import Parser, ParserError
from jdap.io.files import make_folder
from jdap.io.progress import Telling
from jdap.io.threads import use_threads


def run(args: argparse.Namespace) -> int:
    """Train unless a parser is given, measure, print the tables, and write the files into ``args.out``."""
    console, began = Console(), time.monotonic()
    use_threads(1)
    make_folder(args.out)
    made: dict[str, Any] = {}
    if args.parser is None:
        trained = _trained(args, console, began)
        if trained is None:
            return 0
        parser, made = trained
    else:
        given = load_parser(args.parser)
        if given is None:
            raise ParserError(f"--parser {args.parser}: there is nothing to measure")
        parser = given
    test = args.out / "drawn" / "test"
    _draw(test, "test", args.test_people, 1, console)
    rows = iou_rows(parser, people.read(test, args.test_people, 1), args.seed)
    with Telling("fitted person", args.masked_people, console=console) as telling:
        each = masked.measure(parser, args.masked_people, telling.advance) if args.masked_people else []
    by_mask, speed = masked.summary(each, args.seed), milliseconds(parser)
    stamp = report.software_stamp() | made | {"parser": args.parser or "trained", "ms_a_crop": speed}
    report.write_json(args.out / "parser.json", {"iou": rows, "masked": by_mask, "people": each, "stamp": stamp})
    report.write_csv(args.out / "iou.csv", rows)
    if by_mask:
        report.write_csv(args.out / "masked.csv", by_mask)
    _print(rows, by_mask, speed, console)
    if args.masked_people and not by_mask:
        console.print(
            f"left out: fitted depth (of {len(each)} faces found none has enough skin under every mask)", style="yellow"
        )
    return 0


def _trained(args: argparse.Namespace, console: Console, began: float) -> tuple[Parser, dict[str, Any]] | None:
    """The parser and what was done; None where the minutes are over before."""
    limit = 60 * args.minutes
    if not _draw(args.out / "drawn" / "train", "train", args.people, args.frames, console, began + limit):
        console.print(f"{args.minutes:g} minutes are over while people are drawn: the same command goes on")
        return None
    drawn = people.read(args.out / "drawn" / "train", args.people, args.frames)
    with Telling("step", args.steps, console=console) as telling:
        left = limit - (time.monotonic() - began)
        checkpoint = args.out / "last.pt"
        net, done, spent = train(
            drawn,
            args.steps,
            checkpoint,
            seconds=left,
            seed=args.seed,
            on_step=lambda step, loss: telling.tell(step, f"loss {loss:.3f}"),
        )
    if done < args.steps:
        console.print(f"{args.minutes:g} minutes are over at step {done} of {args.steps}: the same command goes on")
        return None
    made = {"steps": done, "seed": args.seed, "people": args.people, "pictures": len(drawn)}
    save_parser(net, args.out / "parser", made)
    return load_studio_parser(args.out / "parser"), made | {"training_processor_s": round(spent, 1)}


def _draw(folder: Any, split: str, count: int, frames: int, console: Console, until: float = float("inf")) -> bool:
    """Draw what is missing; whether all is there."""
    there = 0
    with Telling(f"{split} person", count, console=console) as telling:
        for there in people.draw_missing(folder, split, count, frames, SIDE_PX):
            telling.tell(there)
            if time.monotonic() > until:
                break
    return there >= count


def _print(
    rows: list[dict[str, Any]], by_mask: list[dict[str, Any]], speed: dict[str, float], console: Console
) -> None:
    table = report.grid("class", ("pictures", "of pixels", "IoU↑", "95 % interval"))
    for row in rows:
        low, high = row["iou_ci"]
        table.add_row(
            row["class"],
            str(row["pictures"]),
            f"{row['share']:.1%}",
            *(("", "") if math.isnan(row["iou"]) else (f"{row['iou']:.3f}", f"{low:.3f}–{high:.3f}")),
        )
    report.show(table, console)
    console.print(
        f"{speed['median']:.2f} ms a crop ({speed['least']:.2f}–{speed['most']:.2f}), one thread", style="dim"
    )
    if not by_mask:
        return
    ways = (masked.AS_FITTED, masked.BY_PARSER, masked.BY_TRUTH)
    table = report.grid("fitted depth, RMSE in mm", ("people", *ways, "gain", "interval", "covered", "left", "lost"))
    for row in by_mask:
        low, high = row["gain_ci"]
        shares = (f"{row[key]:.1%}" for key in ("covered", "covered_left", "bare_lost"))
        errors = (f"{row[way]:.2f}" for way in ways)
        table.add_row(
            row["who"], str(row["people"]), *errors, f"{row['gain']:+.2f}", f"{low:+.2f} … {high:+.2f}", *shares
        )
    report.show(table, console)
