"""``python -m data_prep prepare VIDEO_OR_FOLDER… --out DIR_OR_URL``: videos of people → shards with fitted depth
(:mod:`data_prep.engines.prepare`).
"""

from __future__ import annotations

import argparse

from data_prep.clips.steps import read_settings
from data_prep.commands.preparing import run_and_tell
from data_prep.engines.prepare import prepare


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the videos; 0 when every input has its row."""
    return run_and_tell(
        args,
        read_settings(args),
        prepare,
        lambda done: f"{done.kept} of {done.clips} clips kept, {done.frames} frames",
        "clips",
    )
