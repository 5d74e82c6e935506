"""The steps on videos made of real faces: people side by side, cuts, small and padded faces, held clips."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from videos import frames_of, write

from data_prep.clips import kept
from data_prep.clips.quality import judge, select
from data_prep.clips.steps import PrepareSettings, Tools
from data_prep.clips.steps.people import SHORTEST_CLIP
from data_prep.clips.steps.pipeline import Task, prepare_video
from data_prep.fit.fit import Fit
from data_prep.head.mouth import LIPS_INNER
from data_prep.machine.faults import MachineFault
from jdap.shards.reader import read_samples

SIZE, FRAMES = 64, SHORTEST_CLIP
"""The tests prepare as little as they can: a clip has the fewest frames that it may have."""


@pytest.fixture(scope="module")
def tools(assets: Path) -> Tools:
    return Tools(PrepareSettings(SIZE))


@pytest.fixture(scope="module")
def people(assets: Path) -> list[list[np.ndarray]]:
    """Two people of the GRID corpus, 360 x 288."""
    return [frames_of(assets / "videos" / "grid" / f"{name}.mpg", FRAMES) for name in ("bbaf2n", "lwbsza")]


def run(tools: Tools, folder: Path, frames: list[np.ndarray], **settings: object) -> list[dict]:
    folder.mkdir(exist_ok=True)
    write(folder / "video.mp4", frames)
    tools.settings = dataclasses.replace(PrepareSettings(SIZE), **settings)  # type: ignore[arg-type]
    task = Task(folder / "video.mp4", "set/video.mp4", "video", folder / "samples", folder / "sheets")
    return prepare_video(task, tools)


def small(frame: np.ndarray, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, round(width * 0.8)), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def pair(tools: Tools, people: list[list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory):
    """(folder, rows): the two people side by side, and then, after a cut, in each other's places."""
    folder = tmp_path_factory.mktemp("pair")
    first = [np.concatenate([a, b], 1) for a, b in zip(*people, strict=True)]
    second = [np.concatenate([b, a], 1) for a, b in zip(*people, strict=True)]
    return folder, run(tools, folder, first + second)


def test_people_side_by_side_are_a_clip_each_and_a_cut_ends_them(pair) -> None:
    folder, rows = pair
    assert [(r["clip_id"], r["status"], r["start"], r["frames"]) for r in rows] == [
        ("video_000000", "kept", 0, FRAMES),
        ("video_000000b", "kept", 0, FRAMES),
        ("video_000016", "kept", FRAMES, FRAMES),
        ("video_000016b", "kept", FRAMES, FRAMES),
    ]
    assert len({r["person_id"] for r in rows}) == 4
    assert all(r["scores"]["several"] == 1 for r in rows)
    assert all(r["scores"]["crowded"] < 0.1 for r in rows)
    # Before the cut as after it: each clip shows one of the two, alone, and after the cut the places are exchanged.
    pictures = [next(read_samples(folder / "samples" / r["clip_id"] / "clip-000000.tar")).rgb_FHW3 for r in rows]

    def apart(a: int, b: int) -> float:
        return float(np.abs(pictures[a].astype(float) - pictures[b]).mean())

    for own, other in ((3, 2), (2, 3)):
        mine = 0 if own == 3 else 1
        assert apart(mine, own) < 5 < 15 < apart(mine, other)
    # The second person again in the other place is no other clip: the same moments, so a duplicate.
    assert [r.get("duplicate_of") for r in judge(rows, {})] == [None, None, "video_000000b", "video_000000"]


def test_one_face_a_picture_where_that_is_asked_for(tools: Tools, people, tmp_path: Path) -> None:
    rows = run(tools, tmp_path, [np.concatenate([a, b], 1) for a, b in zip(*people, strict=True)], faces="single")
    assert [r["status"] for r in rows] == ["rejected"] * 2
    assert {r["reason"].split(" (")[0] for r in rows} == {"several faces in 100% of the frames"}


def test_faces_that_hide_one_another_are_rejected(tools: Tools, people, tmp_path: Path) -> None:
    """The second person's face is laid over the first one's cheek: a fifth of their boxes is shared."""
    frames = []
    for a, b in zip(*people, strict=True):
        both = np.concatenate([a, np.full_like(a, 90)], 1)
        both[75:235, 210:325] = b[75:235, 130:245]
        frames.append(both)
    rows = run(tools, tmp_path, frames)
    assert {r["status"] for r in rows} == {"rejected"}
    assert any(r["reason"].startswith("overlapped") for r in rows)


