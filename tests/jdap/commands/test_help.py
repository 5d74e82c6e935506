"""Help costs no torch, in all three programs, and settings are printed without work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jdap.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[3]
#: What help may import beside Python's own and ours: what draws tables, for it is light.
LIGHT = {"rich", "attr"}  # releases of rich look whether there is attr
#: Asks a program for its help and that of each of its commands, in one process, and tells what that imported.
HELPS = """
import importlib, sys
from contextlib import suppress

program = importlib.import_module(sys.argv[1] + ".__main__")
before = set(sys.modules)
for words in [[], *([command] for command in program.COMMANDS)]:
    with suppress(SystemExit):
        program.main([*words, "--help"])
    for name in sorted({name.partition(".")[0] for name in set(sys.modules) - before}):
        print(*words, name, file=sys.stderr)
    before = set(sys.modules)
"""


def imported_by_help(program: str, root: Path) -> list[str]:
    """``COMMAND PACKAGE`` of whatever is neither Python's own nor ours; each package is told where it comes first."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HELPS, program]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{program} COMMAND" in done.stdout
    fine = {"jdap", "data_prep", "benchmarks", "_distutils_hack", *sys.stdlib_module_names, *LIGHT}
    return [line for line in done.stderr.splitlines() if line.split()[-1] not in fine]


@pytest.mark.parametrize("program", ["jdap", "data_prep", "benchmarks"])
def test_no_help_imports_a_heavy_package(program):
    assert imported_by_help(program, ROOT) == []


def test_a_heavy_package_that_help_imports_is_found(tmp_path):
    package = tmp_path / "heavy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "options.py").write_text("import numpy\n\n\ndef add_arguments(parser):\n    pass\n")
    (package / "__main__.py").write_text(
        "from jdap.commands.dispatch import Command, run_program\n"
        "COMMANDS = {'one': Command('heavy.gone', 'nothing', options='heavy.options')}\n"
        "def main(argv):\n    return run_program('heavy', COMMANDS, argv)\n"
    )
    assert "one numpy" in imported_by_help("heavy", tmp_path)


def test_the_settings_of_a_command_are_printed_with_what_is_given(capsys, tmp_path):
    out = str(tmp_path / "out")
    words = ["depth", "a.png", "b.png", "--out", out, "--box", "1,2,30", "--print_config"]
    assert main(words) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert (told["photos"], told["out"], told["box"], told["steps"]) == (["a.png", "b.png"], out, [1.0, 2.0, 30.0], 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [name for name, one in COMMANDS.items() if not one.reads_yaml])
def test_settings_are_printed_without_what_must_be_given(command, capsys):
    assert main([command, "--print_config"]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(told, dict)
    assert "print_config" not in told
