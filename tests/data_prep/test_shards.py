import argparse
import dataclasses
import io
import json
import subprocess
import sys
import tarfile

import fakes
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from data_prep import verify as verifying
from data_prep.__main__ import is_users, main
from data_prep.sample import Sample, read_members, read_samples
from data_prep.shards import ShardWriter, sidecar_path
from data_prep.verify import verify
from jdap.schema import SchemaError


@pytest.fixture(scope="module")
def clip() -> Sample:
    return fakes.sample(index=1, frames=3, size_px=32, fps=25.0)


@pytest.fixture(scope="module")
def stills() -> Sample:
    return fakes.sample(index=0, frames=2, size_px=32)


def rewrite(shard, change) -> None:
    """Write a shard anew with its members changed, and a sidecar that agrees."""
    with tarfile.open(shard) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    change(members)
    with tarfile.open(shard, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    sidecar = json.loads(sidecar_path(shard).read_text())
    sidecar |= {"bytes": shard.stat().st_size, "sha256": _sha256(shard)}
    sidecar_path(shard).write_text(json.dumps(sidecar))


def _sha256(path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, check=True, text=True).stdout.split()[0]


def whats(folder) -> list[str]:
    return [problem.what for problem in verify(folder)]


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
        "sha256": _sha256(path),
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


def test_verify_passes_a_clean_folder_and_its_splits(tmp_path):
    fakes.write_fakes(tmp_path / "train", people=2, frames=2, size_px=16)
    fakes.write_fakes(tmp_path / "val", people=1, frames=2, size_px=16, first_person=2)
    assert verify(tmp_path) == []


def test_verify_finds_a_person_in_two_splits(tmp_path):
    fakes.write_fakes(tmp_path / "train", people=2, frames=1, size_px=16)
    fakes.write_fakes(tmp_path / "test", people=1, frames=2, size_px=16, first_person=1, fps=25.0)
    assert whats(tmp_path) == ["fake-0-1 is in more than one split: test, train"]


class TestDamage:
    @pytest.fixture
    def shard(self, tmp_path):
        return fakes.write_fakes(tmp_path, people=2, frames=2, size_px=16)[0]

    def test_cut_in_half(self, shard):
        data = shard.read_bytes()
        shard.write_bytes(data[: len(data) // 2 // 512 * 512 - 100])
        found = whats(shard.parent)
        assert any("cut short" in what for what in found)
        assert any("not a whole tar" in what for what in found)
        with pytest.raises(SchemaError, match=f"{shard.name}: not a whole tar"):
            list(read_samples(shard))

    def test_cut_between_two_members(self, shard):
        with tarfile.open(shard) as tar:
            third = tar.getmembers()[3].offset
        shard.write_bytes(shard.read_bytes()[:third])
        found = whats(shard.parent)
        assert any("cut short" in what for what in found)
        assert any("not a whole tar (it has no end)" in what for what in found)

    def test_empty_and_not_a_tar(self, shard):
        for data in (b"", b"hello" * 1000):
            shard.write_bytes(data)
            assert any("not a whole tar" in what for what in whats(shard.parent))

    def test_one_byte_changed(self, shard):
        with tarfile.open(shard) as tar:
            first = tar.getmembers()[0]
        data = bytearray(shard.read_bytes())
        data[first.offset_data + first.size] ^= 1  # padding behind the record: every sample still decodes
        shard.write_bytes(data)
        assert whats(shard.parent) == ["SHA-256 differs from the sidecar's: the file was changed"]

    def test_sidecars(self, shard):
        sidecar = sidecar_path(shard)
        whole = sidecar.read_text()
        sidecar.unlink()
        assert whats(shard.parent) == [f"has no sidecar {sidecar.name}: incomplete, prepare it again"]
        sidecar.write_text(whole[:20])
        assert "cannot be read" in whats(shard.parent)[0]
        sidecar.write_text(json.dumps(json.loads(whole) | {"schema_version": 0}))
        assert whats(shard.parent) == [f"sidecar {sidecar.name} is not of schema version 1 or 2"]
        sidecar.write_text('{"schema_version": 1, "samples": 2}')
        assert "lacks ['bytes', 'frames', 'sha256']" in whats(shard.parent)[0]
        sidecar.write_text(json.dumps(json.loads(whole) | {"frames": 7}))
        assert whats(shard.parent) == ["2 samples, 4 frames; sidecar: 2, 7"]

    def test_half_written_leftovers(self, shard):
        (shard.parent / "fakes-000001.tar.part").write_bytes(b"")
        assert whats(shard.parent) == ["half-written, left by an interrupted run: delete it"]

    @pytest.mark.parametrize(
        ("name", "data", "says"),
        [
            ("skin.0001.png", None, r"members missing: \['skin.0001.png'\]"),
            ("json", None, "member json is missing"),
            ("json", b"{", "json: "),
            ("json", b"[1]", "json: "),
            ("meanhead.0001.png", None, "meanhead.0001.png"),
            ("extra.txt", b"", r"unknown: \['extra.txt'\]"),
            ("rgb.0001.jpg", b"no picture", "rgb.0001.jpg: a picture cannot be decoded"),
            ("depth.0000.png", b"", "depth.0000.png: "),
            ("arrays.safetensors", b"abc", "arrays.safetensors cannot be read"),
        ],
    )
    def test_members(self, shard, name, data, says):
        key = next(read_members(shard))[0]

        def change(members):
            members.pop(f"{key}.{name}", None)
            if data is not None:
                # Beside the other members of the same sample, or it would look like a second one.
                rest = {k: members.pop(k) for k in list(members) if not k.startswith(key)}
                members[f"{key}.{name}"] = data
                members |= rest

        rewrite(shard, change)
        with pytest.raises(SchemaError, match=says):
            list(read_samples(shard))
        assert any(key in what for what in whats(shard.parent))

    def test_another_schema_version(self, shard):
        def change(members):
            for name in members:
                if name.endswith(".json"):
                    members[name] = json.dumps(json.loads(members[name]) | {"schema_version": 3}).encode()

        rewrite(shard, change)
        assert all("schema version 3 is not 1 or 2" in what for what in whats(shard.parent)[:2])

    def test_a_picture_of_another_size(self, shard):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 16)).save(buffer, "JPEG")

        def change(members):
            members[next(name for name in members if "rgb.0000" in name)] = buffer.getvalue()

        rewrite(shard, change)
        assert "rgb.0000.jpg: 8x16 pixels, the record says 16" in whats(shard.parent)[0]

    def test_a_key_in_two_shards(self, shard):
        for suffix in (".tar", ".json"):
            shard.with_name(f"other{suffix}").write_bytes(shard.with_suffix(suffix).read_bytes())
        assert len([what for what in whats(shard.parent) if "is in" in what]) == 2


def test_verify_needs_shards(tmp_path):
    with pytest.raises(FileNotFoundError, match="no shard"):
        verify(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        verify(tmp_path / "nowhere")


class TestCommandLine:
    def test_verify(self, tmp_path, capsys):
        fakes.write_fakes(tmp_path, people=1, frames=1, size_px=16)
        assert main(["verify", str(tmp_path)]) == 0
        assert "1 shards, 0 problems" in capsys.readouterr().out
        (tmp_path / "fakes-000000.json").unlink()
        assert main(["verify", str(tmp_path)]) == 1
        assert "fakes-000000.tar: has no sidecar" in capsys.readouterr().out

    def test_the_users_mistakes_are_one_line(self, tmp_path, capsys):
        assert main(["verify", str(tmp_path / "nowhere")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "nowhere" in error
        assert error.count("\n") == 1

    def test_which_errors_are_the_users(self):
        assert is_users(SchemaError("x"))
        assert is_users(FileExistsError("x"))
        assert is_users(ImportError("install it", name="mediapipe"))
        assert not is_users(ImportError("no such name", name="data_prep.shards"))
        assert not is_users(ValueError("shapes differ"))
        assert not is_users(RuntimeError("a bug"))

    def test_a_bug_keeps_its_traceback(self, monkeypatch, tmp_path):
        def broken(args: argparse.Namespace) -> int:
            raise RuntimeError("a bug")

        monkeypatch.setattr(verifying, "run", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            main(["verify", str(tmp_path)])

    def test_an_unknown_command_is_refused(self, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(["bogus"])
        assert "invalid choice: 'bogus'" in capsys.readouterr().err

    def test_verify_loads_neither_mediapipe_nor_decord_nor_lightning(self):
        code = "import sys, data_prep.__main__ as m\ntry: m.main(['verify', '-h'])\nexcept SystemExit: pass\n"
        code += "print(sorted({'mediapipe', 'decord', 'cv2', 'lightning'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


class TestFakes:
    """The drawn people keep the contracts that other tests take from them."""

    def test_depth_is_where_the_geometry_says(self):
        sample = fakes.sample(index=3, frames=2, size_px=64)
        for i in range(2):
            f_px, cx, cy = sample.arrays["camera_px"][i]
            v, u = np.nonzero(sample.skin_FHW[i])
            z = sample.depth_mm_FHW[i][v, u]
            points = np.stack([(u + 0.5 - cx) / f_px * z, (v + 0.5 - cy) / f_px * z, z], -1)
            turn = Rotation.from_rotvec(sample.arrays["rotation"][i]).as_matrix() @ np.diag([1, -1, -1])
            head = (points - sample.arrays["translation_mm"][i]) @ turn
            centres, radii, parts = fakes.person(0, 3).ellipsoids(float(sample.arrays["expression"][i, 0]))
            skin = parts == fakes.SKIN
            on = np.abs((((head[:, None] - centres[skin]) / radii[skin]) ** 2).sum(-1) - 1).min(1)
            assert on.max() < 1e-3

    def test_a_head_is_in_the_picture_and_faces_the_camera(self):
        sample = fakes.sample(frames=4, size_px=64)
        for depth, skin in zip(sample.depth_mm_FHW, sample.skin_FHW, strict=True):
            assert 0.1 < skin.mean() < 0.6
            assert not depth[[0, -1]].any()
            assert depth[skin].min() < depth[depth > 0].max() - 40

    def test_people_differ_and_the_same_is_the_same(self):
        a, again, b = fakes.sample(index=0), fakes.sample(index=0), fakes.sample(index=1)
        np.testing.assert_array_equal(a.rgb_FHW3, again.rgb_FHW3)
        assert np.abs(a.arrays["identity"] - b.arrays["identity"]).max() > 0.5

    def test_chunks_of_a_clip_go_on(self):
        whole = fakes.sample(frames=8, size_px=16, fps=25.0)
        second = fakes.sample(frames=4, size_px=16, fps=25.0, chunk=1)
        np.testing.assert_array_equal(whole.rgb_FHW3[4:], second.rgb_FHW3)
        np.testing.assert_allclose(whole.audio[2560:], second.audio, atol=1e-6)
        assert second.key.endswith("-000004")
