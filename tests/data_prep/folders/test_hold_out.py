"""Shards are parted by time: what is kept aside was never trained on, and not a byte of a picture changes."""

import hashlib
from dataclasses import replace

import fakes
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.folders import hold_out as parting
from data_prep.folders.hold_out import HoldOutError, hold_out
from data_prep.folders.verify import verify
from jdap.shards.reader import read_samples, read_tar
from jdap.shards.sample import Sample
from jdap.shards.schema import SchemaError
from jdap.shards.writer import ShardWriter


def samples(folder) -> list[Sample]:
    return [sample for shard in sorted(folder.glob("*.tar")) for sample in read_samples(shard)]


def pictures(folder) -> list[bytes]:
    """JPEGs in the order of frames."""
    stored = [members for shard in sorted(folder.glob("*.tar")) for _, members in read_tar(shard)]
    return [members[name] for members in stored for name in sorted(members) if name.startswith("rgb.")]


def digests(folder) -> dict[str, str]:
    return {p.name + p.parent.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_the_end_of_a_clip_is_kept_aside(tmp_path):
    fakes.write_fakes(
        tmp_path / "clips", people=2, frames=8, size_px=32, fps=25, chunks=5, per_shard=3, confidence=True
    )
    done = hold_out(tmp_path / "clips", tmp_path / "out", share=0.25, gap_s=0.16)
    assert (done.train, done.test, done.between, len(done.people)) == (52, 20, 8, 2)
    assert verify(tmp_path / "out" / "train") == []
    assert verify(tmp_path / "out" / "test") == []
    whole, kept = {s.key: s for s in samples(tmp_path / "clips")}, samples(tmp_path / "out" / "test")
    # a clip's chunks are one sample now
    assert [(s.record.first_frame, s.record.frames) for s in samples(tmp_path / "out" / "train")] == [(0, 26), (0, 26)]
    assert [(s.record.first_frame, s.record.frames) for s in kept] == [(30, 10), (30, 10)]
    for sample in kept:
        clip = sample.record.clip_id
        parts = [whole[f"{clip}-{k:06d}"] for k in (24, 32)]
        assert np.array_equal(sample.depth_mm_FHW, np.concatenate([parts[0].depth_mm_FHW[6:], parts[1].depth_mm_FHW]))
        assert np.array_equal(sample.confidence_FHW[3], parts[1].confidence_FHW[1])
        assert np.array_equal(sample.arrays["rotation"][2:], parts[1].arrays["rotation"])
        assert sample.record.scores["lip_opening_mm"][2:] == parts[1].record.scores["lip_opening_mm"]
        heard = np.concatenate([parts[0].audio[6 * 640 :], parts[1].audio])
        assert np.array_equal(sample.audio, heard)
    before = set(pictures(tmp_path / "clips"))
    assert set(pictures(tmp_path / "out" / "train")) | set(pictures(tmp_path / "out" / "test")) < before
    assert not set(pictures(tmp_path / "out" / "train")) & set(pictures(tmp_path / "out" / "test"))


def test_a_face_that_goes_on_in_the_next_clip_leaves_a_gap_before_it_too(tmp_path):
    with ShardWriter(tmp_path / "clips", "clips") as writer:
        for clip, person in (("me_000000", "me"), ("me_000020", "me"), ("me_000040b", "other"), ("me_000070", "me")):
            drawn = fakes.sample(frames=20, size_px=32, fps=25)
            writer.write(replace(drawn, record=replace(drawn.record, clip_id=clip, person_id=person)))
    done = hold_out(tmp_path / "clips", tmp_path / "out", share=0.25, gap_s=0.12)
    trained = {s.record.clip_id: (s.record.first_frame, s.record.frames) for s in samples(tmp_path / "out" / "train")}
    # Frames 15 to 19 of each are kept aside, 12 to 14 are its gap; the second clip follows on the first.
    assert trained == {"me_000000": (0, 12), "me_000020": (3, 9), "me_000040b": (0, 12), "me_000070": (0, 12)}
    assert (done.train, done.test, done.between) == (45, 20, 15)


def test_of_stills_the_last_ones_of_every_person(tmp_path):
    fakes.write_fakes(tmp_path / "stills", people=3, frames=5, size_px=32)
    assert main(["hold-out", str(tmp_path / "stills"), "--out", str(tmp_path / "out"), "--share", "0.4"]) == 0
    whole = {s.record.person_id: s for s in samples(tmp_path / "stills")}
    kept = samples(tmp_path / "out" / "test")
    assert {s.record.person_id for s in kept} == set(whole)
    for sample in kept:
        assert np.array_equal(sample.rgb_FHW3, whole[sample.record.person_id].rgb_FHW3[3:])
    assert [s.record.frames for s in samples(tmp_path / "out" / "train")] == [3, 3, 3]


def test_long_clips_are_cut_and_holes_in_them_stay_holes(tmp_path, monkeypatch):
    monkeypatch.setattr(parting, "LONGEST_SAMPLE", 10)
    with ShardWriter(tmp_path / "clips", "x") as writer:
        for chunk in (3, 0, 1):  # not in order, and one is missing
            writer.write(fakes.sample(frames=8, size_px=16, fps=25, chunk=chunk))
    hold_out(tmp_path / "clips", tmp_path / "out", share=0.1, gap_s=0)
    found = [(s.record.first_frame, s.record.frames) for s in samples(tmp_path / "out" / "train")]
    assert found == [(0, 8), (8, 8), (24, 6)]
    assert [s.record.first_frame for s in samples(tmp_path / "out" / "test")] == [30]


def test_made_again_it_is_the_same_and_nothing_else_is_overwritten(tmp_path, capsys):
    fakes.write_fakes(tmp_path / "clips", people=1, frames=8, size_px=16, fps=25, chunks=2)
    asked = ["hold-out", str(tmp_path / "clips"), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    first = digests(tmp_path / "out")
    assert main(asked) == 0
    assert digests(tmp_path / "out") == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "out"]
    capsys.readouterr()
    assert main(["hold-out", str(tmp_path / "clips"), "--out", str(tmp_path / "clips")]) == 2
    assert "was not made by hold-out" in capsys.readouterr().err
    assert main([*asked, "--share", "1"]) == 2
    assert "--share must lie between 0 and 1" in capsys.readouterr().err


def test_what_cannot_be_parted_is_told(tmp_path):
    with pytest.raises(HoldOutError, match=r"no shards"):
        hold_out(tmp_path / "nothing", tmp_path / "out")
    fakes.write_fakes(tmp_path / "single", people=2, frames=1, size_px=16)
    with pytest.raises(HoldOutError, match="none can be kept aside"):
        hold_out(tmp_path / "single", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (shard,) = fakes.write_fakes(tmp_path / "cut", people=1, frames=4, size_px=16)
    shard.write_bytes(shard.read_bytes()[:4096])
    with pytest.raises(SchemaError):
        hold_out(tmp_path / "cut", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
