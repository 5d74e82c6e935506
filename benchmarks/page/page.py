"""``python -m benchmarks report FOLDER …``: what benchmarks wrote there, on one page that needs nothing beside it.

Every result that is known by its name (:data:`benchmarks.page.sections.RESULT_KINDS`) at or below the folders becomes a
section: its tables with intervals, plots, its picture, and how it was run. ``--readme FILE`` also puts the table of the
README (:mod:`benchmarks.page.readme`) between its marks in that file; it is made of a ``modes`` and a ``lipsync``.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console

from benchmarks import BenchmarkError, report
from benchmarks.page.parts import Section
from benchmarks.page.readme import BEGIN, END, readme_table
from benchmarks.page.sections import RESULT_KINDS, read_section
from jdap.io.files import write_whole


def find_results(folders: list[Path]) -> list[Path]:
    """The results at or below folders, in the order of the page. Raises :class:`BenchmarkError` without any."""
    found = [path for folder in folders for kind in RESULT_KINDS for path in sorted(folder.rglob(f"{kind}.json"))]
    if not found:
        raise BenchmarkError(
            f"{', '.join(map(str, folders))}: no result of a benchmark ({', '.join(RESULT_KINDS)}); see `make bench`"
        )
    order = list(RESULT_KINDS)
    return sorted(dict.fromkeys(found), key=lambda path: order.index(path.stem))


def render(sections: list[Section], title: str, made: str) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(title=title, made=made, sections=sections)


def run(args: argparse.Namespace) -> int:
    """Write the page, and the table of the README."""
    results = find_results(args.folders)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render([read_section(path) for path in results], "JDAP, measured", made)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, page.encode())
    if args.readme is not None:
        report.put_between(args.readme, BEGIN, END, readme_table(results))
    Console().print(f"{args.out}: {len(results)} results, {len(page) / 1e6:.1f} MB", markup=False, soft_wrap=True)
    return 0
