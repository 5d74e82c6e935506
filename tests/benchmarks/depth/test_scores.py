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
from benchmarks.depth.regions import REGIONS
from benchmarks.depth.scores import measure
from benchmarks.depth.tables import group_rows, paired_rows, picture_rows, rows
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


def by_name(table: list[dict[str, Any]], method: str, frame: str, alignment: str = "scale_shift") -> dict[str, Any]:
    place = method, frame, alignment
    (row,) = [row for row in table if (row["method"], row["frame"], row["alignment"]) == place]
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
    # Neither promises more than an affine frame, so neither is read without a shift.
    assert [(row["method"], row["frame"], row["alignment"]) for row in table] == [
        (m, f, a)
        for f in ("normalised", "paper", "metric")
        for a in ("scale_shift", "disparity", "l1")
        for m in ("guess", "flat")
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


class Promised(Guess):
    """Millimetres of the camera, 3 % too far."""

    frames = ("metric",)

    def predict(self, batch: ImageBatch) -> Tensor:
        return 1.03 * batch.depth_mm


class InRange(Guess):
    """The truth in [-1, 1]."""

    frames = ("normalised", "paper")

    def predict(self, batch: ImageBatch) -> Tensor:
        return batch.depth


def test_what_promises_a_frame_is_read_in_it_without_a_shift(fake_batch: FakeBatch) -> None:
    scores = measure([Promised("mm"), InRange("range"), Guess()], [fake_batch(people=3)])
    table = rows(scores, seed=0)
    assert {(row["method"], row["frame"]) for row in table if row["alignment"] in ("scale", "none")} == {
        ("mm", "metric"),
        ("range", "normalised"),
        ("range", "paper"),
    }
    assert by_name(table, "mm", "metric", "none")["absrel"] == pytest.approx(0.03, rel=1e-5)
    assert by_name(table, "mm", "metric", "scale")["absrel"] == pytest.approx(0, abs=1e-6)
    assert by_name(table, "mm", "metric", "none")["delta_101"] == 0
    assert by_name(table, "mm", "metric", "none")["delta_105"] == 1
    for frame in ("normalised", "paper"):
        assert by_name(table, "range", frame, "none")["rmse"] == pytest.approx(0, abs=1e-6)
    some = measure([Guess()], [fake_batch(people=2)], alignments=("scale_shift",))
    assert {row["alignment"] for row in rows(some, 0)} == {"scale_shift"}


class Inverse(Guess):
    """Disparity in an affine frame, turned round."""

    def predict(self, batch: ImageBatch) -> Tensor:
        return -(300 / batch.depth_mm.clamp_min(1) + 2)


def test_disparity_is_that_of_millimetres_in_every_frame(fake_batch: FakeBatch) -> None:
    batch = fake_batch(people=3)
    table = rows(measure([Inverse()], [batch]), seed=0)
    clipped = []
    for z, m in zip(batch.depth_mm, batch.skin, strict=True):
        near, far = np.quantile(z[m].double().numpy(), [0.02, 0.98])
        d = 0.1 + 0.9 * (z[m].double().numpy() - near) / (far - near)
        clipped.append(np.sqrt(np.mean((d - d.clip(0.1, 1)) ** 2)))
    # Nothing is left but what clipping the truth to its quantiles costs.
    told = by_name(table, "guess", "normalised", "disparity")
    assert told["rmse"] == pytest.approx(np.mean(clipped), rel=1e-3)
    assert told["negative_scale"] == 0
    assert by_name(table, "guess", "metric", "disparity")["rmse"] < 1e-2
    assert by_name(table, "guess", "metric", "scale_shift")["rmse"] > 0.1


def test_the_surface_is_measured_in_millimetres(fake_batch: FakeBatch) -> None:
    table = rows(measure([Promised("mm"), Guess(), FlatPlane()], [fake_batch(people=3)]), seed=0)
    assert by_name(table, "mm", "metric")["normal_deg"] == pytest.approx(0, abs=1e-3)
    assert by_name(table, "mm", "metric")["boundary_f1"] == pytest.approx(1)
    assert by_name(table, "flat", "metric")["boundary_f1"] == 0
    assert 1 < by_name(table, "guess", "metric")["normal_deg"] < by_name(table, "flat", "metric")["normal_deg"] < 60
    assert "normal_deg" not in by_name(table, "flat", "normalised")


def test_groups_of_pictures_and_pixels(fake_batch: FakeBatch) -> None:
    batch = replace(fake_batch(people=4), yaw_deg=torch.tensor([-12.0, 3, 18, float("nan")]))
    batch = replace(batch, source=("a", "b", "a", "b"))

    def nose(some: ImageBatch) -> Tensor:
        regions = torch.zeros(len(some), len(REGIONS), 32, 32, dtype=torch.bool)
        regions[:3, 1, 10:20, 8:24] = True  # no face is found in the last
        return regions

    scores = measure([Guess()], [batch], find_regions=nose)
    table = group_rows(scores, seed=0)
    normalised = scores.column("guess", "normalised", "rmse")

    def of(group: str, name: str, frame: str = "normalised") -> dict[str, Any]:
        (row,) = [r for r in table if (r["group"], r["of"], r["frame"], r["measure"]) == (group, name, frame, "rmse")]
        return row

    assert {row["of"] for row in table if row["group"] == "yaw"} == {"0–10°", "10–20°"}
    assert of("yaw", "10–20°")["mean"] == pytest.approx(normalised[[0, 2]].mean())
    assert (of("yaw", "10–20°")["n"], of("yaw", "0–10°")["n"]) == (2, 1)
    assert of("source", "b")["mean"] == pytest.approx(normalised[[1, 3]].mean())
    assert of("region", "nose", "metric")["n"] == 3
    assert of("region", "face", "metric")["mean"] == pytest.approx(scores.column("guess", "metric", "rmse").mean())
    # What has depth and is no skin, by the scale and shift of the skin.
    expected = []
    for p, z, m in zip(Guess().predict(batch), batch.depth_mm, batch.skin, strict=True):
        columns = np.stack([p[m].double().numpy(), np.ones(int(m.sum()))], 1)
        s, t = np.linalg.lstsq(columns, z[m].double().numpy(), rcond=None)[0]
        off = ~m & (z > 0)
        expected.append(np.sqrt(np.mean((s * p[off].double().numpy() + t - z[off].double().numpy()) ** 2)))
    assert of("region", "beyond the skin", "metric")["mean"] == pytest.approx(np.mean(expected), rel=1e-5)
    # Fitted depth says nothing of hair.
    fitted = group_rows(measure([Guess()], [replace(batch, depth_source=("fitted",) * 4)]), seed=0)
    assert not [row for row in fitted if row["of"] in ("beyond the skin", "nose")]


def test_methods_are_compared_picture_by_picture(fake_batch: FakeBatch) -> None:
    methods = [Guess("good", error_mm=1), Guess("bad", error_mm=2), FlatPlane()]
    scores = measure(methods, [fake_batch(people=6)])
    table = paired_rows(scores, seed=0)
    (row,) = [
        r for r in table if (r["first"], r["other"], r["frame"], r["measure"]) == ("good", "bad", "metric", "rmse")
    ]
    differences = scores.column("good", "metric", "rmse") - scores.column("bad", "metric", "rmse")
    assert row["mean"] == pytest.approx(differences.mean())
    assert row["mean_ci"][0] < row["mean"] < row["mean_ci"][1] < 0
    # Six people who all agree: 2 of 64 turns of the signs are as far from 0; three pairs were compared.
    assert row["p"] == pytest.approx(2 / 64)
    assert row["p_holm"] == pytest.approx(3 * 2 / 64)


def test_every_picture_has_its_rows(fake_batch: FakeBatch) -> None:
    scores = measure([Guess(), FlatPlane()], [fake_batch(people=3)], alignments=("scale_shift", "l1"))
    table = list(picture_rows(scores, {"gone.jpg": ("ann", "no face is found")}))
    assert len(table) == 3 * 2 * 3 * 2 + 1
    assert len({tuple(row) for row in table}) == 1  # all have the same columns
    mine = [r for r in table if (r["method"], r["frame"], r["alignment"]) == ("guess", "metric", "l1")]
    assert [r["picture"] for r in mine] == scores.key
    expected = scores.column("guess", "metric", "absrel", "l1")
    assert [r["absrel"] for r in mine] == pytest.approx(expected.tolist(), rel=1e-5)
    assert (table[-1]["picture"], table[-1]["person"], table[-1]["reason"]) == ("gone.jpg", "ann", "no face is found")


def test_few_pixels_are_no_picture(fake_batch: FakeBatch) -> None:
    batch = fake_batch(people=2)
    skin = batch.skin.clone()
    skin[1] = False
    v, u = batch.skin[1, 0].nonzero().T
    skin[1, 0, v[:31], u[:31]] = True
    scores = measure([FlatPlane()], [replace(batch, skin=skin)])
    assert (scores.empty, scores.key) == (1, [batch.key[0]])
