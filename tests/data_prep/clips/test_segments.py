"""Where long videos are parted, and how the rows of their parts become one video's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from videos import write

from data_prep.clips.clip import SHORTEST_CLIP
from data_prep.clips.joining import join_segments
from data_prep.clips.segments import SEAM_REACH, Segments, best_seam
from data_prep.video.video import open_video


@pytest.mark.parametrize("frames", [1, 1499, 1500, 1501, 90_000])
def test_segments_cover_a_video_and_are_no_longer_than_asked(tmp_path: Path, frames: int) -> None:
    noise = np.zeros((16, 16, 3), np.uint8)
    video = open_video(write(tmp_path / "a.mp4", [noise] * 3))
    segments = Segments(replace(video, source_K=np.zeros(frames, np.int64)), 1500)
    edges = [segments.evenly(k) for k in range(len(segments))] + [frames]
    assert (len(segments) == 1) == (frames <= 1500)
    if len(segments) > 1:  # a seam may move to either side
        lengths = np.diff(edges)
        assert lengths.max() + 2 * SEAM_REACH <= 1500
        assert lengths.min() > 2 * SEAM_REACH + 2 * SHORTEST_CLIP
    assert len(Segments(video, 0)) == 1


@pytest.mark.parametrize(
    ("spans", "seam"),
    [
        ([], 100),  # nobody: as it comes
        ([(0, 300)], 100),  # somebody all the time
        ([(0, 93), (93, 300)], 93),  # a cut: nobody goes on over it
        ([(0, 300), (0, 110), (110, 300)], 110),  # two people, one of them leaves: she is not parted
        ([(90, 112), (60, 76), (76, 90), (112, 140)], 90),  # whole clips on both sides rather than pieces
        ([(70, 110), (95, 160)], 94),  # 16 frames before the one goes, or 16 after the other came
        ([(0, 300), (60, 140)], 100),
        ([(70, 85), (85, 98)], 100),  # too short to be lost
    ],
)
def test_a_seam_costs_no_clip(spans: list[tuple[int, int]], seam: int) -> None:
    assert best_seam(spans, 75, 125, 100) == seam
    lengths = [(seam - a, b - seam) for a, b in spans if a < seam < b and b - a >= SHORTEST_CLIP]
    assert all(min(both) >= SHORTEST_CLIP for both in lengths)


def row(clip: str, before: tuple | None = None, after: tuple | None = None) -> dict:
    return {"clip_id": clip, "person_id": clip, "status": "rejected", "seams": [before, after]}


def test_a_face_that_goes_on_over_seams_is_one_person() -> None:
    left, right = (100.0, 100.0, 80.0), (300.0, 100.0, 80.0)
    moved = (110.0, 105.0, 82.0)
    parts = [
        [row("a", after=left), row("b", after=right)],
        [row("c", before=right, after=right), row("d", before=moved)],
        [row("e", before=right), row("f", before=left), {"clip_id": "g", "status": "failed"}],
        [],
        [row("h", before=right)],
    ]
    joined = join_segments(parts)
    assert {r["clip_id"]: r.get("person_id") for r in joined} == {
        **{"a": "a", "b": "b", "c": "b", "d": "a", "e": "b"},
        "f": "f",  # d did not last to the end of its segment
        "g": None,
        "h": "h",  # a segment without rows parts them
    }
    assert all("seams" not in r for r in joined)
    assert parts[0][0]["seams"]  # the segments' own stay as they are


def test_two_faces_do_not_become_one() -> None:
    here = (100.0, 100.0, 80.0)
    joined = join_segments([[row("a", after=here)], [row("b", before=here), row("c", before=(105.0, 100.0, 80.0))]])
    assert [r["person_id"] for r in joined] == ["a", "a", "c"]
