"""Workers that die cost their own task only."""

import os
import signal
import time

import pytest

from data_prep.pool import Died, run_tasks


def work(task: tuple[str, int]) -> tuple[int, int]:
    kind, number = task
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "slow":
        time.sleep(0.5)
    return number * number, os.getpid()


def make():
    return work


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_deaths_are_told(workers: int) -> None:
    tasks = [("slow", 0), ("ok", 1), ("crash", 2), ("ok", 3), ("exit", 4), ("ok", 5)]
    results = dict(run_tasks(tasks, make, workers))
    assert list(results) == list(range(6))
    assert [results[i][0] for i in (0, 1, 3, 5)] == [0, 1, 9, 25]
    assert results[2] == Died("the worker was killed by SIGSEGV")
    assert results[4] == Died("the worker ended with exit status 3")
    assert os.getpid() not in {results[i][1] for i in (0, 1, 3, 5)}


def test_no_worker_means_this_process() -> None:
    assert list(run_tasks([("ok", 3)], make, 0)) == [(0, (9, os.getpid()))]


def test_workers_end_when_the_caller_stops() -> None:
    results = run_tasks([("ok", k) for k in range(20)], make, 1)
    _, (_, pid) = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
