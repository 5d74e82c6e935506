"""Help costs no torch, and settings are printed without work."""

import os
import resource
import subprocess
import sys

import pytest
import yaml

from jdap.__main__ import COMMANDS, main

#: Processor seconds, which a busy machine does not change much.
OF_PROGRAM_S, OF_COMMAND_S = 0.5, 1.5


def cpu_s(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-m", "jdap", *words], env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "usage: jdap" in done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_of_the_program_is_quick():
    assert cpu_s("--help") < OF_PROGRAM_S


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_quick(command):
    assert cpu_s(command, "--help") < OF_COMMAND_S


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
