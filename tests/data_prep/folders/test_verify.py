"""``verify`` finds what can go wrong with shards, and the command says it."""

import argparse
import io
import json
import subprocess
import sys
import tarfile

import fakes
import pytest
from PIL import Image

from data_prep.__main__ import main
from data_prep.commands import verify as verifying
from data_prep.folders.verify import verify
from jdap.shards.reader import read_samples, read_tar
from jdap.shards.schema import SchemaError
from jdap.shards.writer import sidecar_path


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
    sidecar |= {"bytes": shard.stat().st_size, "sha256": fakes.sha256(shard)}
    sidecar_path(shard).write_text(json.dumps(sidecar))


def whats(folder) -> list[str]:
    return [problem.what for problem in verify(folder)]


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
        assert whats(shard.parent) == [f"sidecar {sidecar.name} is not of schema version 1 or 3"]
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
        key = next(read_tar(shard))[0]

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
                    members[name] = json.dumps(json.loads(members[name]) | {"schema_version": 4}).encode()

        rewrite(shard, change)
        assert all("schema version 4 is not 1 or 3" in what for what in whats(shard.parent)[:2])

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

    def test_a_bug_keeps_its_traceback(self, monkeypatch, tmp_path):
        def broken(args: argparse.Namespace) -> int:
            raise RuntimeError("a bug")

        monkeypatch.setattr(verifying, "run", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            main(["verify", str(tmp_path)])

    def test_an_unknown_command_is_refused(self, capsys):
        assert main(["bogus"]) == 2
        assert "unknown command 'bogus'; there are: prepare" in capsys.readouterr().err

    def test_verify_loads_neither_mediapipe_nor_decord_nor_lightning(self):
        code = "import sys, data_prep.__main__ as m\ntry: m.main(['verify', '-h'])\nexcept SystemExit: pass\n"
        code += "print(sorted({'mediapipe', 'decord', 'cv2', 'lightning'} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
