"""Faults of the machine cost an attempt, never a video: it is tried again, and left open for the next run."""

import json
import os
import signal
import time
from pathlib import Path

import drawn_videos
import pytest
import torch
from drawn_videos import Settings, draw_folder, draw_video, fork
from servers import Server

from data_prep.__main__ import main
from data_prep.engines import scheduler
from data_prep.engines.hire import Engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.prepare import prepare
from data_prep.engines.run import RunOutcome
from data_prep.folders.verify import verify
from data_prep.machine import retry
from data_prep.machine.faults import MachineFault, not_the_videos
from data_prep.machine.watchdog import beat, limit_of_file_s, watched
from data_prep.video.video import UnreadableVideo


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAIT_S", 0.0)


def go(inputs: Path | str | list[str], out: Path, workers: int = 0, **options) -> RunOutcome:
    places = inputs if isinstance(inputs, list) else [inputs]
    return prepare(places, out, Settings(), Engine(workers=workers), make=drawn_videos.make, **options)


def rows(out: Path) -> dict[str, dict]:
    found = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {Path(row["source"]).name: row for row in found}


def test_a_full_gpu_is_tried_again_and_then_left_open(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "in", "a.mp4", "oom-1-b.mp4", "oom-2-c.mp4")
    out = tmp_path / "out"
    assert go(source, out).open == 1
    told = rows(out)
    assert told["a.mp4"]["status"] == told["oom-1-b.mp4"]["status"] == "kept"
    lost = told["oom-2-c.mp4"]
    assert (lost["status"], lost["fault"]) == ("failed", "machine")
    assert lost["reason"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB, 2 times"
    assert go(source, out).made == 0  # not by itself
    before = {p.name: p.stat().st_mtime_ns for p in (out / "units").iterdir()}
    again = go(source, out, retry=True)
    assert (again.made, again.there, again.open) == (1, 2, 0)
    assert rows(out)["oom-2-c.mp4"]["status"] == "kept"
    assert "fault" not in rows(out)["oom-2-c.mp4"]
    assert sum(p.stat().st_mtime_ns != before[p.name] for p in (out / "units").iterdir()) == 1
    assert go(source, out, retry=True).made == 0
    assert verify(out) == []


def test_what_is_the_videos_own_fault_is_not_made_again(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "in", "a.mp4", "reject-b.mp4")
    (source / "text.mp4").write_text("no video")
    go(source, tmp_path / "out")
    assert go(source, tmp_path / "out", retry=True).made == 0


def test_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from data_prep.commands import prepare as command

    monkeypatch.setitem(command.prepare.__kwdefaults__, "make", drawn_videos.make)
    words = ["prepare", str(draw_folder(tmp_path / "in", "oom-2-a.mp4")), "--out", str(tmp_path / "out")]
    words += ["--workers", "0", "--scratch", str(tmp_path / "fast")]
    assert main(words) == 0
    assert "run it again with --retry failed" in capsys.readouterr().out
    assert main([*words, "--retry", "failed"]) == 0
    assert "1 of 1 clips kept" in capsys.readouterr().out


@pytest.mark.slow
def test_a_machine_that_is_not_fit_ends_the_run_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a node with a broken GPU would take all units, and fail them."""
    monkeypatch.setattr(scheduler, "FAULTS", 6)
    source = draw_folder(tmp_path / "in", *(f"oom-1-{k}.mp4" for k in range(8)))
    with pytest.raises(PrepareError, match=r"6 faults .* CUDA out of memory"):
        go(source, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["000000.json"]  # the plan
    assert go(source, tmp_path / "out").kept == 8
    assert verify(tmp_path / "out") == []


@pytest.mark.slow
def test_a_dead_workers_video_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(A process takes seconds to start.)"""
    monkeypatch.setattr(scheduler, "DEATHS", 1)
    source = draw_folder(tmp_path / "in", "crash-a.mp4")
    assert go(source, tmp_path / "out", workers=1).open == 1
    row = rows(tmp_path / "out")["crash-a.mp4"]
    assert (row["reason"], row["fault"]) == ("the worker was killed by SIGSEGV, 1 times", "machine")


@pytest.mark.slow
def test_an_endless_loop_in_native_code_costs_its_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(Two processes start: seconds.)"""
    monkeypatch.setattr(scheduler, "DEATHS", 1)
    source = draw_folder(tmp_path / "in", "hang-a.mp4", "z.mp4")
    go(source, tmp_path / "out", workers=1, limit_s=0.5)
    told = rows(tmp_path / "out")
    assert told["hang-a.mp4"]["reason"] == "the worker made no progress for over 0.5 s, 1 times"
    assert told["z.mp4"]["status"] == "kept"


def test_a_large_file_is_given_the_time_to_look_through_it() -> None:
    assert limit_of_file_s(60, 4 << 30) == pytest.approx(60 + 214.7, abs=0.1)
    assert limit_of_file_s(60, -1) == 60  # a URL that does not tell
    assert limit_of_file_s(0, 4 << 30) == 0


@pytest.mark.slow
def test_the_watchdog_bites_who_makes_no_progress_only() -> None:
    def child(hangs: bool) -> int:
        pid = fork()
        if pid == 0:
            with watched(0.3):
                for _ in range(10):
                    time.sleep(0.06)
                    beat()
                if hangs:
                    sum(iter(int, 1))
            beat()
            time.sleep(0.5)  # nothing is armed any more
            os._exit(7)
        return os.waitpid(pid, 0)[1]

    assert os.WEXITSTATUS(child(hangs=False)) == 7
    assert os.WTERMSIG(child(hangs=True)) == signal.SIGALRM


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("No CUDA GPUs are available"),
    ],
)
def test_faults_of_the_machine_are_known(error: Exception) -> None:
    wrapped = UnreadableVideo("x.mp4: not readable")
    wrapped.__cause__ = error
    assert isinstance(not_the_videos(error), MachineFault)
    assert isinstance(not_the_videos(wrapped), MachineFault)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("The size of tensor a (3) must match"), UnreadableVideo("x: no video track"), ZeroDivisionError()],
)
def test_faults_of_a_video_or_of_ours_are_not(error: Exception) -> None:
    assert not_the_videos(error) is None


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return draw_video(tmp_path / "film" / "a.mp4", 3).read_bytes()


def serve(server: Server, *replies: tuple[int, bytes, int | None]) -> str:
    server.replies = list(replies)
    server.requests.clear()
    return server.url.replace("/file", "/in/a.mp4")


def test_a_url_that_fails_for_a_while_is_tried_again(server: Server, film: bytes, tmp_path: Path) -> None:
    whole, half, busy = (200, film, len(film)), (200, film[: len(film) // 2], len(film)), (503, b"", 0)
    url = serve(server, busy, whole, half, busy, (429, b"", 0), whole)
    assert go(url, tmp_path / "out").kept == 1
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((503, b"", 0), "cannot be read: Input/output error (HTTP 503) after 2 tries, 2 times"),
        ((500, b"", 0), "cannot be read: Input/output error (HTTP 500) after 2 tries, 2 times"),
        ((200, b"x" * 100, 5000), "cannot be read: ClientPayloadError"),
        ((403, b"", 0), "cannot be read: Permission denied (HTTP 403), 2 times"),
    ],
)
def test_a_server_that_fails_leaves_its_video_open(
    server: Server, film: bytes, tmp_path: Path, reply: tuple[int, bytes, int], says: str
) -> None:
    url = serve(server, reply)
    assert go(url, tmp_path / "out", retries=1).open == 1
    row = rows(tmp_path / "out")["a.mp4"]
    assert row["reason"].startswith(says)
    assert (row["fault"], row["source"]) == ("machine", url)
    serve(server, (200, film, len(film)))
    assert go(url, tmp_path / "out", retries=1, retry=True).kept == 1


def test_what_a_server_does_not_have_is_final(server: Server, tmp_path: Path) -> None:
    url = serve(server, (404, b"", 0))
    assert go(url, tmp_path / "out").open == 0
    assert rows(tmp_path / "out")["a.mp4"]["reason"] == "no such file; check the path"


def test_what_a_server_has_no_more_is_left_open(server: Server, film: bytes, tmp_path: Path) -> None:
    url = serve(server, (200, film, len(film)), (404, b"", 0))
    assert go(url, tmp_path / "out").open == 1
    assert "was there when the run was planned" in rows(tmp_path / "out")["a.mp4"]["reason"]
    serve(server, (200, film, len(film)))
    assert go(url, tmp_path / "out", retry=True).kept == 1


def test_a_server_that_tells_no_length_is_read(server: Server, film: bytes, tmp_path: Path) -> None:
    assert go(serve(server, (200, film, None)), tmp_path / "out").kept == 1


def test_less_than_was_planned_is_not_taken_for_the_video(server: Server, film: bytes, tmp_path: Path) -> None:
    """A proxy that breaks off claims no length."""
    whole, half = (200, film, len(film)), (200, film[: len(film) // 2], None)
    assert go(serve(server, whole, half, whole), tmp_path / "out").kept == 1
    assert go(serve(server, whole, half), tmp_path / "other", retries=0).open == 1
    assert "bytes came" in rows(tmp_path / "other")["a.mp4"]["reason"]
