import dataclasses
import json
import tarfile

import fakes
import numpy as np
import pytest

from data_prep.folders.verify import verify
from jdap.shards.reader import read_samples
from jdap.shards.sample import Sample
from jdap.shards.schema import SchemaError
from jdap.shards.writer import ShardWriter, sidecar_path


@pytest.fixture(scope="module")
def clip() -> Sample:
    return fakes.sample(index=1, frames=3, size_px=32, fps=25.0)


@pytest.fixture(scope="module")
def stills() -> Sample:
    return fakes.sample(index=0, frames=2, size_px=32)


@pytest.mark.parametrize("which", ["clip", "stills"])
def test_a_sample_comes_back(which, request, tmp_path):
    sample = request.getfixturevalue(which)
    with ShardWriter(tmp_path, "x") as writer:
        writer.write(sample)
    (back,) = read_samples(writer.shards[0])
    assert back.record == sample.record
    np.testing.assert_array_equal(back.skin_FHW, sample.skin_FHW)
    np.testing.assert_allclose(back.depth_mm_FHW, sample.depth_mm_FHW, atol=0.0501)
    np.testing.assert_allclose(back.mean_head_mm_FHW, sample.mean_head_mm_FHW, atol=0.0501)
    assert np.abs(back.rgb_FHW3.astype(int) - sample.rgb_FHW3).mean() < 3
    assert set(back.arrays) == set(sample.arrays)
    for name, array in sample.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    if which == "clip":
        np.testing.assert_allclose(back.audio, sample.audio, atol=1 / 32767)
    else:
        assert back.audio is None


def test_the_same_samples_are_the_same_bytes(clip, stills, tmp_path):
    for folder in ("a", "b"):
        with ShardWriter(tmp_path / folder, "x") as writer:
            writer.write(clip)
            writer.write(stills)
    assert (tmp_path / "a/x-000000.tar").read_bytes() == (tmp_path / "b/x-000000.tar").read_bytes()
    with tarfile.open(tmp_path / "a/x-000000.tar") as tar:
        infos = tar.getmembers()
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in infos} == {(0, 0, 0, "", "", 0o644)}
    assert infos[0].name == f"{clip.key}.json"


def test_shards_roll_over_by_samples_and_by_bytes(tmp_path):
    by_samples = fakes.write_fakes(tmp_path / "a", people=5, frames=1, size_px=16, per_shard=2)
    assert [p.name for p in by_samples] == [f"fakes-00000{i}.tar" for i in range(3)]
    samples = [fakes.sample(index=i, frames=1, size_px=16) for i in range(5)]
    largest = max(sum(map(len, s.members().values())) for s in samples)
    with ShardWriter(tmp_path / "b", "x", max_bytes=int(2.5 * largest)) as writer:
        for sample in samples:
            writer.write(sample)
    counts = [json.loads(sidecar_path(p).read_text())["samples"] for p in writer.shards]
    assert sum(counts) == 5
    assert max(counts) < 5
    assert counts[0] >= 2
    assert [s.key for p in writer.shards for s in read_samples(p)] == [s.key for s in samples]
    # One sample over the limit still gets a shard of its own.
    with ShardWriter(tmp_path / "c", "x", max_bytes=1) as writer:
        for sample in samples[:2]:
            writer.write(sample)
    assert len(writer.shards) == 2


def test_the_sidecar_tells_what_is_in_its_shard(clip, stills, tmp_path):
    with ShardWriter(tmp_path, "x", max_samples=1) as writer:
        writer.reject("no face")
        writer.add_seconds("fit", 1.5)
        writer.add_seconds("fit", 0.5)
        writer.write(clip)
        writer.write(stills)
        writer.reject("blurred", 3)
    first, second = (json.loads(sidecar_path(p).read_text()) for p in writer.shards)
    path = writer.shards[0]
    assert first == {
        "schema_version": 1,
        "shard": "x-000000.tar",
        "samples": 1,
        "frames": 3,
        "bytes": path.stat().st_size,
        "sha256": fakes.sha256(path),
        "rejected": {"no face": 1},
        "seconds": {"fit": 2.0},
    }
    assert second["rejected"] == {"blurred": 3}
    assert second["seconds"] == {}


def test_an_exception_leaves_finished_shards_and_nothing_else(clip, stills, tmp_path):
    def fail():
        with ShardWriter(tmp_path, "x", max_samples=1) as writer:
            writer.write(clip)
            writer.write(stills)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x-000000.json", "x-000000.tar"]
    assert verify(tmp_path) == []


def test_a_full_disk_leaves_no_half_sample(clip, stills, tmp_path, monkeypatch):
    writer = ShardWriter(tmp_path, "x")
    writer.write(clip)
    real, calls = tarfile.TarFile.addfile, []

    def addfile(self, info, file):
        calls.append(info.name)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(self, info, file)

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    with pytest.raises(OSError, match="No space left"):
        writer.write(stills)
    monkeypatch.undo()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_no_reader_ever_sees_an_unfinished_shard(clip, stills, tmp_path):
    with ShardWriter(tmp_path, "x", max_samples=1) as writer:
        writer.write(clip)
        assert list(tmp_path.glob("*.tar")) == []
        writer.write(stills)
        assert [p.name for p in tmp_path.glob("*.tar")] == ["x-000000.tar"]
        assert sidecar_path(tmp_path / "x-000000.tar").exists()


def test_an_empty_writer_writes_nothing(tmp_path):
    with ShardWriter(tmp_path / "new", "x") as writer:
        writer.reject("no face")
    assert writer.shards == []
    assert list((tmp_path / "new").iterdir()) == []


def test_a_second_run_is_refused_or_resumes_after_the_last_complete_shard(clip, stills, tmp_path):
    with ShardWriter(tmp_path, "x", max_samples=1) as writer:
        writer.write(clip)
    with pytest.raises(FileExistsError, match="already holds shards x-"):
        ShardWriter(tmp_path, "x")
    ShardWriter(tmp_path, "y").close()  # another prefix may share the folder
    (tmp_path / "x-000001.tar").write_bytes(b"without a sidecar: its run was cut off")
    with ShardWriter(tmp_path, "x", resume=True) as writer:
        writer.write(stills)
    assert [p.name for p in writer.shards] == ["x-000001.tar"]
    assert verify(tmp_path) == []


def test_a_key_cannot_be_written_twice(clip, tmp_path):
    with ShardWriter(tmp_path, "x") as writer:
        writer.write(clip)
        with pytest.raises(SchemaError, match=f"{clip.key}: written twice"):
            writer.write(clip)
    assert verify(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rgb_FHW3": np.zeros((3, 32, 32, 3), np.float32)}, "rgb_FHW3 must be .* uint8, got .* float32"),
        ({"rgb_FHW3": np.zeros((3, 32, 30, 3), np.uint8)}, r"rgb_FHW3 must be \(3, 32, 32, 3\)"),
        ({"depth_mm_FHW": np.zeros((2, 32, 32), np.float32)}, "depth_mm_FHW"),
        ({"skin_FHW": np.zeros((3, 32, 32), np.uint8)}, "skin_FHW must be .* bool"),
        ({"mean_head_mm_FHW": np.zeros((3, 32, 32))}, "mean_head_mm_FHW must be .* float32, got .* float64"),
        ({"audio": np.zeros((10, 2), np.float32)}, "audio"),
        ({"arrays": {}}, "arrays: missing"),
    ],
)
def test_a_sample_that_breaks_the_contract_is_refused(clip, change, says):
    with pytest.raises(SchemaError, match=says):
        dataclasses.replace(clip, **change)
