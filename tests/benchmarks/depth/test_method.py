from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial import cKDTree

from benchmarks import BenchmarkError
from benchmarks.choices import METHOD_NAMES, PHOTO_METHOD_NAMES
from benchmarks.depth.method import (
    DEPTH_METHODS,
    PHOTO_METHODS,
    FlatPlane,
    MethodSettings,
    PosedMeanHead,
    TrainingMean,
    Unavailable,
)
from jdap.batch import ImageBatch

FakeBatch = Callable[..., ImageBatch]


def save_mean(folder: Path, **tensors: torch.Tensor) -> MethodSettings:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "mean_depth.safetensors")
    return MethodSettings(folder)


def test_names_are_those_of_the_interface() -> None:
    assert tuple(DEPTH_METHODS) == METHOD_NAMES
    assert (*DEPTH_METHODS, *PHOTO_METHODS) == PHOTO_METHOD_NAMES
    assert FlatPlane.name == DEPTH_METHODS["flat"](MethodSettings(None)).name == "flat"


def test_flat_plane_is_flat(fake_batch: FakeBatch) -> None:
    batch = fake_batch()
    prediction = FlatPlane().predict(batch)
    assert prediction.shape == batch.depth_mm.shape
    assert prediction.unique().numel() == 1


def test_training_mean_is_the_stored_map(tmp_path: Path, fake_batch: FakeBatch) -> None:
    batch = fake_batch()
    mean = batch.depth.mean(0)
    method = TrainingMean(save_mean(tmp_path, mean_depth=mean))
    for prediction in method.predict(batch):
        torch.testing.assert_close(prediction, mean, rtol=0, atol=0)


def test_training_mean_is_resized_about_pixel_centres(tmp_path: Path, fake_batch: FakeBatch) -> None:
    # A ramp in pixel centres stays that ramp at half and at twice the size, away from the border.
    ramp = ((torch.arange(64) + 0.5) / 64).expand(1, 64, 64).contiguous()
    method = TrainingMean(save_mean(tmp_path, mean_depth=ramp))
    expected = ((torch.arange(32) + 0.5) / 32).expand(3, 1, 32, 32)
    torch.testing.assert_close(method.predict(fake_batch())[..., 1:-1], expected[..., 1:-1], rtol=0, atol=1e-6)
    coarse = ((torch.arange(16) + 0.5) / 16).expand(1, 16, 16).contiguous()
    small = TrainingMean(save_mean(tmp_path, mean_depth=coarse))
    torch.testing.assert_close(small.predict(fake_batch())[..., 1:-1], expected[..., 1:-1], rtol=0, atol=1e-6)


def test_training_mean_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="mean needs --weights"):
        TrainingMean(MethodSettings(None))
    with pytest.raises(BenchmarkError, match="no such weights folder"):
        TrainingMean(MethodSettings(tmp_path / "nowhere"))
    with pytest.raises(BenchmarkError, match=r"mean_depth\.safetensors: missing"):
        TrainingMean(MethodSettings(tmp_path))
    with pytest.raises(BenchmarkError, match="no readable tensor mean_depth"):
        TrainingMean(save_mean(tmp_path, other=torch.zeros(1, 4, 4)))
    with pytest.raises(BenchmarkError, match="must be finite with shape"):
        TrainingMean(save_mean(tmp_path, mean_depth=torch.zeros(4, 4)))
    with pytest.raises(BenchmarkError, match="must be finite with shape"):
        TrainingMean(save_mean(tmp_path, mean_depth=torch.full((1, 4, 4), float("nan"))))
    path = tmp_path / "mean_depth.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BenchmarkError, match="no readable tensor"):
        TrainingMean(MethodSettings(tmp_path))


def test_posed_mean_head_is_filled_with_the_nearest_value(fake_batch: FakeBatch) -> None:
    batch = fake_batch()
    mean_head_mm = batch.mean_head_mm
    assert mean_head_mm is not None
    # A hole in the first picture's skin; the second keeps all of its depth.
    mean_head_mm[0, 0, 10:16, 12:20] = 0
    assert (batch.skin[0] & (mean_head_mm[0] == 0)).any()
    prediction = PosedMeanHead().predict(batch)
    assert (prediction[batch.skin] > 0).all()
    valid = np.argwhere(mean_head_mm[0, 0].numpy() > 0)
    tree = cKDTree(valid)
    for v, u in np.argwhere((batch.skin[0, 0] & (mean_head_mm[0, 0] == 0)).numpy()):
        distance, _ = tree.query((v, u))
        near = valid[tree.query_ball_point((v, u), distance + 1e-6)]
        assert prediction[0, 0, v, u].item() in {mean_head_mm[0, 0, a, b].item() for a, b in near}
    has = mean_head_mm > 0
    assert torch.equal(prediction[has], mean_head_mm[has])
    assert mean_head_mm[0, 0, 12, 14] == 0, "the batch must not be written to"


def test_posed_mean_head_is_unavailable_without_its_data(fake_batch: FakeBatch) -> None:
    with pytest.raises(Unavailable, match="no depth of the posed mean head"):
        PosedMeanHead().predict(fake_batch(mean_head=False))
    batch = fake_batch()
    assert batch.mean_head_mm is not None
    batch.mean_head_mm[1] = 0
    with pytest.raises(Unavailable, match=batch.key[1]):
        PosedMeanHead().predict(batch)
