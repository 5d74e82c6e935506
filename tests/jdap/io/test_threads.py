"""Threads sleep while they wait where others are at work, in the three programs and in their worker processes, unless
the user set otherwise.
How many compute can be said, and is put back."""

import os
import subprocess
import sys

import psutil
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from jdap.io.threads import SETTINGS, one_blas_thread, threads_kept, use_threads, wait_by_load

#: A command that tells its own setting and that of a worker process, before and after which torch is or is not there.
TOLD = """
import importlib, multiprocessing, os, sys, types
from {program}.__main__ import main
assert "torch" not in sys.modules
def told(args):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(os.environ.get("OMP_WAIT_POLICY"), pool.apply(os.getenv, ("OMP_WAIT_POLICY",)))
    return 0
if __name__ == "__main__":
    import {program}.__main__ as program
    name = "{command}"
    module = types.ModuleType("told")
    module.add_arguments, module.run = lambda parser: None, told
    sys.modules[program.COMMANDS[name].module] = module
    sys.modules[program.COMMANDS[name].options or program.COMMANDS[name].module] = module
    sys.exit(main([name]))
"""
PROGRAMS = [("jdap", "depth"), ("data_prep", "verify"), ("benchmarks", "depth")]


def told(tmp_path, program: str, command: str, **env: str) -> str:
    script = tmp_path / "told.py"
    script.write_text(TOLD.format(program=program, command=command))
    plain = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, str(script)], env=plain | {"PYTHONPATH": os.getcwd()} | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def others():
    """Another program keeps a core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield
    other.kill()
    other.wait()


@pytest.mark.parametrize(("program", "command"), PROGRAMS)
def test_beside_others_threads_sleep_in_every_program_and_its_workers(others, tmp_path, program, command):
    assert told(tmp_path, program, command) == "PASSIVE PASSIVE"


def test_preparation_has_workers_of_its_own(tmp_path):
    assert told(tmp_path, *PROGRAMS[1]) == "PASSIVE PASSIVE"


@pytest.mark.parametrize(("percent", "waits"), [(0.0, None), (100.0, "PASSIVE")])
def test_threads_wait_by_load(monkeypatch, percent, waits):
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what is set meanwhile goes afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: percent)
    wait_by_load()
    assert os.environ.get("OMP_WAIT_POLICY") == waits


def test_the_users_own_setting_wins(tmp_path):
    assert told(tmp_path, *PROGRAMS[0], OMP_WAIT_POLICY="active") == "active active"
    assert told(tmp_path, *PROGRAMS[0], GOMP_SPINCOUNT="1000") == "None None"


def blas() -> list[int]:
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_all_that_computes_has_the_threads_that_are_asked_for_and_gets_its_own_back():
    before = torch.get_num_threads()
    assert len(blas()) >= 1
    with threadpool_limits(2, user_api="blas"):
        with threads_kept():
            use_threads(1)
            assert torch.get_num_threads() == 1
            assert set(blas()) == {1}
        assert torch.get_num_threads() == before
        assert set(blas()) == {2}


def test_blas_alone_has_one_thread():
    with threads_kept(), threadpool_limits(2):
        torch.set_num_threads(2)
        with one_blas_thread():
            assert set(blas()) == {1}
            assert torch.get_num_threads() == 2
        assert set(blas()) == {2}
