"""Programs of commands: ``jdap``, ``python -m data_prep`` and ``python -m benchmarks`` run theirs by this.

A command's module is imported only when it is asked for, so that no command needs the packages of another. Exit status:
what the command returns; 2 for a mistake of the user's, told in one line on stderr; 130 when interrupted. Any other
exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from jdap.commands.settings import PRINT_CONFIG, as_yaml
from jdap.io.quiet import hush_libraries
from jdap.io.terminal import print_anything
from jdap.io.threads import wait_asleep, wait_by_load

PACKAGES = ("jdap", "data_prep", "benchmarks")
#: A list of numbers that begins with a negative one.
NEGATIVE_LIST = re.compile(r"-\.?\d[\d.eE+-]*(,-?\.?\d[\d.eE+-]*)+")


class Command(NamedTuple):
    """A command's ``module``, and in a few words what it ``does``.

    The module has ``run(args) -> exit status``, and its ``options`` (empty: the module, too) ``add_arguments(parser)``:
    help imports the options alone, so they are a module of their own where the other needs torch. Where options may
    contradict each other, these have ``check(args, parser)``, which raises. Where a command ``reads_yaml``, which is
    another kind of command line, the module has ``main(command, words) -> exit status``.
    """

    module: str
    does: str
    reads_yaml: bool = False
    options: str = ""


def run_program(
    program: str, commands: Mapping[str, Command], argv: Sequence[str] | None = None, *, shares_cores: bool = False
) -> int:
    """Run the command that the words ``argv`` name (None: those of the command line); returns the exit status.

    A program that ``shares_cores`` has worker processes for them.
    """
    print_anything()
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {program} COMMAND [--help] …\n")
        for name, command in commands.items():
            print(f"  {name:<14} {command.does}")
        return 0 if argv else 2
    name, *words = argv
    if name not in commands:
        return _fail(f"unknown command {name!r}; there are: {', '.join(commands)}")
    (wait_asleep if shares_cores else wait_by_load)()
    hush_libraries()
    try:
        return _run(program, name, commands[name], words)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if not is_users(error):
            raise
        return _fail(str(error))


def _run(program: str, name: str, command: Command, words: list[str]) -> int:
    if command.reads_yaml:
        return importlib.import_module(command.module).main(name, words)
    parser = argparse.ArgumentParser(prog=f"{program} {name}", description=command.does)
    options = importlib.import_module(command.options or command.module)
    options.add_arguments(parser)
    parser.add_argument(PRINT_CONFIG, action="store_true", help="print the settings as YAML, and do nothing")
    words = signed(words)
    if PRINT_CONFIG in words:
        print(as_yaml(parser, words), end="")
        return 0
    args = parser.parse_args(words)
    if hasattr(options, "check"):
        options.check(args, parser)
    return importlib.import_module(command.module).run(args)


def signed(words: Sequence[str]) -> list[str]:
    """Words with ``--light -60,15`` as ``--light=-60,15``: argparse takes what begins with a minus for an option.

    Single negative numbers it knows, so only lists of numbers are joined; none of our options begins with a digit.
    """
    found: list[str] = []
    for word in words:
        if found and NEGATIVE_LIST.fullmatch(word) and found[-1].startswith("--") and "=" not in found[-1]:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def is_users(error: Exception) -> bool:
    """Whether an exception is a message to the user rather than a bug.

    So are the parser's, what the operating system says of files and disks, a package of somebody else's that is not
    installed, the exceptions that this project defines (SchemaError, WeightsError, …), and ValueErrors that it raises.
    """
    if isinstance(error, ImportError):
        return not _ours(error.name or "")
    if isinstance(error, argparse.ArgumentError | OSError) or _ours(type(error).__module__):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and bool(frames) and _ours(frames[-1].f_globals["__name__"])


def _ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _fail(message: str, status: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, which schedulers send, ends the work as Ctrl-C does: nothing half written stays; exit status 143."""

    def end(number: int, frame: object) -> NoReturn:
        print("error: ended by SIGTERM; nothing half written is left", file=sys.stderr)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
