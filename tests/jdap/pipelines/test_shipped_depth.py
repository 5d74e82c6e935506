"""The layers for fitted heads that ship better rough ones; and where diffusers looks for classes of what ships."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from jdap.data.modules import ImageDataModule
from jdap.io.assets import resolve
from jdap.metrics import DepthMetrics
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.parts import rough_head


def test_a_rough_head_comes_out_better(monkeypatch):
    monkeypatch.setattr(rough_head, "LEFT_LEAST", rough_head.LEFT_MOST)  # as rough as training has them
    pipeline = PortraitPipeline.from_pretrained(resolve("shipped:image-tiny"))
    batch = next(iter(ImageDataModule(test="shipped:shards/test", batch_size=32).test_dataloader()))
    generators = [torch.Generator().manual_seed(i) for i in range(len(batch))]
    heads = rough_head.rough_heads(batch.depth_mm, batch.mean_head_mm, batch.skin, generators)
    face = batch.skin & (heads < 1)
    made = pipeline.image_to_depth(batch.rgb, head=FittedDepth(heads, face), generator=generators).depth
    there = face.flatten(1).any(1)
    rmse = []
    for answer in (made, heads):
        metrics = DepthMetrics("normalised")
        skin = batch.skin & (batch.mean_head_mm > 0)
        metrics.update(answer[there], batch.depth_mm[there], skin[there], batch.range_mm[there])
        rmse.append(float(metrics.compute()["rmse"]))
    assert rmse[0] < 0.9 * rmse[1]


@pytest.mark.parametrize("name", ["image-tiny", "talk-tiny"])
def test_diffusers_finds_the_class_of_what_ships(name):
    folder = Path(resolve(f"shipped:{name}"))
    module, named = json.loads((folder / "model_index.json").read_text())["_class_name"]
    assert named in runpy.run_path(str(folder / f"{module}.py"))
