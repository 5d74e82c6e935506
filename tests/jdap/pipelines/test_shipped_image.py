"""The weights that ship, held to the figures of their model card on the first held-out people."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jdap.data.modules import ImageDataModule
from jdap.io.assets import resolve
from jdap.metrics import DepthMetrics
from jdap.pipelines.portrait import PortraitPipeline

FOLDER = Path(resolve("shipped:image-tiny"))
#: Of the pixel-wise mean's RMSE; the model card has the figure for all hundred people.
AT_MOST = 0.62


@pytest.fixture(scope="module")
def shipped():
    return PortraitPipeline.from_pretrained(FOLDER)


@pytest.mark.slow
def test_depth_of_held_out_people_is_far_better_than_the_mean(shipped):
    batch = next(iter(ImageDataModule(test="shipped:shards/test", batch_size=32).test_dataloader()))
    mean = load_file(FOLDER / "mean_depth.safetensors")["mean_depth"].expand_as(batch.depth)
    depth = shipped.image_to_depth(batch.rgb, generator=torch.Generator().manual_seed(0)).depth
    rmse = {}
    for name, answer in (("ours", depth), ("mean", mean)):
        metrics = DepthMetrics("normalised")
        metrics.update(answer, batch.depth_mm, batch.skin, batch.range_mm)
        rmse[name] = float(metrics.compute()["rmse"])
    assert rmse["ours"] < AT_MOST * rmse["mean"]


def test_portraits_are_pictures_with_a_head_in_front(shipped):
    batch = next(iter(ImageDataModule(test="shipped:shards/test", batch_size=4).test_dataloader()))
    made = shipped.generate(batch.reference_rgb, steps=10, generator=torch.Generator().manual_seed(1))
    assert made.rgb.std() > 0.1
    middle, corners = made.depth[..., 48:80, 48:80].mean(), made.depth[..., :8, :8].mean()
    assert middle < corners - 0.5  # near is -1, far is +1


def test_the_reference_says_who_it_is(shipped):
    batch = next(iter(ImageDataModule(test="shipped:talking/test", batch_size=5, eval_frames=1).test_dataloader()))
    # One step from noise gives the mean of what it may be: nearer to the truth with the person's own picture.
    error = {}
    for name, reference in (("own", batch.reference_rgb), ("another's", batch.reference_rgb.roll(1, 0))):
        made = shipped.generate(reference, steps=1, generator=torch.Generator().manual_seed(0))
        error[name] = float((made.rgb - batch.rgb).square().mean())
    assert error["own"] < 0.6 * error["another's"]
