"""The parser's training and its figures, on pictures small enough for a test."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import BenchmarkError
from benchmarks.parser.augment import augmented
from benchmarks.parser.masked import AS_FITTED, BY_PARSER, BY_TRUTH, summary
from benchmarks.parser.measure import iou_rows, milliseconds
from benchmarks.parser.people import Labelled, files
from benchmarks.parser.training import train
from jdap.choices import PARSED

SIDE = 32


@pytest.fixture
def people() -> Labelled:
    """Discs of skin under a cap of hair."""
    rng = np.random.default_rng(0)
    label = np.zeros((12, SIDE, SIDE), np.uint8)
    v, u = np.indices((SIDE, SIDE))
    for one, radius in zip(label, rng.uniform(6, 12, 12), strict=True):
        one[np.hypot(v - 16, u - 16) < radius] = 1
        one[(one == 1) & (v < 12)] = 2
    colours = np.array([[90, 120, 150], [220, 170, 140], [40, 25, 20]])
    rgb = (colours[label] + rng.normal(0, 4, (*label.shape, 3))).clip(0, 255).astype(np.uint8)
    return Labelled(rgb, label)


class Known:
    """Says what it is given as a truth, pixel by pixel, for the pictures in their order."""

    def __init__(self, label: np.ndarray) -> None:
        self.label, self.at = label, 0

    def shares(self, rgb_FSS3: np.ndarray) -> np.ndarray:
        part = self.label[self.at : self.at + len(rgb_FSS3)]
        self.at += len(rgb_FSS3)
        return np.stack([part == i for i in range(len(PARSED))], 1).astype(np.float32)


def test_iou_of_the_truth_and_of_a_shifted_truth(people: Labelled) -> None:
    rows = {row["class"]: row for row in iou_rows(Known(people.label_NSS), people)}
    assert [rows[name]["iou"] for name in ("background", "skin", "hair")] == [1, 1, 1]
    assert rows["hat"]["pictures"] == 0
    assert np.isnan(rows["hat"]["iou"])
    assert rows["mean"]["iou"] == 1
    shifted = np.roll(people.label_NSS, 3, 2)
    skin = next(row for row in iou_rows(Known(shifted), people) if row["class"] == "skin")
    both, either = (op(shifted == 1, people.label_NSS == 1).sum() for op in (np.logical_and, np.logical_or))
    assert skin["iou"] == pytest.approx(both / either)
    assert skin["iou_ci"][0] < skin["iou"] < skin["iou_ci"][1]


def test_augmented_pictures_keep_their_labels_and_follow_from_the_seed(people: Labelled) -> None:
    made = [augmented(people.rgb_NSS3, people.label_NSS, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    rgb, label = made[0]
    assert rgb.shape == (12, 3, SIDE, SIDE)
    assert (float(rgb.min()), float(rgb.max())) >= (-1.0, 0.0)
    assert rgb.abs().max() <= 1
    assert set(label.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(rgb, made[1][0])
    assert not torch.equal(rgb, made[2][0])


@pytest.mark.slow
def test_training_learns_and_goes_on_as_if_nothing_had_happened(people: Labelled, tmp_path: Path) -> None:
    losses: list[float] = []
    whole, done, _ = train(people, 12, tmp_path / "whole.pt", on_step=lambda step, loss: losses.append(loss))
    assert done == 12
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    # Its time is over after the third step at the latest.
    _, done, _ = train(people, 12, tmp_path / "part.pt", seconds=1, on_step=lambda step, loss: time.sleep(step == 3))
    assert 0 < done <= 3
    part, done, _ = train(people, 12, tmp_path / "part.pt")
    assert done == 12
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(part.state_dict()[name], value, msg=name)


def test_another_training_does_not_go_on_from_a_checkpoint(people: Labelled, tmp_path: Path) -> None:
    train(people, 2, tmp_path / "last.pt", seconds=0)
    for steps, seed in ((3, 0), (2, 1)):
        with pytest.raises(BenchmarkError, match=r"last\.pt"):
            train(people, steps, tmp_path / "last.pt", seed=seed)


def test_pictures_of_other_people_or_another_number_are_other_files(tmp_path: Path) -> None:
    names = [[path.name for path, _, _ in files(tmp_path, *how)] for how in ((60, 4), (60, 1), (70, 4))]
    assert len(names[0]) == 2
    assert not set(names[0]) & set(names[1])
    assert len(set(names[0]) & set(names[2])) == 1  # the first fifty


def test_the_summary_parts_the_covered_from_the_bare() -> None:
    rows = [
        {"person": f"p{i}", "covered": c, "covered_left": 0.0, "bare_lost": 0.0, "kept": 1 - c}
        | {AS_FITTED: 3.0 + c, BY_PARSER: 3.0, BY_TRUTH: 2.5}
        for i, c in enumerate([0.0, 0.01, 0.2, 0.4])
    ]
    found = {row["who"]: row for row in summary(rows)}
    assert (found["covered"]["people"], found["bare"]["people"]) == (2, 2)
    assert found["covered"]["gain"] == pytest.approx(-0.3)


def test_milliseconds_are_of_one_thread() -> None:
    spent = milliseconds(Known(np.zeros((1000, 128, 128), np.uint8)))
    assert 0 <= spent["least"] <= spent["median"] <= spent["most"]
