"""``python -m benchmarks overfit``: how near samples come to the pictures that a model was overfitted to.

A model that was trained on two pictures of one person, each the other's reference, has one right answer to each
reference: the other picture and its depth. What it draws is compared with that, beside what the codec alone makes of
the true picture: no sample can be better than the codec, and the gap is the diffusion model's own error.

The PSNR of RGB is over the picture, in dB of a range of 2; that of depth is over the valid skin, in the normalised
frame, whose range is 2 as well.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import BenchmarkError, report
from jdap import depth as depth_frames
from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.io.progress import Telling
from jdap.pipelines.base import Callback
from jdap.pipelines.grid import depth_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline

SHEET_COLUMNS = ("reference", "picture", "codec's", "sampled", "true depth", "codec's", "sampled")


def psnr(made: Tensor, true: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio 10 log10(2² / MSE) in dB over a mask, for values in [-1, 1]."""
    return float(10 * torch.log10(4 / (made - true)[mask].square().mean()))


def _telling(telling: Telling) -> Callback:
    def on_step_end(_: object, step: int, __: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        telling.tell(step + 1)
        return tensors

    return on_step_end


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Sample, print the table, and write ``overfit.json`` and ``overfit.png`` into ``args.out``."""
    pipeline = PortraitPipeline.from_pretrained(args.weights).quiet()
    data = ImageDataModule(test=args.shards, batch_size=16, size_px=pipeline.size_px)
    batch: ImageBatch = next(iter(data.test_dataloader()))
    if len(set(batch.person_id)) != 1:
        raise BenchmarkError(f"{args.shards}: holds {len(set(batch.person_id))} people; overfit one and measure on it")
    # as trained, without guidance: there is one right answer, and nothing to exaggerate
    how = {"steps": args.steps, "guidance": 1.0, "generator": torch.Generator().manual_seed(args.seed)}
    with Telling("step", args.steps) as telling:
        made = pipeline.generate(batch.reference_rgb, callback_on_step_end=_telling(telling), **how)
    codec = pipeline.codec
    codec_rgb = codec.decode(codec.encode(batch.rgb)).clamp(-1, 1)
    codec_depth = depth_frames.from_codec(codec.decode(codec.encode(depth_frames.to_codec(batch.depth))))

    everywhere = torch.ones_like(batch.rgb, dtype=torch.bool)
    skin = batch.skin & (batch.depth_mm > 0)
    found = {
        "rgb": {"codec_db": psnr(codec_rgb, batch.rgb, everywhere), "sample_db": psnr(made.rgb, batch.rgb, everywhere)},
        "depth": {"codec_db": psnr(codec_depth, batch.depth, skin), "sample_db": psnr(made.depth, batch.depth, skin)},
    }
    table = Table("half", "codec, dB", "sampled, dB", "gap, dB", title=f"{len(batch)} pictures, {args.steps} steps")
    for half, value in found.items():
        value["gap_db"] = value["codec_db"] - value["sample_db"]
        table.add_row(half, *(f"{value[k]:.1f}" for k in ("codec_db", "sample_db", "gap_db")))
    report.show(table, Console())

    args.out.mkdir(parents=True, exist_ok=True)
    stamp = report.software_stamp() | {"weights": args.weights, "shards": args.shards, "steps": args.steps}
    report.write_json(args.out / "overfit.json", {"psnr": found, "pictures": len(batch), "stamp": stamp})
    depths = [depth_picture(d) for d in (batch.depth, codec_depth, made.depth)]
    labelled_grid([batch.reference_rgb, batch.rgb, codec_rgb, made.rgb, *depths], SHEET_COLUMNS).save(
        args.out / "overfit.png"
    )
    return 0
