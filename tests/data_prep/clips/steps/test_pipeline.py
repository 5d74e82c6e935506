"""``prepare`` end to end, on trimmed real clips and on every kind of bad input."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from videos import frames_of, trim, write

from data_prep.__main__ import main
from data_prep.clips.quality import SCORES
from data_prep.clips.steps import PrepareSettings, pipeline
from data_prep.engines.hire import Engine
from data_prep.engines.plan import video_id
from data_prep.engines.prepare import prepare
from data_prep.folders.verify import verify
from data_prep.head.landmarks import LANDMARK_COUNT, load_correspondence
from data_prep.head.model import head_to_camera, load_ict
from data_prep.video.video import open_video
from jdap.geometry import project
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.schema import FITTED

SIZE = 64


@pytest.fixture(scope="module")
def inputs(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    trim(assets / "videos" / "grid" / "bbaf2n.mpg", folder / "speaks.mkv", 2.3)
    motion = frames_of(assets / "videos" / "motion" / "d0.mp4", 18)
    write(folder / "moves.mp4", motion)
    other = frames_of(assets / "videos" / "grid" / "lwbsza.mpg", 17)
    both = [np.concatenate([a, b], 1) for a, b in zip(frames_of(folder / "speaks.mkv", 17), other, strict=True)]
    write(folder / "two people.mp4", both)
    v, u = np.mgrid[:96, :128]
    write(folder / "no_face.mp4", [np.stack([u, v, u + k], -1).astype(np.uint8) for k in range(20)])
    write(folder / "blink.mp4", motion[:4] + [np.zeros_like(motion[0])] * 10)
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("not a video, not asked for")
    return folder


@pytest.fixture(scope="module")
def prepared(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything in one run through the command, in segments of at most 2 s."""
    out = tmp_path_factory.mktemp("prepared") / "shards"
    words = ["prepare", str(inputs), str(inputs / "gone.mp4"), "--out", str(out), "--size", str(SIZE)]
    assert main([*words, "--workers", "0", "--mean-head", "--segment-s", "2"]) == 0
    return out