@pytest.mark.slow
def test_scores_of_a_known_clip(tools: Tools, people, tmp_path: Path) -> None:
    """A threshold holds what a drawn fault spoils; its samples are there all the same, and another one admits them."""
    dark = [(frame * 0.05).astype(np.uint8) for frame in people[0]]
    (row,) = run(tools, tmp_path, dark)
    assert row["status"] == "kept"
    held = select(row, tools.settings.thresholds)
    assert (held["status"], held["reason"].split(" ")[0]) == ("held", "brightness")
    (sample,) = read_samples(tmp_path / "samples" / row["clip_id"] / "clip-000000.tar")
    assert sample.record.frames == FRAMES
    assert select(held, {})["status"] == "kept"
    opening = np.array(sample.record.scores["lip_opening_mm"])
    assert row["scores"]["lip_opening_mm"] == pytest.approx(opening.mean(), abs=1e-3)
    # The mesh of the stored coefficients: how far the upper inner lip is above the lower one, where that is widest.
    arrays = {name: torch.from_numpy(sample.arrays[name]) for name in ("identity", "expression")}
    height = tools.model.vertices(arrays["identity"], arrays["expression"])[..., 1]
    gaps = [height[:, LIPS_INNER[up]] - height[:, LIPS_INNER[low]] for up, low in ((1, 7), (2, 6), (3, 5))]
    np.testing.assert_allclose(opening, torch.stack(gaps).amax(0), atol=2e-3)
    assert json.loads(json.dumps(row)) == row

    rows = run(tools, tmp_path / "thrown", dark, hold=False)
    assert [(r["status"], r["reason"].split(" ")[0]) for r in rows] == [("rejected", "brightness")]
    assert not list((tmp_path / "thrown" / "samples").rglob("*.tar"))


@pytest.mark.slow
def test_padding_is_a_policy(tools: Tools, people, tmp_path: Path) -> None:
    """A picture that is too tight for a head."""
    frames = [frame[105:265, 75:235] for frame in people[0]]
    corners = {}
    for policy in ("edge", "black"):
        (row,) = run(tools, tmp_path / policy, frames, padding=policy)
        assert row["scores"]["padded"] > 0.01
        (sample,) = read_samples(tmp_path / policy / "samples" / row["clip_id"] / "clip-000000.tar")
        corners[policy] = float(sample.rgb_FHW3[:, :, 0].mean())
    assert corners["black"] < 3 < 20 < corners["edge"]
    (row,) = run(tools, tmp_path / "reject", frames, padding="reject")
    assert (row["status"], row["reason"].split(":")[0]) == ("rejected", "padded")


def test_a_face_too_small_to_measure_is_rejected(tools: Tools, people, tmp_path: Path) -> None:
    rows = run(tools, tmp_path, [small(frame, 80) for frame in people[0]])
    assert [(r["status"], r["reason"].split(":")[0]) for r in rows] == [("rejected", "face too small to measure")]


def test_a_stage_that_breaks_costs_its_clip_only(tools: Tools, people, tmp_path: Path, monkeypatch) -> None:
    from data_prep.clips.steps import head

    fitted = head.fit_tracks

    def fit_tracks(observed, *args, **named):
        if observed[0].landmarks_px_FN3[:, :, 0].mean() > 360:
            raise RuntimeError("no such head")
        return fitted(observed, *args, **named)

    monkeypatch.setattr(head, "fit_tracks", fit_tracks)
    rows = run(tools, tmp_path, [np.concatenate([a, b], 1) for a, b in zip(*people, strict=True)])
    assert [(r["status"], r["reason"]) for r in rows] == [("kept", ""), ("failed", "RuntimeError: no such head")]
    assert "Traceback" in rows[1]["details"]
    assert rows[0]["seconds"].keys() >= {"decode", "cuts", "landmarks", "fit", "warp", "render", "encode"}


def side_by_side(people: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate([a, b], 1) for a, b in zip(*people, strict=True)]


@pytest.mark.slow
def test_a_clip_that_breaks_while_it_is_drawn_costs_itself(tools: Tools, people, tmp_path: Path, monkeypatch) -> None:
    from data_prep.clips.steps import render

    made = render.make_sample

    def make_sample(clip, *args, **named):
        if clip.nth == 0:
            raise RuntimeError("no such depth")
        return made(clip, *args, **named)

    monkeypatch.setattr(render, "make_sample", make_sample)
    rows = run(tools, tmp_path, side_by_side(people))
    assert [(r["status"], r["reason"]) for r in rows] == [("failed", "RuntimeError: no such depth"), ("kept", "")]
    assert rows[0]["fault"] == "bug"
    assert [p.name for p in (tmp_path / "samples").iterdir()] == [rows[1]["clip_id"]]
    assert [p.stem for p in (tmp_path / "sheets").glob("*.jpg")] == [rows[1]["clip_id"]]


