from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import BenchmarkError
from benchmarks.depth.depth import cases, pictures
from benchmarks.depth.method import FlatPlane, PosedMeanHead
from benchmarks.depth.scores import measure, rows
from jdap.batch import ImageBatch

FakeBatch = Callable[..., ImageBatch]


class Guess:
    """Ground truth with an error that grows with the person's number, in an affine frame of its own."""

    name = "guess"

    def __init__(self, name: str = "guess", slope: float = 0.01, error_mm: float = 2.0) -> None:
        self.name, self.slope, self.error_mm = name, slope, error_mm

    def predict(self, batch: ImageBatch) -> Tensor:
        number = torch.tensor([int(p.rsplit("-", 1)[1]) for p in batch.person_id]).reshape(-1, 1, 1, 1)
        stripes = torch.arange(batch.depth_mm.shape[-1]) % 2 * 2 - 1.0
        return self.slope * (batch.depth_mm + self.error_mm * (1 + number) * stripes) + 5


class Broken(Guess):
    """Returns what a test tells it to."""

    def __init__(self, spoil: Callable[[Tensor], Tensor]) -> None:
        super().__init__("broken")
        self.spoil = spoil

    def predict(self, batch: ImageBatch) -> Tensor:
        return self.spoil(super().predict(batch))


def without_skin(batch: ImageBatch, index: int) -> ImageBatch:
    skin, range_mm = batch.skin.clone(), batch.range_mm.clone()
    skin[index], range_mm[index] = False, torch.tensor([0.0, 1.0])
    return replace(batch, skin=skin, range_mm=range_mm)


def by_name(table: list[dict[str, Any]], method: str, frame: str) -> dict[str, Any]:
    (row,) = [row for row in table if (row["method"], row["frame"]) == (method, frame)]
    return row


