"""``python -m data_prep photos FOLDER_OR_LIST… --out DIR_OR_URL``: photos of people → shards with fitted depth
(:mod:`data_prep.engines.photos`).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial

from data_prep.clips.steps import read_settings
from data_prep.commands.preparing import run_and_tell
from data_prep.engines.photos import prepare_photos
from data_prep.photos.settings import PhotoSettings


def run(args: argparse.Namespace) -> int:
    """Prepare, and print what became of the pictures; 0 when every picture has its row or is part of one."""
    return run_and_tell(
        args,
        PhotoSettings(**asdict(read_settings(args))),
        partial(prepare_photos, by=args.people, split=args.split, within=args.same_person),
        lambda done: f"{done.frames} pictures of {done.kept} people kept, {done.clips} rows",
        "rows",
    )