def test_a_track_that_breaks_the_fit_of_all_fails_alone(tools: Tools, people, tmp_path: Path, monkeypatch) -> None:
    """As on a GPU, where the clips of a segment are fitted at once."""
    from data_prep.clips.steps import head

    fitted, counts = head.fit_tracks, []

    def fit_tracks(observed, *args, **named):
        counts.append(len(observed))
        if any(one.landmarks_px_FN3[:, :, 0].mean() > 360 for one in observed):
            raise torch.linalg.LinAlgError("the matrix is not positive definite")
        return fitted(observed, *args, **named)

    monkeypatch.setattr(head, "fit_tracks", fit_tracks)
    monkeypatch.setattr(head, "at_once", lambda job: True)
    rows = run(tools, tmp_path, side_by_side(people))
    assert [r["status"] for r in rows] == ["kept", "failed"]
    assert counts == [2, 1, 1]


@pytest.mark.parametrize("step", ["head", "render"])
def test_a_full_gpu_is_no_clips_fault(tools: Tools, people, tmp_path: Path, monkeypatch, step: str) -> None:
    from data_prep.clips.steps import head, render

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(*((head, "fit_tracks") if step == "head" else (render, "make_sample")), full)
    with pytest.raises(MachineFault, match="CUDA out of memory"):
        run(tools, tmp_path, people[0])


@pytest.mark.slow
def test_where_a_video_breaks_off_finished_clips_stay(tools: Tools, people, tmp_path: Path, monkeypatch) -> None:
    """The second pass cannot read the file to its end."""
    from data_prep.clips.steps import pipeline
    from data_prep.video.video import FrameReader, UnreadableVideo

    readers: list[FrameReader] = []

    class Breaks(FrameReader):
        def __init__(self, video, *where):
            super().__init__(video, *where)
            readers.append(self)

        def read(self, start, stop):
            for k, frame in enumerate(super().read(start, stop), start):
                if k == FRAMES + 3 and self is readers[0]:
                    raise UnreadableVideo(f"{self.video.path}: decoding ends at frame {k}")
                yield frame

    monkeypatch.setattr(kept, "KEPT_BYTES", 0)  # or the file would not be read again
    monkeypatch.setattr(pipeline, "FrameReader", Breaks)
    rows = run(tools, tmp_path, people[0] + people[1])
    assert [(r["status"], r["reason"]) for r in rows] == [("kept", ""), ("failed", "decoding ends at frame 19")]


@pytest.mark.slow
def test_rights_that_lack_may_be_given(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(place: str) -> None:  # root may read everything
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr(os, "listdir", refusing)
    monkeypatch.setattr(os, "scandir", refusing)
    (row,) = prepare_video(Task(tmp_path, "set", "video", tmp_path, tmp_path), tools)
    assert (row["status"], row["fault"]) == ("failed", "machine")
    assert "Permission denied" in row["reason"]


def test_what_was_kept_gives_the_bytes_that_the_file_gives(tools: Tools, people, tmp_path: Path, monkeypatch) -> None:
    """A picture so wide that the surroundings of the face are kept, at its edge and then, after a cut, amid it."""
    from data_prep.clips.steps import pipeline
    from data_prep.video.video import FrameReader

    passes: list[int] = []

    class Counts(FrameReader):
        def read(self, start, stop):
            passes.append(start)
            return super().read(start, stop)

    monkeypatch.setattr(pipeline, "FrameReader", Counts)
    wall = np.full((288, 250, 3), 90, np.uint8)
    frames = [np.concatenate([a, wall, wall], 1) for a in people[0]]
    frames += [np.concatenate([wall, b, wall], 1) for b in people[1]]
    samples = []
    for name, room in (("once", kept.KEPT_BYTES), ("twice", 0)):
        monkeypatch.setattr(kept, "KEPT_BYTES", room)
        rows = run(tools, tmp_path / name, frames)
        assert [row["status"] for row in rows] == ["kept"] * 2
        samples.append([path.read_bytes() for path in sorted((tmp_path / name / "samples").rglob("*.tar"))])
    assert samples[0] == samples[1]
    assert len(passes) == 1


def test_the_lips_of_other_models_are_measured_at_the_landmarks(tools: Tools) -> None:
    """On the model whose own lips are known both measures move together."""
    from data_prep.clips.steps.head import lip_opening_mm

    expression = torch.zeros(6, len(tools.model.expression_names))
    expression[:, tools.model.expression_names.index("jawOpen")] = torch.linspace(0, 0.8, 6)
    still = torch.zeros(6, 3)
    given = (torch.zeros(6, 468, 2), torch.ones(6), torch.eye(80), torch.zeros(6), 500.0)
    fitted = Fit(torch.zeros(80), expression, still, still, *given)
    own = lip_opening_mm(fitted, tools)
    tools.settings = dataclasses.replace(tools.settings, face_model="flame.npz")
    other = lip_opening_mm(fitted, tools)
    assert np.ptp(own) > 10
    assert np.corrcoef(own, other)[0, 1] > 0.99
    np.testing.assert_allclose(other - other[0], own - own[0], atol=0.25 * np.ptp(own))
