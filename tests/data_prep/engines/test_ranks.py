"""Several runs over one folder: they share the units, whatever the file system lacks, and outlive one another's deaths.

Ranks are forks of this process that work in themselves: they start at once.
"""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import drawn_videos
import gpus
import pytest
import torch
from drawn_videos import Settings, draw_folder, fork

from data_prep.engines import claims, owner, run, scheduler
from data_prep.engines.gpus import least_used, local_rank, my_gpus
from data_prep.engines.hire import Engine
from data_prep.engines.prepare import prepare
from data_prep.folders.verify import verify

NAMES = tuple(f"slow-{letter}.mp4" for letter in "abcdef")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos that take half a second each: a unit each."""
    return draw_folder(tmp_path_factory.mktemp("source") / "videos", *NAMES)


@pytest.fixture(scope="module")
def expected(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("one") / "out"
    prepare([videos], out, Settings(), Engine(workers=0), make=drawn_videos.make)
    return shards(out)


def shards(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.tar"))}


def recorded(out: Path) -> set[str]:
    return {p.stem for p in (out / "units").glob("*.json")}


def claimed(out: Path) -> set[str]:
    return {p.name for p in (out / "claims").glob("*") if p.name.isdecimal()}


def start(number: int, world: int, videos: Path, out: Path, log: Path, before: Callable[[], object] = int) -> int:
    """A rank; what it made and left stands in ``log`` at its end."""
    child = fork()
    if child == 0:
        try:
            before()
            engine = Engine(workers=0, rank=number, world=world)
            done = prepare([videos], out, Settings(), engine, make=drawn_videos.make)
            log.write_text(json.dumps([done.made, done.others]))
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return child


def count_manifests(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run.sum_up

    def counted(*args: object) -> None:
        with log.open("a") as file:
            file.write("x")
        whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "sum_up", counted)


def both(videos: Path, out: Path, folder: Path) -> list[list[int]]:
    """What two ranks at once made and left."""
    logs = [folder / "0.json", folder / "1.json"]
    together = multiprocessing.get_context("fork").Barrier(2).wait  # on a busy machine one would begin much later
    for child in [start(k, 2, videos, out, log, together) for k, log in enumerate(logs)]:
        os.waitpid(child, 0)
    return [json.loads(log.read_text()) for log in logs]


@pytest.mark.slow
def test_ranks_share_the_units_and_one_writes_the_manifest(
    videos: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_manifests(tmp_path / "manifests", monkeypatch)
    told = both(videos, tmp_path / "out", tmp_path)
    assert sum(made for made, _ in told) == 6
    assert min(made for made, _ in told) >= 1  # neither is left behind
    assert shards(tmp_path / "out") == expected
    assert verify(tmp_path / "out") == []
    assert (tmp_path / "manifests").read_text() == "x"
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == {"claims", "contact", "plan", "units"}
    assert list((tmp_path / "out" / "claims").iterdir()) == []


def test_who_comes_second_does_not_write_the_manifest_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found the plan complete, and the first one has written it by now."""
    out, win = tmp_path / "out", claims.Claims.win_from_dead

    def late(self: claims.Claims, name: str) -> bool:
        (out / "manifest.jsonl").write_text("the first one's")
        return win(self, name)

    monkeypatch.setattr(claims.Claims, "win_from_dead", late)
    prepare([videos / NAMES[0]], out, Settings(), Engine(workers=0), make=drawn_videos.make)
    assert (out / "manifest.jsonl").read_text() == "the first one's"
    monkeypatch.undo()
    prepare([videos / NAMES[0]], out, Settings(), Engine(workers=0), make=drawn_videos.make)
    assert verify(out) == []


def test_a_manifest_that_a_dead_run_elsewhere_began_is_written(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it summed up, on a machine that cannot be asked."""
    out, settings = tmp_path / "out", Settings()
    prepare([videos / NAMES[0]], out, settings, Engine(workers=0), make=drawn_videos.make)
    written = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").unlink()
    (out / "claims" / "manifest").write_text("elsewhere_1_2_3")
    monkeypatch.setattr(claims, "LEASE_S", 0.2)
    monkeypatch.setattr(claims, "ASK_S", 0.05)
    prepare([videos / NAMES[0]], out, settings, Engine(workers=0), make=drawn_videos.make)
    assert (out / "manifest.jsonl").read_bytes() == written
    assert list((out / "claims").iterdir()) == []


@pytest.mark.slow
def test_ranks_need_no_hard_links_and_no_locks(
    videos: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on gcsfuse, SMB or mountpoint-s3."""

    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "link", none)
    monkeypatch.setattr(fcntl, "flock", none)
    told = both(videos, tmp_path / "out", tmp_path)
    assert sum(made for made, _ in told) == 6
    assert shards(tmp_path / "out") == expected
    assert verify(tmp_path / "out") == []
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".")]


