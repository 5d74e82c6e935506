"""Whole files in a local folder and on a file system of fsspec's; errors that pass and errors that stay."""

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import drawn_videos
import fsspec
import pytest
from drawn_videos import Settings, draw_folder, fork
from fsspec.implementations.memory import MemoryFileSystem

from data_prep.engines.hire import Engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.prepare import prepare
from data_prep.engines.run import RunOutcome
from data_prep.engines.scratch import scratch, shared
from data_prep.folders.summary import summarise
from data_prep.folders.verify import verify
from data_prep.machine import retry
from data_prep.machine.retry import may_pass, retrying, storage_fault
from data_prep.store import Store


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAIT_S", 0.0)


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> str:
    """A folder of its own on fsspec's file system in memory."""
    url = f"memory://{request.node.name}"
    fs, root = fsspec.core.url_to_fs(url)
    if fs.exists(root):
        fs.rm(root, recursive=True)
    return url


def go(inputs: Path | str, out: Path | str, **options) -> RunOutcome:
    return prepare([inputs], out, Settings(), Engine(workers=0), make=drawn_videos.make, **options)


@pytest.mark.parametrize("kind", ["local", "file", "memory"])
def test_a_store_keeps_whole_files(kind: str, tmp_path: Path, memory: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    store = Store({"local": tmp_path / "out", "file": f"file://{tmp_path}/out", "memory": memory}[kind], "me")
    assert not store.exists()
    assert store.names("deep") == {}
    store.write("a.json", b"one")
    assert store.exists()
    assert store.create("deep/b.json", b"three")
    assert not store.create("deep/b.json", b"other")
    (work / "c").write_bytes(b"fourteen bytes")
    store.publish(work / "c", "deep/c.tar")
    store.write("a.json", b"again")
    assert store.names() == {"a.json": 5}
    assert store.names("deep") == {"deep/b.json": 5, "deep/c.tar": 14}
    assert store.walk() == {"a.json": 5, "deep/b.json": 5, "deep/c.tar": 14}
    assert store.read_all(["deep/b.json", "deep/c.tar"]) == [b"three", b"fourteen bytes"]
    with store.local("deep/c.tar") as path:
        assert path.read_bytes() == b"fourteen bytes"
    with pytest.raises(FileNotFoundError):
        store.read("gone")
    store.remove(["deep/b.json", "gone"])
    assert store.names("deep") == {"deep/c.tar": 14}
    assert store.sizes(["a.json", "gone", "deep/gone"]) == {"a.json": 5}
    assert list(work.iterdir()) == []
    store.remove_parts("me")
    assert store.entries() == ["a.json", "deep"]


def test_only_errors_that_may_pass_are_tried_again() -> None:
    calls: list[int] = []

    def fails(code: int, times: int) -> str:
        calls.append(code)
        if len(calls) <= times:
            raise OSError(code, os.strerror(code))
        return "done"

    assert retrying(lambda: fails(errno.EIO, 3), 3) == "done"
    calls.clear()
    with pytest.raises(OSError, match="Input/output"):
        retrying(lambda: fails(errno.EIO, 9), 3)
    assert len(calls) == 4
    for code in (errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ENOTSUP):
        calls.clear()
        with pytest.raises(OSError, match=os.strerror(code)):
            retrying(lambda code=code: fails(code, 9), 3)
        assert len(calls) == 1


def test_faults_of_the_storage_are_told_from_bad_files() -> None:
    wrapped = ValueError("no video")
    wrapped.__cause__ = OSError(errno.ESTALE, "stale")
    assert storage_fault(wrapped) is wrapped.__cause__
    assert storage_fault(OSError(errno.ENOSPC, "full")) is not None
    for error in (OSError("broken data stream when reading image file"), FileNotFoundError(errno.ENOENT, "x"), None):
        assert storage_fault(error) is None
    assert not may_pass(FileNotFoundError("as fsspec raises it"))


def test_an_input_that_cannot_be_read_at_first_is_tried_again(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "in", "a.mp4", "flaky-2-b.mp4", "flaky-9-c.mp4")
    told: dict[str, str] = {}
    outcome = go(source, tmp_path / "out", tell=lambda r: told.__setitem__(Path(r["source"]).name, r["reason"]))
    assert told == {
        "a.mp4": "",
        "flaky-2-b.mp4": "",
        "flaky-9-c.mp4": "cannot be read: Input/output error after 4 tries, 2 times",
    }
    assert outcome.kept == 2
    assert verify(tmp_path / "out") == []


def test_a_url_holds_what_a_folder_holds(tmp_path: Path, memory: str) -> None:
    source = draw_folder(tmp_path / "in", "a.mp4", "b.mp4", "reject-c.mp4")
    go(source, tmp_path / "out")
    assert go(source, memory).made == 3
    local, remote = Store(tmp_path / "out"), Store(memory)
    assert set(remote.walk()) == set(local.walk())
    for name in local.walk():
        if name.endswith(".tar"):
            assert remote.read(name) == local.read(name)
    assert go(source, memory).made == 0
    assert verify(memory) == []
    assert summarise(memory)["clips"] == {"kept": 2, "rejected": 1}
    remote.remove(["clips-000001.tar"])
    assert {str(p) for p in verify(memory)} == {
        "units/000001.json: its shard clips-000001.tar is missing: prepare again"
    }
    assert go(source, memory).made == 1
    assert verify(memory) == []
    remote.remove(["clips-000001.tar"])
    with pytest.raises(PrepareError, match="--workers 0"):
        prepare([source], memory, Settings(), Engine(workers=1), make=drawn_videos.make)


def test_inputs_may_lie_at_a_url(tmp_path: Path, memory: str) -> None:
    source = draw_folder(tmp_path / "in", "a.mp4", "deep/b.mp4")
    fs, root = fsspec.core.url_to_fs(memory)
    fs.put(str(source), f"{root}/in", recursive=True)
    go(source, tmp_path / "here")
    go(f"{memory}/in", tmp_path / "there")
    for shard in (tmp_path / "here").glob("*.tar"):
        assert (tmp_path / "there" / shard.name).read_bytes() == shard.read_bytes()
    sources = [json.loads(line)["source"] for line in (tmp_path / "there" / "manifest.jsonl").read_text().splitlines()]
    places = [source.partition("://")[2].lstrip("/") for source in sources]
    assert places == [f"{root[1:]}/in/{name}" for name in ("a.mp4", "deep/b.mp4")]


class Flaky(MemoryFileSystem):
    """Every second upload breaks off."""

    protocol = "flaky"
    store: dict = {}  # noqa: RUF012  (as its parent has it)
    pseudo_dirs = [""]  # noqa: RUF012
    uploads = 0

    def put_file(self, lpath, rpath, **options):
        Flaky.uploads += 1
        if Flaky.uploads % 2:
            raise OSError(errno.ECONNRESET, "Connection reset by peer")
        return super().put_file(lpath, rpath, **options)


def test_uploads_that_break_off_are_tried_again(tmp_path: Path) -> None:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    source = draw_folder(tmp_path / "in", "a.mp4")
    go(source, "flaky://out")
    assert Flaky.uploads > 6
    assert verify("flaky://out") == []
    with pytest.raises(ConnectionResetError):
        go(source, "flaky://out2", retries=0)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_one_line_and_leaves_nothing_half(tmp_path: Path) -> None:
    """A real limit of the operating system: files may not grow beyond some bytes, too few for the second shard."""
    source = draw_folder(tmp_path / "in", "a.mp4", "b.mp4")
    out = tmp_path / "out"
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, drawn_videos\n"
        "from data_prep import __main__\n"
        "from data_prep.engines import prepare\n"
        "prepare.prepare.__kwdefaults__['make'] = drawn_videos.make\n"
        f"sys.exit(__main__.main(['prepare', {str(source)!r}, '--out', {str(out)!r}, '--workers', '0']))\n"
    )
    go(source / "a.mp4", tmp_path / "one")
    limit = max(p.stat().st_size for p in (tmp_path / "one").glob("*.tar")) - 100
    tests = Path(drawn_videos.__file__).parent
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large" in line
    assert "run the same command again" in line
    assert "Traceback" not in done.stderr
    assert {p.name for p in out.rglob("*") if p.is_file()} == {"000000.json"}
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["in", "one", "out"]


