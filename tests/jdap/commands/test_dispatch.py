"""One way to run a command, and one rule for whose mistake an error is."""

import importlib
import signal
from types import ModuleType

import pytest

import benchmarks.__main__
import data_prep.__main__
import jdap.__main__
from benchmarks import BenchmarkError
from jdap import depth
from jdap.commands.dispatch import Command, ended_by_sigterm, is_users, run_program, signed
from jdap.shards.schema import SchemaError


@pytest.fixture
def program(monkeypatch):
    """A program with one command, which does what it is told."""
    module = ModuleType("told")
    monkeypatch.setattr(importlib, "import_module", lambda name: {"told": module}[name])

    def run(act, *words: str) -> int:
        module.add_arguments = lambda parser: parser.add_argument("--count", type=int, default=3)
        module.run = act
        return run_program("prog", {"tell": Command("told", "what it is told")}, ["tell", *words])

    return run


def failing(error: BaseException):
    def act(args):
        raise error

    return act


def test_a_command_gets_its_arguments_and_gives_the_status(program):
    assert program(lambda args: args.count, "--count", "7") == 7


def test_the_users_mistake_is_one_line(program, capsys):
    assert program(failing(SchemaError("a\nb"))) == 2
    assert capsys.readouterr().err == "error: a b\n"


def test_an_interrupt_is_130(program, capsys):
    assert program(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_bug_keeps_its_traceback(program):
    with pytest.raises(RuntimeError, match="a bug"):
        program(failing(RuntimeError("a bug")))


def test_without_words_the_commands_are_listed(capsys):
    commands = {"tell": Command("told", "what it is told")}
    assert run_program("prog", commands, []) == 2
    assert run_program("prog", commands, ["--help"]) == 0
    assert capsys.readouterr().out.count("  tell           what it is told") == 2
    assert run_program("prog", commands, ["told"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'told'; there are: tell\n"


def test_which_errors_are_the_users():
    for error in (SchemaError("x"), BenchmarkError("x"), FileExistsError("x"), ImportError("no", name="mediapipe")):
        assert is_users(error), error
    for error in (ImportError("no", name="jdap.shards.writer"), ValueError("shapes differ"), RuntimeError("a bug")):
        assert not is_users(error), error


def test_value_errors_are_the_users_where_we_raise_them():
    with pytest.raises(ValueError, match="exactly one") as ours:
        raise_in_jdap()
    assert is_users(ours.value)
    with pytest.raises(ValueError, match="invalid literal") as theirs:
        int("x")
    assert not is_users(theirs.value)


def raise_in_jdap() -> None:
    code = compile("raise ValueError('exactly one')", depth.__file__, "exec")
    exec(code, {"__name__": depth.__name__})


def test_sigterm_ends_the_work_with_143(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert "ended by SIGTERM" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("program", [jdap.__main__, data_prep.__main__, benchmarks.__main__])
def test_every_commands_module_is_there(program):
    for name, command in program.COMMANDS.items():
        module, options = (importlib.import_module(one) for one in (command.module, command.options or command.module))
        assert all(map(callable, [module.main] if command.reads_yaml else [options.add_arguments, module.run])), name


def test_a_list_that_begins_with_a_minus_is_a_value():
    assert signed(["me.jpg", "--light", "-60,15", "--seed", "1"]) == ["me.jpg", "--light=-60,15", "--seed", "1"]
    assert signed(["--box", "-3.5,-.5,1e2"]) == ["--box=-3.5,-.5,1e2"]
    for kept in (["--light=-60,15", "-1,2"], ["a", "-1,2"], ["--x", "-1"], ["--x", "-v"], ["--x", "-o,1"]):
        assert signed(kept) == kept
