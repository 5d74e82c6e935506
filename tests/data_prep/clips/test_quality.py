"""Scores and thresholds."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.clips import measures
from data_prep.clips.measures import BARE_POINTS, SKIN_POINTS, appearance, picture_hash
from data_prep.clips.quality import (
    FAILED,
    HELD,
    KEPT,
    MOTION_NOISE,
    REJECTED,
    THRESHOLDS,
    ThresholdError,
    clip_scores,
    fingerprint,
    judge,
    parse_thresholds,
    select,
    why_not,
)
from jdap.geometry import axis_angle_to_matrix, head_angles_deg, matrix_to_axis_angle

GOOD = {"found": 1.0, "face_px": 200.0, "brightness": 0.5, "sharpness": 100.0, "fit_error": 0.005, "audio": 1.0}


def row(**changes: object) -> dict:
    return {"clip_id": "a", "status": KEPT, "reason": "", "scores": GOOD} | changes


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("face_px", 40, "face_px 40 is under 64"),
        ("brightness", 0.99, "brightness 0.99 is over 0.95"),
        ("fit_error", 0.05, "fit_error 0.05 is over 0.02"),
        ("occluded", 0.75, "occluded 0.75 is over 0.35"),
        ("roll_deg", 87, "roll_deg 87 is over 50"),
        ("outside", 0.5, "outside 0.5 is over 0.1"),
        ("source_fps", 8, "source_fps 8 is under 18"),
        ("repeated", 0.4, "repeated 0.4 is over 0.25"),
        ("audio_lost", 0.2, "audio_lost 0.2 is over 0.05"),
        ("audio_cancelled", 1, "audio_cancelled 1 is over 0.5"),
    ],
)
def test_reasons_name_score_and_value(name: str, value: float, reason: str) -> None:
    assert why_not(GOOD, THRESHOLDS) == ""
    assert why_not({}, THRESHOLDS) == ""
    held = select(row(scores=GOOD | {name: value}), THRESHOLDS)
    assert (held["status"], held["reason"]) == (HELD, reason)
    # With another threshold the same row is kept, and nothing else of it changes.
    again = select(held, THRESHOLDS | {name: (-np.inf, np.inf)})
    assert again == row(scores=GOOD | {name: value})


def test_rejected_and_failed_rows_stay_as_they_are() -> None:
    for status in (REJECTED, FAILED):
        told = row(status=status, reason="no face", scores={})
        assert select(told, THRESHOLDS) == told
    assert select(row(scores=GOOD | {"audio": 0.0}), THRESHOLDS)["reason"] == "no audio track"


def test_every_score_has_its_statistic() -> None:
    frames = {"yaw_deg": np.array([-30.0, 0, 0, 0, 10]), "face_px": np.array([10.0, np.nan, 30]), "new": np.ones(3)}
    found = clip_scores(frames)
    assert found["yaw_deg"] == pytest.approx(26)
    assert found["yaw_range_deg"] == pytest.approx(8 + 24)
    assert found["face_px"] == 20
    assert found["new"] == 1
    assert set(found) == {"yaw_deg", "yaw_range_deg", "face_px", "new"}
    assert clip_scores({"sharpness": np.array([np.nan])}) == {}


def test_thresholds_are_read_from_the_command_line() -> None:
    asked = parse_thresholds("face_px=96, sharpness=none", "yaw_deg=30,brightness=0.5")
    assert asked["face_px"] == (96, np.inf)
    assert asked["sharpness"] == (-np.inf, np.inf)
    assert asked["yaw_deg"] == (-np.inf, 30)
    assert asked["brightness"] == (0.08, 0.5)
    assert asked["fit_error"] == THRESHOLDS["fit_error"]
    for wrong in ("face=3", "face_px", "face_px=big"):
        with pytest.raises(ThresholdError, match=wrong.partition("=")[0]):
            parse_thresholds(wrong)


def test_duplicates_are_those_of_an_earlier_clip() -> None:
    rng = np.random.default_rng(0)
    hashes = [[rng.bytes(8) for _ in range(3)] for _ in range(2)]
    near = [bytes([h[0] ^ 0b101, *h[1:]]) for h in hashes[0]]
    moves, elsewise = ({name: rng.normal(0, 5, 40) for name in MOTION_NOISE} for _ in range(2))
    again = {name: values + rng.normal(0, MOTION_NOISE[name], 40) for name, values in moves.items()}
    still = {name: values * 0.01 for name, values in moves.items()}
    clips = {
        "first": (hashes[0], moves),
        "other": (hashes[1], moves),
        "coded anew": (near, again),
        "another moment": (hashes[0], elsewise),
        "still": (hashes[0], still),
        "still too": (hashes[0], still),
        "other again": (hashes[1], again),
    }
    rows = [row(clip_id=name, frames=40, fingerprint=fingerprint(*clip)) for name, clip in clips.items()]
    rows.append(row(clip_id="rejected", frames=40, status=REJECTED, fingerprint=fingerprint(*clips["first"])))
    rows.append(row(clip_id="shorter", frames=38, fingerprint=fingerprint(*clips["first"])))
    judged = judge(rows, {})
    told = {r["clip_id"]: r["duplicate_of"] for r in judged if "duplicate_of" in r}
    assert told == {"coded anew": "first", "other again": "other"}
    assert (judged[2]["status"], judged[2]["reason"]) == (HELD, "duplicate of first")
    assert judge(judged, {}) == judged


def test_a_clip_that_is_held_costs_no_copy_of_it() -> None:
    rng = np.random.default_rng(0)
    known = fingerprint([rng.bytes(8) for _ in range(3)], {name: rng.normal(0, 5, 40) for name in MOTION_NOISE})
    widths = {"small": 20.0, "large": 200.0, "large too": 200.0}
    rows = [
        row(clip_id=name, frames=40, fingerprint=known, scores=GOOD | {"face_px": px}) for name, px in widths.items()
    ]
    reasons = [r["reason"] for r in judge(rows, THRESHOLDS)]
    assert reasons == ["face_px 20 is under 64", "", "duplicate of large"]


def test_a_picture_hash_outlives_coding_and_size() -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
    big = np.asarray(Image.fromarray(tiles).resize((256, 256), Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    Image.fromarray(big).resize((100, 100)).save(buffer, "JPEG", quality=60)
    small = np.asarray(Image.open(buffer))

    def bits(picture: np.ndarray) -> np.ndarray:
        return np.unpackbits(np.frombuffer(picture_hash(picture), np.uint8))

    assert (bits(big) != bits(small)).sum() <= 3
    assert (bits(big) != bits(big[:, ::-1])).sum() > 20


def test_appearance_sees_blur_and_light() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    flat = np.full((200, 200, 3), 128, np.uint8)
    face = np.array([[20.0, 20.0], [180.0, 180.0]])
    sharp, light = appearance(noise, face)
    smooth, grey = appearance(flat, face)
    assert sharp > 100 * (smooth + 1)
    assert grey == pytest.approx(128 / 255, abs=0.01)
    assert light == pytest.approx(0.5, abs=0.05)
    assert np.isnan(appearance(flat, face + 500)).all()
    assert np.isfinite(appearance(flat, face + 150)).all()  # half outside


def test_angles_are_those_of_the_rotation() -> None:
    yaw, pitch, roll = 0.5, -0.2, 0.3
    turns = [[0, 0, roll], [0, yaw, 0], [pitch, 0, 0]]
    rotation = torch.eye(3)
    for turn in turns:
        rotation = rotation @ axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float32))
    angles = head_angles_deg(matrix_to_axis_angle(rotation)[None])[0]
    np.testing.assert_allclose(angles, np.rad2deg([yaw, pitch, roll]), atol=5e-3)
    # The nose of a head with positive yaw points to the picture's left, with positive pitch down.
    nose = axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0])) @ torch.tensor([0.0, 0.0, -1.0])
    assert nose[1] > 0
    nose = axis_angle_to_matrix(torch.tensor([0.0, 0.3, 0.0])) @ torch.tensor([0.0, 0.0, -1.0])
    assert nose[0] < 0


def test_what_covers_the_skin_is_seen() -> None:
    rng = np.random.default_rng(0)
    colours = np.full((10, 478, 3), (200, 150, 120)) + rng.integers(-10, 10, (10, 478, 3))
    assert measures.occluded(colours.astype(np.uint8)).max() == 0
    assert measures.occluded((colours * 0.5).astype(np.uint8)).max() == 0  # in the shade, all of it
    covered = [i for i in SKIN_POINTS if i not in BARE_POINTS][:30]
    for colour in ((40, 90, 200), (8, 6, 5)):
        masked = colours.copy()
        masked[4:, covered] = colour
        share = measures.occluded(masked.astype(np.uint8))
        assert share[:4].max() == 0
        assert share[4:] == pytest.approx(30 / len(SKIN_POINTS), abs=1e-6)
    frame = np.zeros((50, 60, 3), np.uint8)
    frame[20:30, 30:40] = (10, 20, 30)
    taken = measures.colours_at(frame, np.array([[35.5, 25.5], [-4.0, 3.0], [90.0, 90.0]]))
    assert taken.tolist() == [[10, 20, 30], [0, 0, 0], [0, 0, 0]]


def test_motion_and_eyes() -> None:
    points = np.zeros((4, 468, 3))
    points[:, 0], points[:, 1] = [-50, -50, 0], [50, 50, 0]
    points[:, :, 0] += np.array([0, 10, 20, 20])[:, None]
    assert measures.motion(points) == pytest.approx([2.5, 2.5, 2.5, 0])
    assert measures.motion(points[:1]).tolist() == [0]
    blinks = np.array([[0.1, 0.0, 0.3], [0.9, 0.0, 0.7]], np.float32)
    assert measures.eyes_open(blinks, ("eyeBlinkLeft", "jawOpen", "eyeBlinkRight")) == pytest.approx([0.8, 0.2])


def test_crowding_is_the_share_of_the_crop_that_others_cover() -> None:
    windows = np.array([[0.0, 0.0, 100.0]] * 3)
    beside = [np.zeros((0, 4)), np.array([[50.0, 0, 150, 50]]), np.array([[0.0, 0, 100, 100]] * 2)]
    assert measures.crowded(windows, beside).tolist() == [0, 0.25, 1]