def test_work_folders_of_dead_runs_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    root = tmp_path / ".out.part"
    child = fork()
    if child == 0:  # a run that dies
        with scratch(root, "dead") as folder:
            (folder / "half").write_bytes(b"x")
            os._exit(1)
    os.waitpid(child, 0)
    (dead,) = (p for p in root.iterdir() if p.is_dir())
    with scratch(root, "one") as first, scratch(root, "two") as second:
        assert first != second
        assert not dead.exists()
        assert first.is_dir()
        assert len(list(root.iterdir())) == 4
    assert not root.exists()


def test_a_work_folder_that_was_just_taken_for_a_dead_runs_is_made_anew(tmp_path: Path) -> None:
    """Another run cleans up in the moment between a folder and its lock."""
    folder, lock = tmp_path / "root" / "me", tmp_path / "root" / "me.lock"
    folder.mkdir(parents=True)
    handle = lock.open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)

    def clean() -> None:
        folder.rmdir()
        lock.unlink()
        handle.close()

    timer = threading.Timer(0.2, clean)
    timer.start()
    with shared(folder):
        assert folder.is_dir()
        assert lock.exists()
    timer.join()


def test_walks_ignore_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a").write_bytes(b"")
    (tmp_path / ".b").write_bytes(b"")
    assert Store(tmp_path).walk() == {}
