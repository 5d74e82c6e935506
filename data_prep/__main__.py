"""``python -m data_prep COMMAND …``.

Each command is a module with ``add_arguments(parser)`` and ``run(args) -> exit status``, imported only when it is asked
for: ``verify`` works where mediapipe is not installed.

Exit status: what ``run`` returns; 2 for a mistake of the user's or bad input, told in one line on stderr; 130 when
interrupted. An exception that is neither is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

OURS = ("data_prep", "jdap")
#: command -> (module, what it does)
COMMANDS = {
    "prepare": ("data_prep.prepare", "videos of people → shards with fitted depth"),
    "select": ("data_prep.select", "judge the clips of prepare by other thresholds, and without duplicates"),
    "hold-out": ("data_prep.hold_out", "shards → train/ and test/: the last share of every clip is kept aside"),
    "studio": ("data_prep.studio", "drawn people → shards with exact depth"),
    "scans": ("data_prep.scans", "textured scans of heads → shards with exact depth"),
    "verify": ("data_prep.verify", "check a folder of shards: checksums, counts, every sample"),
    "report": ("data_prep.report", "numbers, charts and pictures of a folder of shards"),
    "convert-model": ("data_prep.convert_model", "FLAME or a Basel Face Model that you hold → a file for --face-model"),
    "correspond": ("data_prep.correspondence", "mediapipe landmarks ↔ points of the head model"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        return args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_users(error):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Prepare shards for JDAP.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, (path, does) in COMMANDS.items():
        command = commands.add_parser(name, help=does)
        if name == chosen:
            module = importlib.import_module(path)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(argv)


def is_users(error: Exception) -> bool:
    """Whether an exception is a message to the user rather than a bug.

    So are the exception classes that this project defines (SchemaError, AssetError, …), what the operating system says
    of files and disks, and a package of somebody else's that is not installed.
    """
    if isinstance(error, ImportError):
        return (error.name or "").partition(".")[0] not in OURS
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in OURS


if __name__ == "__main__":
    sys.exit(main())