def rounded(value: Any) -> Any:
    """A row that compares equal when only the order of summation differs."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.9e}") if isinstance(value, float) else value


def test_rows_are_means_over_pictures_by_definition(fake_batch: FakeBatch) -> None:
    batches = [fake_batch(people=3), fake_batch(people=2, first=3)]
    table = rows(measure([Guess(), FlatPlane()], batches), seed=0)
    assert [(row["method"], row["frame"]) for row in table] == [
        (m, f) for f in ("normalised", "metric") for m in ("guess", "flat")
    ]
    for method, frame in (("guess", "metric"), ("flat", "metric"), ("guess", "normalised"), ("flat", "normalised")):
        errors, relative, shares = [], [], []
        for batch in batches:
            prediction = Guess().predict(batch) if method == "guess" else torch.zeros_like(batch.depth_mm)
            for p, z, m in zip(prediction, batch.depth_mm, batch.skin, strict=True):
                p, z = p[m].double().numpy(), z[m].double().numpy()
                near, far = np.quantile(z, [0.02, 0.98])
                d = z if frame == "metric" else np.clip(0.1 + 0.9 * (z - near) / (far - near), 0.1, 1)
                solution, *_ = np.linalg.lstsq(np.stack([p, np.ones_like(p)], 1), d, rcond=None)
                aligned = np.stack([p, np.ones_like(p)], 1) @ solution
                errors.append(np.sqrt(np.mean((aligned - d) ** 2)))
                relative.append(np.mean(np.abs(aligned - d) / d))
                shares.append(errors[-1] / ((far - near) if frame == "metric" else 0.9))
        row = by_name(table, method, frame)
        assert row["n"] == 5
        assert row["alignment"] == "scale_shift"
        assert row["rmse"] == pytest.approx(np.mean(errors), rel=1e-4)
        assert row["absrel"] == pytest.approx(np.mean(relative), rel=1e-4)
        assert row["rmse_share"] == pytest.approx(np.mean(shares), rel=1e-4)
        assert row["rmse_ci"][0] < row["rmse"] < row["rmse_ci"][1]


def test_batches_do_not_matter(fake_batch: FakeBatch) -> None:
    methods = [Guess(), FlatPlane(), PosedMeanHead()]
    one = rows(measure(methods, [fake_batch(people=4)]), seed=0)
    many = rows(measure(methods, [fake_batch(people=1, first=i) for i in range(4)]), seed=0)
    for a, b in zip(one, many, strict=True):
        assert rounded(a) == rounded(b)


def test_a_metric_frame_saturates_delta1_and_the_normalised_one_does_not(fake_batch: FakeBatch) -> None:
    table = rows(measure([FlatPlane()], [fake_batch(people=4)]), seed=0)
    assert by_name(table, "flat", "metric")["delta1"] == 1
    assert by_name(table, "flat", "normalised")["delta1"] < 0.7


def test_pictures_without_skin_depth_are_left_out_and_counted(fake_batch: FakeBatch) -> None:
    methods = [Guess(), FlatPlane()]
    scores = measure(methods, [without_skin(fake_batch(people=3), 1)])
    assert (scores.empty, len(scores.key), len(scores.person_id)) == (1, 2, 2)
    expected = measure(methods, [fake_batch(people=1), fake_batch(people=1, first=2)])
    assert scores.key == expected.key
    for a, b in zip(rows(scores, 0), rows(expected, 0), strict=True):
        assert rounded(a) == rounded(b)
    nothing = measure(methods, [without_skin(fake_batch(people=1), 0)])
    assert (nothing.empty, nothing.key) == (1, [])


def test_one_person_has_no_interval(fake_batch: FakeBatch) -> None:
    row = rows(measure([FlatPlane()], [fake_batch(people=1)]), seed=0)[0]
    assert np.isnan(row["rmse_ci"]).all()


def test_inside_out_relief_is_counted(fake_batch: FakeBatch) -> None:
    table = rows(measure([Guess("good"), Guess("inverse", slope=-1)], [fake_batch()]), seed=0)
    assert by_name(table, "good", "metric")["negative_scale"] == 0
    assert by_name(table, "inverse", "metric")["negative_scale"] == 1


def test_gain_over_the_mean_is_paired(fake_batch: FakeBatch) -> None:
    # Half of the error in every picture: the gain is one half whoever is drawn, and its interval has (almost) no width.
    batches = [fake_batch(people=5)]
    table = rows(measure([Guess(error_mm=0.1), Guess("mean", error_mm=0.2)], batches), seed=0)
    row = by_name(table, "guess", "metric")
    assert row["rmse_below_mean"] == pytest.approx(0.5, abs=1e-3)
    assert row["rmse_below_mean_ci"] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert row["rmse_ci"][1] > 1.5 * row["rmse_ci"][0]
    assert by_name(table, "mean", "metric")["rmse_below_mean"] is None


def test_a_method_without_its_data_is_left_out_or_an_error(fake_batch: FakeBatch) -> None:
    # The second batch lacks the mean head: what was measured on the first must not become a row of fewer pictures.
    batches = [fake_batch(people=2), fake_batch(people=2, first=2, mean_head=False)]
    scores = measure([FlatPlane(), PosedMeanHead()], batches)
    assert list(scores.values) == ["flat"]
    assert "no depth of the posed mean head" in scores.left_out["posed_mean_head"]
    assert {row["n"] for row in rows(scores, 0)} == {4}
    with pytest.raises(BenchmarkError, match=r"posed_mean_head: .*no depth"):
        measure([FlatPlane(), PosedMeanHead()], batches, required=frozenset({"posed_mean_head"}))


def test_a_broken_prediction_names_the_method_and_the_picture(fake_batch: FakeBatch) -> None:
    batch = fake_batch()

    def spoil(prediction: Tensor) -> Tensor:
        prediction[2][batch.skin[2]] = float("nan")
        return prediction

    with pytest.raises(BenchmarkError, match=rf"method broken: .*{batch.key[2]} is not finite"):
        measure([Broken(spoil)], [batch])
    with pytest.raises(BenchmarkError, match="method broken returned depth"):
        measure([Broken(lambda p: p[:, 0])], [batch])
    # Off the skin anything may stand.
    measure([Broken(lambda p: torch.where(batch.skin, p, float("nan")))], [batch])


def test_limit_cuts_within_a_batch(fake_batch: FakeBatch) -> None:
    batches = [fake_batch(people=3), fake_batch(people=3, first=3, mean_head=False)]
    cpu = torch.device("cpu")
    assert [len(b) for b in pictures(batches, cpu, 4)] == [3, 1]
    assert [len(b) for b in pictures(batches, cpu, 3)] == [3]
    assert [len(b) for b in pictures(batches, cpu, None)] == [3, 3]
    assert [k for b in pictures(batches, cpu, 4) for k in b.key] == [*batches[0].key, batches[1].key[0]]


def test_cases_are_the_best_the_median_and_the_worst(fake_batch: FakeBatch) -> None:
    # The error of Guess grows with the person's number; person 1 has no skin and must not shift the others.
    batches = [without_skin(fake_batch(people=3), 1), fake_batch(people=3, first=3)]
    methods = [Guess(error_mm=0.5), FlatPlane()]
    scores = measure(methods, batches)
    rmse = dict(zip(scores.key, scores.column("guess", "normalised", "rmse"), strict=True))
    drawn = cases(methods, lambda: batches, scores)
    assert [case.title for case in drawn] == ["best", "median", "worst"]
    assert [case.key for case in drawn] == [sorted(rmse, key=rmse.__getitem__)[i] for i in (0, 2, 4)]
    for case in drawn:
        wrong = (case.predictions["guess"] - case.target_HW)[case.mask_HW]
        assert np.sqrt(np.mean(wrong**2)) == pytest.approx(rmse[case.key], rel=1e-9)
        assert case.rgb_HW3.shape == (32, 32, 3)
        assert 0 <= case.rgb_HW3.min() < case.rgb_HW3.max() <= 1
        assert list(case.predictions) == ["guess", "flat"]


def test_one_picture_is_all_three_cases(fake_batch: FakeBatch) -> None:
    batches = [fake_batch(people=1)]
    drawn = cases([FlatPlane()], lambda: batches, measure([FlatPlane()], batches))
    assert [case.key for case in drawn] == [batches[0].key[0]] * 3
