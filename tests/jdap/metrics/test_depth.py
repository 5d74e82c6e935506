import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error
from torch import Tensor

from jdap.depth import normalise, skin_range_mm
from jdap.metrics import RMSE, AbsRel, Delta1, DepthMetrics, align_scale_shift
from jdap.metrics.depth import (
    DEPTH_FRAMES,
    METRIC,
    MIN_DEPTH,
    NORMALISED,
    absrel,
    delta1,
    ground_truth,
    rmse,
    scale_shift,
)


def reference(prediction: Tensor, target: Tensor, mask: Tensor) -> list[dict[str, float]]:
    """The definitions once more: numpy, one picture and one pixel list at a time, the solver of LAPACK."""
    rows = []
    for p, d, m in zip(prediction.numpy(), target.numpy(), mask.numpy(), strict=True):
        p, d = p[m].astype(np.float64), d[m].astype(np.float64)
        (scale, shift), *_ = np.linalg.lstsq(np.stack([p, np.ones_like(p)], 1), d, rcond=None)
        aligned = scale * p + shift
        positive = np.maximum(aligned, MIN_DEPTH)
        rows.append(
            {
                "scale": scale,
                "shift": shift,
                "absrel": float(np.mean([abs(a - b) / b for a, b in zip(positive, d, strict=True)])),
                "delta1": float(np.mean([max(a / b, b / a) < 1.25 for a, b in zip(positive, d, strict=True)])),
                "rmse": mean_squared_error(d, aligned) ** 0.5,
            }
        )
    return rows


@pytest.fixture
def faces() -> tuple[Tensor, Tensor, Tensor]:
    """Depth of bumps in millimetres, skin masks with holes, and predictions in another affine frame, with noise."""
    generator = torch.Generator().manual_seed(0)
    v, u = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    height = torch.tensor([40.0, 70, 100, 55, 80]).reshape(-1, 1, 1, 1)
    depth_mm = 700 - height * torch.exp(-2 * (u**2 + v**2)) + 5 * torch.rand(5, 1, 24, 24, generator=generator)
    skin = ((u**2 + v**2) < 0.8).expand(5, 1, 24, 24) & (torch.rand(5, 1, 24, 24, generator=generator) < 0.9)
    noise = torch.randn(5, 1, 24, 24, generator=generator) * torch.tensor([1, 3, 10, 30, 60.0]).reshape(-1, 1, 1, 1)
    return depth_mm, skin, 0.013 * (depth_mm + noise) - 4


@pytest.mark.parametrize("frame", DEPTH_FRAMES)
def test_agrees_with_numpy(faces: tuple[Tensor, Tensor, Tensor], frame: str) -> None:
    depth_mm, skin, prediction = faces
    target, mask = ground_truth(frame, depth_mm, skin, skin_range_mm(depth_mm, skin))
    rows = reference(prediction, target, mask)
    scale, shift = scale_shift(prediction, target, mask)
    aligned = align_scale_shift(prediction, target, mask)
    got = {
        "scale": scale,
        "shift": shift,
        "absrel": absrel(aligned, target, mask),
        "delta1": delta1(aligned, target, mask),
        "rmse": rmse(aligned, target, mask),
    }
    for name, values in got.items():
        np.testing.assert_allclose(values.numpy(), [row[name] for row in rows], rtol=1e-9, err_msg=name)
    # The cases are of use only if they differ.
    assert len(set(got["rmse"].tolist())) == 5
    if frame == NORMALISED:
        assert 0.1 < got["delta1"].min() < got["delta1"].max() < 1


