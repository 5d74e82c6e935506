"""``python -m data_prep COMMAND …``: shards for JDAP."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jdap.commands.dispatch import Command, run_program

COMMANDS = {
    "prepare": Command("data_prep.commands.prepare", "videos of people → shards with fitted depth"),
    "photos": Command("data_prep.commands.photos", "photos of people → shards with fitted depth"),
    "select": Command(
        "data_prep.commands.select", "judge the clips of prepare by other thresholds, and without duplicates"
    ),
    "hold-out": Command(
        "data_prep.commands.hold_out", "shards → train/ and test/: the last share of every clip is kept aside"
    ),
    "studio": Command("data_prep.commands.studio", "drawn people → shards with exact depth"),
    "scans": Command("data_prep.commands.scans", "textured scans of heads → shards with exact depth"),
    "verify": Command("data_prep.commands.verify", "check a folder of shards: checksums, counts, every sample"),
    "report": Command("data_prep.commands.report", "numbers, charts and pictures of a folder of shards"),
    "convert-model": Command(
        "data_prep.commands.convert_model", "FLAME or a Basel Face Model that you hold → a file for --face-model"
    ),
    "correspond": Command("data_prep.commands.correspond", "mediapipe landmarks ↔ points of the head model"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    return run_program("python -m data_prep", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
