"""``python -m data_prep COMMAND …``: shards for JDAP."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jdap.commands.dispatch import Command, run_program

#: Name, module and, in a few words, what it does.
_WHAT = (
    ("prepare", "prepare", "videos of people → shards with fitted depth"),
    ("photos", "photos", "photos of people → shards with fitted depth"),
    ("select", "select", "judge the clips of prepare by other thresholds, and without duplicates"),
    ("hold-out", "hold_out", "shards → train/ and test/: the last share of every clip is kept aside"),
    ("studio", "studio", "drawn people → shards with exact depth"),
    ("scans", "scans", "textured scans of heads → shards with exact depth"),
    ("verify", "verify", "check a folder of shards: checksums, counts, every sample"),
    ("report", "report", "numbers, charts and pictures of a folder of shards"),
    ("convert-model", "convert_model", "FLAME or a Basel Face Model that you hold → a file for --face-model"),
    ("correspond", "correspond", "mediapipe landmarks ↔ points of the head model"),
)
COMMANDS = {
    name: Command(f"data_prep.commands.{module}", does, options=f"data_prep.options.{module}")
    for name, module, does in _WHAT
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    return run_program("python -m data_prep", COMMANDS, argv, shares_cores=True)


if __name__ == "__main__":
    sys.exit(main())