@pytest.fixture(scope="module")
def rows(prepared: Path) -> list[dict]:
    return [json.loads(line) for line in (prepared / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def samples(prepared: Path) -> list[Sample]:
    return [sample for shard in sorted(prepared.glob("*.tar")) for sample in read_samples(shard)]


def test_every_input_has_its_row(rows: list[dict], inputs: Path) -> None:
    told = {(Path(row["source"]).name, row["status"], row["reason"].split(" (")[0]) for row in rows}
    assert told == {
        ("blink.mp4", "rejected", "short: 4 frames with a face, least 16"),
        ("empty.mp4", "failed", "the file is empty; copy or download it again"),
        ("gone.mp4", "failed", "no such file; check the path"),
        ("moves.mp4", "kept", "no audio track"),
        ("no_face.mp4", "rejected", "no face"),
        ("speaks.mkv", "kept", ""),
        ("text.mp4", "failed", "not a readable video"),
        ("two people.mp4", "kept", "no audio track"),
    }
    assert {Path(row["source"]).name for row in rows} == {p.name for p in inputs.iterdir()} - {"notes.txt"} | {
        "gone.mp4"
    }
    for row in rows:
        assert set(row) >= {"source", "clip_id", "status", "reason", "frames", "scores"}
        assert set(row["scores"]) <= {score.name for score in SCORES}
        assert "\n" not in row["reason"]


def test_shards_are_whole_and_keep_the_schema(prepared: Path, rows: list[dict], samples: list[Sample]) -> None:
    assert verify(prepared) == []
    kept = {row["clip_id"]: row for row in rows if row["status"] == "kept"}
    assert sum(row["frames"] for row in kept.values()) == sum(s.record.frames for s in samples)
    assert {s.record.clip_id for s in samples} == set(kept)
    assert not list(prepared.parent.glob(".*"))
    assert not (prepared / "scratch").exists()
    for clip_id in kept:
        assert (prepared / "contact" / f"{clip_id}.jpg").stat().st_size > 10_000
    for shard in prepared.glob("*.tar"):
        sidecar = json.loads(shard.with_suffix(".json").read_text())
        assert sidecar["seconds"]["fit"] > 0
    for sample in samples:
        record = sample.record
        assert (record.fps, record.size_px, record.depth_source) == (25.0, SIZE, FITTED)
        assert sample.arrays["landmarks_px"].shape == (record.frames, 478, 2)
        assert sample.arrays["identity"].shape == (record.frames, 100)
        assert all(len(values) == record.frames for values in record.scores.values())
        assert record.scores["fit_error"][0] < 0.01
        assert 0 < record.scores["identity_spread"][0] < 1
        trust = sample.confidence_FHW
        assert trust is not None
        assert trust[~sample.skin_FHW].max() == 0
        assert 0.2 < trust[sample.skin_FHW].mean() < 0.9
        assert sample.mean_head_mm_FHW is not None


def test_stored_arrays_put_the_head_on_the_face(samples: list[Sample]) -> None:
    """Camera, pose, identity and expression of a sample project the model's landmarks onto mediapipe's."""
    model, correspondence = load_ict(), load_correspondence()
    for sample in samples:
        arrays = {name: torch.from_numpy(array) for name, array in sample.arrays.items()}
        vertices = model.vertices(arrays["identity"], arrays["expression"])
        points = correspondence.points(head_to_camera(vertices, arrays["rotation"], arrays["translation_mm"]))
        landmarks = arrays["landmarks_px"][:, :LANDMARK_COUNT]
        error = (project(points, arrays["camera_px"]) - landmarks).norm(dim=-1)
        width = (landmarks[:, 234] - landmarks[:, 454]).norm(dim=-1)
        assert float((error / width[:, None]).median()) < 0.01
        # The map's depth at the nose is that of the model's nose.
        for k in range(sample.record.frames):
            u, v = (int(x) for x in project(points, arrays["camera_px"])[k, 4])
            assert sample.depth_mm_FHW[k, v, u] == pytest.approx(float(points[k, 4, 2]), abs=4)
            assert sample.skin_FHW[k, v, u]
        believed = sample.depth_mm_FHW[sample.skin_FHW]
        assert (believed > 0).all()
        assert 20 < np.ptp(believed) < 250
        assert 0.05 < sample.skin_FHW.mean() < 0.6


def test_segments_of_one_face_are_one_person_and_their_sound_goes_on(samples: list[Sample], inputs: Path) -> None:
    speaks = [s for s in samples if s.record.clip_id.startswith("speaks")]
    starts = sorted({int(s.record.clip_id[-6:]) for s in speaks})
    assert starts[0] == 0
    assert len(starts) == 2
    frames = open_video(inputs / "speaks.mkv").frames
    assert 23 <= starts[1] <= 35  # in the middle, or where somebody's place was better
    assert sum(s.record.frames for s in speaks) == frames  # none is lost, none is there twice
    assert {s.record.person_id for s in speaks} == {speaks[0].record.clip_id}
    for sample in speaks:
        assert sample.audio is not None
        assert len(sample.audio) == sample.record.frames * 640
    together = np.concatenate([s.audio for s in speaks if s.audio is not None])
    assert 0.001 < np.abs(together).max() <= 1
    seam = np.abs(np.diff(together))[len(speaks[0].audio) - 2 : len(speaks[0].audio) + 1]  # type: ignore[arg-type]
    assert seam.max() < 0.2
    assert all(s.audio is None for s in samples if s.record.clip_id.startswith("moves"))


def rows_of(inputs: list[Path], out: Path, workers: int) -> list[dict]:
    prepare(inputs, out, PrepareSettings(SIZE), Engine(workers=workers))
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_shards_do_not_depend_on_the_workers(inputs: Path, tmp_path: Path) -> None:
    chosen = [inputs / "moves.mp4", inputs / "text.mp4"]
    one, two = (rows_of(chosen, tmp_path / str(workers), workers) for workers in (0, 2))
    assert [(r["clip_id"], r["status"], r["scores"]) for r in one] == [
        (r["clip_id"], r["status"], r["scores"]) for r in two
    ]
    a, b = (next((tmp_path / name).glob("*.tar")).read_bytes() for name in ("0", "2"))
    assert a == b


def test_ids_are_safe_and_tell_folders_apart() -> None:
    first, second = video_id("a/My clip (1).mp4"), video_id("b/My clip (1).mp4")
    assert first != second
    assert first.startswith("My-clip-1-")
    assert not set(first) & set("./ ")


@pytest.mark.parametrize("words", [["--size", "100"], ["--workers", "-1"], ["--size", "8"]])
def test_wrong_arguments_are_told_in_one_line(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["prepare", "x.mp4", "--out", str(tmp_path / "out"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "sign"), [("local", "workers.log"), pytest.param("ray", "unit-*/0", marks=pytest.mark.slow)]
)
def test_a_terminated_run_leaves_nothing_half_written(inputs: Path, tmp_path: Path, engine: str, sign: str) -> None:
    """SIGTERM while a worker is busy: the plan alone, no worker left."""
    if engine == "ray":
        pytest.importorskip("ray")
    words = ["-m", "data_prep", "prepare", str(inputs / "moves.mp4"), "--out", str(tmp_path / "out"), "--size", "64"]
    words += ["--engine", engine, "--workers", "1", "--scratch", str(tmp_path / "fast")]
    run = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL, cwd=Path(pipeline.__file__).parents[3])
    deadline = time.monotonic() + 180  # Ray takes its time on a busy machine
    while not list(tmp_path.glob(f"fast/*/{sign}")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob(f"fast/*/{sign}"))
    run.terminate()
    assert run.wait(30) == 143
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["out/plan/000000.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
