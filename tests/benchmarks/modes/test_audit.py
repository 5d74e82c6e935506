"""``python -m benchmarks audit``: its measures against closed forms and scikit-image, its table by hand, and a run."""

import csv
import json
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from networks import small_pipeline
from PIL import Image
from skimage.morphology import disk, h_maxima, label

from benchmarks.__main__ import main
from benchmarks.modes.audit import AuditScores, rows, worst
from benchmarks.modes.audit_measures import CHECKS, PROMINENCE, disagreement, fronts, iou
from jdap.metrics.depth import NORMALISED, within


def hills(*places: tuple[float, float, float], size: int = 48) -> np.ndarray:
    """Depth with hills towards the camera: (x, y, height), before a background at +1."""
    v, u = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    head = (u**2 + v**2) < 0.9
    towards = 0.1 + sum(h * np.exp(-20 * ((u - x) ** 2 + (v - y) ** 2)) for x, y, h in places)
    return np.where(head, 0.9 - towards, 1.0)


@pytest.mark.parametrize(
    ("places", "count"),
    [
        ([(0, 0, 1.6)], 1),
        ([(-0.5, 0, 1.6), (0.5, 0, 1.5)], 2),
        ([(-0.5, 0, 1.6), (0.5, 0, 0.4)], 1),  # no nose: it does not rise far enough
        ([(-0.5, 0, 1.2), (0.5, 0, 1.4), (0, -0.6, 1.3)], 3),
        ([], 0),
    ],
)
def test_noses_are_counted(places: list[tuple[float, float, float]], count: int) -> None:
    assert fronts(hills(*places)) == count


def test_noses_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        heights, h = rng.uniform(0, 1, (24, 24)), 0.5  # no two as high: there scikit-image counts both
        expected = label(h_maxima(heights, h, disk(1)), connectivity=1).max()
        # Depth's range is 2, and all of it is in front of the background.
        assert fronts(-heights * 2 + 0.9, h) == expected


def test_silhouettes_by_hand() -> None:
    a, b = (torch.zeros(2, 1, 4, 4, dtype=torch.bool) for _ in "ab")
    a[0, 0, :2], b[0, 0, 1:3] = True, True
    assert iou(a, b)[0].item() == pytest.approx(4 / 12)
    assert iou(a, b)[1].isnan()


def test_disagreement_is_the_rmse_of_the_aligned_map() -> None:
    rng = np.random.default_rng(1)
    depth = torch.from_numpy(rng.uniform(-1, 0.9, (2, 1, 16, 16)))
    other = 3 * depth + 0.3 * torch.from_numpy(rng.normal(size=depth.shape)) - 7
    mask = torch.from_numpy(rng.uniform(size=depth.shape) < 0.7)
    mask[1] = False
    mask[1, 0, 0, :10] = True  # too few pixels
    got = disagreement(depth, other, mask)
    p, d = other[mask][: int(mask[0].sum())].numpy(), within(NORMALISED, depth)[mask][: int(mask[0].sum())].numpy()
    columns = np.stack([p, np.ones_like(p)], 1)
    left = d - columns @ np.linalg.lstsq(columns, d, rcond=None)[0]
    assert got[0].item() == pytest.approx(np.sqrt(np.mean(left**2)), abs=1e-6)
    assert got[1].isnan()


def drawn_scores(count: int = 20) -> AuditScores:
    """True pictures disagree by 0.01 … 0.2; every second drawn one does so by 1, and half have two faces."""
    scores = AuditScores([f"k{i}" for i in range(count)], [f"p{i}" for i in range(count)])
    steps = np.arange(1, count + 1) / 100
    for answer in ("drawn", "true"):
        bad = np.arange(count) % 2 == 0 if answer == "drawn" else np.zeros(count, bool)
        values = {name: torch.full((count,), torch.nan) for name in CHECKS}
        values["estimated again"] = torch.from_numpy(np.where(bad, 1.0, steps))
        values["silhouette IoU"] = torch.from_numpy(np.where(bad, 0.2, 1 - steps))
        values["fronts in RGB"] = torch.from_numpy(np.where(bad, 2.0, 1.0))
        scores.add(answer, values)
    return scores


def test_what_is_worse_than_the_true_pictures_fails() -> None:
    scores = drawn_scores()
    found = {(row["question"], row["answer"], row["measure"]): row for row in rows(scores, 0)}
    line = np.quantile(np.arange(1, 21) / 100, 0.95)
    for check in ("estimated again", "silhouette IoU", "fronts in RGB"):
        failing = found[check, "drawn", "failing"]
        # Every second, and in the first two checks 1 of 20 of the others, as of the true ones.
        assert failing["mean"] == pytest.approx(0.5 if check == "fronts in RGB" else 0.55)
        assert failing["mean_ci"][0] < failing["mean"] < failing["mean_ci"][1]
    assert found["estimated again", "true", "failing"]["mean"] == pytest.approx(1 / 20)
    assert found["fronts in RGB", "true", "failing"]["mean"] == 0
    beyond = (10 * (1 - line) + (0.2 - line)) / 11
    assert found["estimated again", "drawn", "excess"]["mean"] == pytest.approx(beyond)
    assert found["fronts in RGB", "drawn", "excess"]["mean"] == pytest.approx(1)
    # What nothing is known of is no failure, and has no number.
    assert found["fitted again", "drawn", "failing"]["n"] == 0
    assert found["any check", "drawn", "failing"]["mean"] == pytest.approx(0.55)


def test_the_worst_come_first() -> None:
    order = worst(drawn_scores())
    assert sorted(order) == list(range(20))
    assert {i % 2 for i in order[:10]} == {0}
    assert order[10] == 19


@pytest.mark.slow
def test_a_run_writes_its_table_and_the_worst(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards, weights, out = tmp_path / "shards", tmp_path / "weights", tmp_path / "out"
    fakes.write_fakes(shards, people=4, frames=2, size_px=32, seed=9)
    small_pipeline(32, 32).save_pretrained(weights)
    asked = ["--weights", weights, "--shards", shards, "--out", out, "--steps", 2, "--count", 3, "--batch-size", 2]
    assert main(["audit", *map(str, asked), "--device", "cpu"]) == 0
    result = json.loads((out / "audit.json").read_text())
    assert {(row["question"], row["answer"]) for row in result["rows"]} == {
        (check, answer) for check in (*CHECKS, "any check") for answer in ("drawn", "true", "swapped")
    }
    assert (result["stamp"]["samples"], result["stamp"]["people"]) == (3, 3)
    true = {row["question"]: row for row in result["rows"] if (row["answer"], row["measure"]) == ("true", "value")}
    assert true["estimated again"]["n"] == true["silhouette IoU"]["n"] == 3
    with (out / "audit.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"])
    assert np.asarray(Image.open(out / "audit.png").convert("L")).std() > 10
    assert "failing" in capsys.readouterr().out
    assert PROMINENCE < 0.5
