"""Workers that die cost their own video only; what no worker could do ends the run."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from drawn_videos import draw_folder, fork

from data_prep.clips.steps.pipeline import Task
from data_prep.engines import scheduler
from data_prep.engines.hire import Engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.prepare import prepare
from jdap.io.fetch import AssetError


@dataclass(frozen=True)
class Odd:
    """What happens when models are loaded, or to every video."""

    load: str = ""
    video: str = ""
    thresholds: dict[str, tuple[float, float]] = field(default_factory=dict)


def make(settings: Odd) -> Callable[[Task], list[dict]]:
    if settings.load == "asset":
        raise AssetError("the model cannot be had: look for it")
    if settings.load == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)

    def prepare(task: Task) -> list[dict]:
        if task.path.name.startswith("exit"):
            os._exit(3)
        if task.path.name.startswith("wait"):
            task.path.with_suffix(".pid").write_text(str(os.getpid()))
            time.sleep(600)
        if settings.video == "bug":
            raise ZeroDivisionError("one over nothing")
        row = {"source": str(task.path), "clip_id": task.base_id, "frames": 0, "scores": {}, "seconds": {}}
        return [row | {"status": "rejected", "reason": f"process {os.getpid()}"}]

    return prepare


def go(tmp_path: Path, settings: Odd, *names: str, workers: int = 1) -> dict[str, str]:
    told: dict[str, str] = {}
    source = draw_folder(tmp_path / "in", *names)
    prepare(
        [source],
        tmp_path / "out",
        settings,
        Engine(workers=workers),
        make=make,
        tell=lambda row: told.__setitem__(Path(row["source"]).name, row["reason"]),
    )
    return told


@pytest.mark.slow
def test_a_dead_worker_costs_its_video_and_another_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "DEATHS", 1)  # a process takes seconds to start
    told = go(tmp_path, Odd(), "a.mp4", "exit.mp4", "z.mp4")
    assert told.pop("exit.mp4") == "the worker ended with exit status 3, 1 times"
    assert len(set(told.values())) == 2  # before the death and after
    assert f"process {os.getpid()}" not in told.values()
    assert multiprocessing.active_children() == []


def test_without_workers_this_process_works(tmp_path: Path) -> None:
    assert go(tmp_path, Odd(), "a.mp4", workers=0) == {"a.mp4": f"process {os.getpid()}"}


@pytest.mark.slow
def test_a_missing_model_ends_the_run_with_its_message(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"^the model cannot be had: look for it$"):
        go(tmp_path, Odd(load="asset"), "a.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.slow
def test_workers_that_die_while_they_load_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "DEATHS", 0)
    with pytest.raises(PrepareError, match=r"load models .* SIGSEGV"):
        go(tmp_path, Odd(load="crash"), "a.mp4")


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in prepare\n.*one over nothing"):
        go(tmp_path, Odd(video="bug"), "a.mp4")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_workers_do_not_outlive_a_run_that_is_killed(tmp_path: Path) -> None:
    """They would write on beside the run that takes over."""
    source = draw_folder(tmp_path / "in", "wait.mp4")
    run = fork()
    if run == 0:
        try:
            prepare([source], tmp_path / "out", Odd(), Engine(workers=1), make=make)
        finally:
            os._exit(0)
    pids, deadline = tmp_path / "in" / "wait.pid", time.monotonic() + 60
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = int(pids.read_text())
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()
