"""``python -m data_prep verify DIR_OR_URL``: whether a folder of shards is whole and right, to the last byte."""

from __future__ import annotations

import argparse

from rich.console import Console

from data_prep.folders.verify import verify
from data_prep.store import Store


def run(args: argparse.Namespace) -> int:
    """Print every problem, one a line; 0 where there is none, else 1."""
    console = Console()
    problems = verify(args.folder, Console(stderr=True))
    for problem in problems:
        console.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
    shards = sum(name.endswith(".tar") for name in Store(args.folder).walk())
    console.print(f"{shards} shards, {len(problems)} problems")
    return 1 if problems else 0