@pytest.mark.parametrize("frame", DEPTH_FRAMES)
def test_class_is_the_mean_of_pictures_whatever_the_batches(faces: tuple[Tensor, Tensor, Tensor], frame: str) -> None:
    depth_mm, skin, prediction = faces
    range_mm = skin_range_mm(depth_mm, skin)
    rows = reference(prediction, *ground_truth(frame, depth_mm, skin, range_mm))
    whole, first, second = DepthMetrics(frame), DepthMetrics(frame), DepthMetrics(frame)
    whole.update(prediction, depth_mm, skin, range_mm)
    first.update(prediction[:4], depth_mm[:4], skin[:4], range_mm[:4])
    second.update(prediction[4:], depth_mm[4:], skin[4:], range_mm[4:])
    first.merge_state(second)
    for metrics in (whole, first):
        for name, value in metrics.compute().items():
            assert value.item() == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-9)
        assert metrics.pictures == 5


def test_single_classes_agree_with_the_joint_one(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, prediction = faces
    range_mm = skin_range_mm(depth_mm, skin)
    target, mask = ground_truth(NORMALISED, depth_mm, skin, range_mm)
    joint = DepthMetrics(NORMALISED)
    joint.update(prediction, depth_mm, skin, range_mm)
    for metric, name in ((AbsRel(), "absrel"), (Delta1(), "delta1"), (RMSE(), "rmse")):
        assert metric(prediction, target, mask).item() == joint.compute()[name].item()
    unaligned = RMSE(align=False)
    assert unaligned(prediction, target, mask) > 3 > joint.compute()["rmse"]


def test_by_hand() -> None:
    # Four pixels: ratios 1, 1.2, 1.25 (not under), 0.5; relative errors 0, .2, .25, .5; the fifth pixel is masked.
    target = torch.tensor([1.0, 1, 0.5, 1, 7]).reshape(1, 1, 1, 5)
    prediction = torch.tensor([1.0, 1.2, 0.625, 0.5, float("nan")]).reshape(1, 1, 1, 5)
    mask = torch.tensor([True, True, True, True, False]).reshape(1, 1, 1, 5)
    assert absrel(prediction, target, mask).item() == pytest.approx(0.95 / 4)
    assert delta1(prediction, target, mask).item() == 0.5
    assert rmse(prediction, target, mask).item() == pytest.approx(((0.04 + 0.125**2 + 0.25) / 4) ** 0.5)


def test_root_per_picture_then_mean() -> None:
    # Errors of 1 in one picture and 3 in the other: 2, and not the root of 5.
    target = torch.full((2, 1, 2, 2), 10.0)
    prediction = target + torch.tensor([1.0, -3.0]).reshape(2, 1, 1, 1)
    metric = RMSE(align=False)
    assert metric(prediction, target, torch.ones_like(target, dtype=torch.bool)).item() == pytest.approx(2)


def test_alignment_undoes_any_affine_frame(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, _ = faces
    for scale, shift in ((1, 0), (0.002, -1), (50, 1e4), (-3, 2)):
        aligned = align_scale_shift(depth_mm.double() * scale + shift, depth_mm, skin)
        torch.testing.assert_close(aligned, depth_mm.double(), rtol=1e-8, atol=1e-6)
    assert (scale_shift(-depth_mm, depth_mm, skin)[0] < 0).all()


@pytest.mark.parametrize("level", [0.0, 0.3, -700.123, 1e-30])
def test_flat_plane_is_the_mean(faces: tuple[Tensor, Tensor, Tensor], level: float) -> None:
    depth_mm, skin, _ = faces
    plane = torch.full_like(depth_mm, level)
    scale, shift = scale_shift(plane, depth_mm, skin)
    assert (scale == 0).all()
    means = [d[m].double().mean().item() for d, m in zip(depth_mm, skin, strict=True)]
    deviations = [d[m].double().std(correction=0).item() for d, m in zip(depth_mm, skin, strict=True)]
    assert shift.tolist() == pytest.approx(means, rel=1e-12)
    errors = rmse(align_scale_shift(plane, depth_mm, skin), depth_mm, skin)
    assert errors.tolist() == pytest.approx(deviations, rel=1e-9)


def test_outside_of_the_mask_nothing_counts(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, prediction = faces
    broken = torch.where(skin, prediction, float("nan"))
    hidden = torch.where(skin, depth_mm, 0)
    metrics, expected = DepthMetrics(METRIC), DepthMetrics(METRIC)
    range_mm = skin_range_mm(depth_mm, skin)
    metrics.update(broken, hidden, skin, range_mm)
    expected.update(prediction, depth_mm, skin, range_mm)
    assert metrics.compute() == expected.compute()


def test_pictures_without_skin_are_left_out_and_counted(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, prediction = faces
    empty = skin.clone()
    empty[1] = False
    flat = torch.where(torch.arange(5).reshape(-1, 1, 1, 1) == 3, torch.full_like(depth_mm, 600), depth_mm)
    metrics, expected = DepthMetrics(), DepthMetrics()
    metrics.update(prediction, flat, empty, skin_range_mm(flat, empty))
    keep = [0, 2, 4]
    expected.update(prediction[keep], depth_mm[keep], skin[keep], skin_range_mm(depth_mm, skin)[keep])
    assert (metrics.pictures, metrics.left_out) == (3, 2)
    assert {k: v.item() for k, v in metrics.compute().items()} == pytest.approx(
        {k: v.item() for k, v in expected.compute().items()}
    )
    assert absrel(prediction, depth_mm, empty).isnan().tolist() == [False, True, False, False, False]


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_to_measure_is_nan() -> None:
    assert DepthMetrics().compute()["rmse"].isnan()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_prediction_that_is_not_finite_is_an_error(faces: tuple[Tensor, Tensor, Tensor], bad: float) -> None:
    depth_mm, skin, prediction = faces
    prediction[2, 0, 12, 12] = bad
    skin[2, 0, 12, 12] = True
    with pytest.raises(ValueError, match="picture 2 is not finite"):
        DepthMetrics().update(prediction, depth_mm, skin, skin_range_mm(depth_mm, skin))


def test_wrong_input_is_an_error(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, prediction = faces
    with pytest.raises(ValueError, match="one shape"):
        RMSE().update(prediction, depth_mm[:, 0], skin)
    with pytest.raises(ValueError, match="one shape"):
        RMSE().update(prediction, depth_mm, skin.float())
    with pytest.raises(ValueError, match="positive"):
        RMSE().update(prediction, depth_mm - 700, skin)
    with pytest.raises(ValueError, match="no depth frame"):
        DepthMetrics("meters")


def test_negative_aligned_depth_fails_delta1() -> None:
    target = torch.full((1, 1, 1, 2), 0.1)
    prediction = torch.tensor([-0.1, 0.1]).reshape(1, 1, 1, 2)
    mask = torch.ones_like(target, dtype=torch.bool)
    assert delta1(prediction, target, mask).item() == 0.5
    assert absrel(prediction, target, mask).item() == pytest.approx(0.99 / 2)


def test_normalised_frame_maps_the_quantiles(faces: tuple[Tensor, Tensor, Tensor]) -> None:
    depth_mm, skin, _ = faces
    range_mm = skin_range_mm(depth_mm, skin)
    target, mask = ground_truth(NORMALISED, depth_mm, skin, range_mm)
    for d, z, m in zip(target, depth_mm, mask, strict=True):
        near, far = np.quantile(z[m].numpy(), [0.02, 0.98])
        expected = np.clip(0.1 + 0.9 * (z[m].numpy() - near) / (far - near), 0.1, 1)
        np.testing.assert_allclose(d[m].numpy(), expected, atol=2e-5)
    # The frame of the network is the same up to scale and shift, so its ground truth is a perfect prediction.
    metrics = DepthMetrics(NORMALISED)
    metrics.update(normalise(depth_mm, range_mm), depth_mm, skin, range_mm)
    assert metrics.compute()["rmse"] < 1e-6
    assert metrics.compute()["delta1"] == 1