@pytest.mark.parametrize("place", ["here", "elsewhere"])
@pytest.mark.slow
def test_a_rank_that_is_killed_costs_its_unit(
    videos: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """On this machine its death is seen at once; of another one it is known by its silence."""
    monkeypatch.setattr(claims, "BEAT_S", 0.1)
    monkeypatch.setattr(claims, "LEASE_S", 1.0)
    monkeypatch.setattr(scheduler, "POLL_S", 0.1)
    out = tmp_path / "out"
    before = (lambda: setattr(owner, "machine", lambda: "another")) if place == "elsewhere" else int
    first = start(0, 2, videos, out, tmp_path / "0.json", before)
    while not (recorded(out) and claimed(out) - recorded(out)):
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert len(claimed(out) - recorded(out)) == 1
    done = {p.stem: p.stat().st_mtime_ns for p in (out / "units").glob("*.json")}
    second = start(1, 2, videos, out, tmp_path / "1.json")
    os.waitpid(second, 0)
    made, others = json.loads((tmp_path / "1.json").read_text())
    assert (made, others) == (6 - len(done), 0)
    assert {p.stem: p.stat().st_mtime_ns for p in (out / "units").glob("*.json")}.items() >= done.items()
    assert shards(out) == expected
    assert verify(out) == []
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]
    assert list((out / "claims").iterdir()) == []


def test_units_of_a_rank_that_lives_are_left_to_it(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes too late does not wait for the other's last unit, and does not make it twice."""
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    out = tmp_path / "out"
    one = draw_folder(tmp_path / "in", "slow-a.mp4")
    first = start(0, 2, one, out, tmp_path / "0.json")
    while not claimed(out):
        time.sleep(0.005)
    late = prepare([one], out, Settings(), Engine(workers=0, rank=1, world=2), make=drawn_videos.make)
    assert (late.made, late.others) == (0, 1)
    os.waitpid(first, 0)
    assert json.loads((tmp_path / "0.json").read_text()) == [1, 0]
    assert verify(out) == []


def test_creating_a_file_without_links_is_exclusive_and_a_dead_ones_lock_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_prep.store import Store
    from jdap.io import files

    def none(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", none)
    monkeypatch.setattr(files, "LOCKED_S", 0.1)
    stores = [Store(tmp_path, f"rank{k}") for k in range(2)]
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / ".000000.json.lock").touch()  # of a run that was killed
    assert [store.create("plan/000000.json", str(k).encode()) for k, store in enumerate(stores)] == [True, False]
    assert stores[0].read("plan/000000.json") == b"0"
    assert [p.name for p in (tmp_path / "plan").iterdir()] == ["000000.json"]


def test_scratch_on_another_disk_is_copied_into_place(
    videos: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def across(source: str | Path, target: str | Path) -> None:
        if str(tmp_path / "fast") in str(source) and str(tmp_path / "out") in str(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    one = videos / "slow-a.mp4"
    options = {"make": drawn_videos.make, "scratch_root": tmp_path / "fast"}
    prepare([one], tmp_path / "out", Settings(), Engine(workers=0), **options)  # type: ignore[arg-type]
    assert shards(tmp_path / "out")["clips-000000.tar"] == expected["clips-000000.tar"]
    assert verify(tmp_path / "out") == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name.startswith(".")]


@pytest.mark.slow
def test_publishing_a_unit_lists_no_store(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred thousand shards a listing takes hundreds of requests; a unit asks for its own files."""
    from data_prep.store import Store

    asked: list[str] = []
    names = Store.names
    monkeypatch.setattr(Store, "names", lambda self, folder="": asked.append(folder) or names(self, folder))
    counts = []
    for number in (2, 6):
        asked.clear()
        chosen = [videos / name for name in NAMES[:number]]
        prepare(chosen, tmp_path / str(number), Settings(), Engine(workers=0), make=drawn_videos.make)
        counts.append(len(asked))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "SLURM_LOCALID"])
@pytest.mark.slow
def test_eight_ranks_of_a_node_use_its_eight_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "in").mkdir()
    for k in range(16):
        (tmp_path / "in" / f"{k:02d}.mp4").write_bytes(bytes(k + 1))
    children = []
    for k in range(8):
        child = fork()
        if child == 0:
            try:
                os.environ[variable] = str(k)
                rank = Engine(workers=0, rank=k, world=8)
                prepare([tmp_path / "in"], tmp_path / "out", gpus.OnGpu(8), rank, make=gpus.make)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert {row["reason"].split(" sees ")[1] for row in rows} == {f"GPU {k}" for k in range(8)}


def test_the_gpus_of_a_node_are_shared_out() -> None:
    gpus = [str(k) for k in range(8)]
    for world in (1, 2, 3, 8, 12):
        shares = [my_gpus(gpus, rank, world) for rank in range(world)]
        assert {gpu for share in shares for gpu in share} == set(gpus)
        assert all(shares)
        assert len({share[0] for share in shares}) == min(world, 8)
    assert my_gpus(gpus, 3, 0)[0] == "3"
    assert [least_used("ab", used) for used in ((), ("a",), ("a", "b"), ("b", "b", "a"))] == ["a", "b", "a", "a"]
    assert least_used((), ()) is None
    assert local_rank({"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "SLURM_LOCALID": "0"}) == (2, 4)
    assert local_rank({"SLURM_LOCALID": "5", "SLURM_TASKS_PER_NODE": "8(x2),3"}) == (5, 8)
    assert local_rank({"SLURM_LOCALID": "5", "SLURM_TASKS_PER_NODE": "2"}) == (5, 0)
    assert local_rank({}) == (0, 0)
