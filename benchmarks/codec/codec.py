"""``python -m benchmarks codec``: which latents a preset should have, by error against seconds.

Every factor with every number of channels and every width is trained by the recipe of a config of ``jdap
train-codec``, for the same processor seconds and on the same pictures in the same order, and measured at each mark of
``--seconds`` on held-out people and, if there are any, on photographs that have nothing to do with the studio. The rate
falls to 0 at the last mark. Beside it stands what such latents cost a diffusion model of preset ``tiny``: a training
step, and a sampled portrait. Writes ``codec.json``, ``codec.csv``, ``codec.md`` and ``codec.png`` into a folder.

Shapes: B pictures, C latent channels, H = W pixels, h = w latent cells.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch.cli import instantiate_module
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from torch import Tensor

from benchmarks import BenchmarkError, report
from benchmarks.codec.report import markdown, plot, table
from benchmarks.cost.timing import best_seconds
from jdap.batch import ImageBatch
from jdap.configs import BASE, CONFIGS
from jdap.data.modules import ImageDataModule
from jdap.diffusion.denoiser import JointDenoiser, Pair, randn_pair
from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import resolve
from jdap.io.progress import Telling
from jdap.models.codec import ImageCodec
from jdap.models.image.build import build
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.codec import CodecStage, psnr_rgb, reconstruct, rmse_depth

PRESET = "tiny"
TIMED_PICTURES, UNET_BATCH, SAMPLING_STEPS = 16, 8, 10


class Run:
    """One configuration in training: the stage, what feeds it, and the seconds and steps it has had.

    Args:
        recipe: the sections ``model`` and ``data`` of a config, with the factor and channels of this run.
        train: training shards.
        last: seconds at which the learning rate reaches 0.
        seed: of weights, pictures and noise.
    """

    def __init__(self, recipe: dict[str, Any], train: str, last: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.stage: CodecStage = instantiate_module(CodecStage, recipe["model"])
        data = ImageDataModule(**recipe["data"] | {"train": train, "val": None, "seed": seed})
        self.batches = _endless(data)
        self.generator_state = torch.get_rng_state()
        told = self.stage.optimizer_settings
        self.optimizer = torch.optim.AdamW(
            self.stage.codec.parameters(), lr=0.0, betas=(0.9, told.beta2), weight_decay=told.weight_decay
        )
        self.clip, self.last, self.seconds, self.steps = recipe["clip"], last, 0.0, 0

    @property
    def codec(self) -> ImageCodec:
        """The codec as it is now."""
        return self.stage.codec

    def train(self, until: float) -> Iterator[float]:
        """Take steps until this run has had so many seconds; yields the seconds of each."""
        torch.set_rng_state(self.generator_state)  # runs take turns, and each has its own chance
        told = self.stage.optimizer_settings
        while self.seconds < until:
            start = time.process_time()
            rise = min(1.0, (self.steps + 1) / max(1, told.warmup_steps))
            rate = told.learning_rate * rise * max(0.0, 1 - self.seconds / self.last)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad()
            self.stage.losses(next(self.batches)).total.backward()
            torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.clip)
            self.optimizer.step()
            spent = time.process_time() - start
            self.seconds, self.steps = self.seconds + spent, self.steps + 1
            yield spent
        self.generator_state = torch.get_rng_state()


def _endless(data: ImageDataModule) -> Iterator[ImageBatch]:
    loader = data.train_dataloader()
    while True:
        yield from loader


@torch.no_grad()
def errors(codec: ImageCodec, batches: list[ImageBatch], photos_B3HW: Tensor | None) -> dict[str, float | None]:
    """Means over pictures: ``psnr_db`` of RGB, ``rmse_depth`` on skin (0.1 … 1), ``photos_db`` where there are any."""
    psnr, rmse = [], []
    for batch in batches:
        rgb, depth = reconstruct(codec, batch)
        psnr.append(psnr_rgb(rgb, batch.rgb))
        rmse.append(rmse_depth(depth, batch))
    found = {"psnr_db": torch.cat(psnr).mean().item(), "rmse_depth": torch.cat(rmse).mean().item()}
    photos = None
    if photos_B3HW is not None:
        photos = psnr_rgb(codec(photos_B3HW).clamp(-1, 1), photos_B3HW).mean().item()
    return found | {"photos_db": photos}


def costs(codec: ImageCodec, size_px: int, repeats: int) -> dict[str, float]:
    """Seconds to encode and decode 16 pictures, of a training step of 8 and of a portrait sampled in 10 steps.

    The diffusion model is untrained: what it costs does not depend on its weights. One call more than ``repeats``
    warms up.
    """
    pictures = torch.zeros(TIMED_PICTURES, 3, size_px, size_px)
    with torch.no_grad():
        latents = codec.encode(pictures)
        encode = best_seconds(partial(codec.encode, pictures), repeats + 1, time.process_time)
        decode = best_seconds(partial(codec.decode, latents), repeats + 1, time.process_time)
    unet, reference = build(PRESET, codec.latent_channels)
    schedule = NoiseSchedule()
    denoiser = JointDenoiser(schedule)
    clean = Pair(*(latents[:1].expand(UNET_BATCH, -1, -1, -1) for _ in range(2)))

    def step() -> None:
        t = Pair(*(torch.full((UNET_BATCH,), schedule.timesteps // 2) for _ in range(2)))
        network = partial(unet, reference=unet.project_reference(reference(clean.rgb)))
        denoiser.loss(network, clean, t, randn_pair(clean), torch.ones_like(clean.rgb[:, :1])).total.backward()

    pipeline = PortraitPipeline(codec, unet, reference, schedule, preset=PRESET, size_px=size_px).quiet()
    sample = partial(pipeline.generate, pictures[:1], steps=SAMPLING_STEPS)
    return {
        "encode_s": encode,
        "decode_s": decode,
        "unet_step_s": best_seconds(step, repeats + 1, time.process_time),
        "unet_sample_s": best_seconds(sample, repeats + 1, time.process_time),
    }


def shaped(model: dict[str, Any], widths: tuple[int, ...] | None) -> dict[str, Any]:
    """A recipe's ``model`` with these widths in the encoder and the decoder, from the finest resolution to the
    latents'; None leaves its own. Resolutions finer than it has get one block each."""
    if widths is None:
        return model
    changed = dict(model["network"])
    for part in ("encoder", "decoder"):
        blocks = list(changed[f"{part}_blocks"])[-len(widths) :]
        changed |= {f"{part}_widths": list(widths), f"{part}_blocks": [1] * (len(widths) - len(blocks)) + blocks}
    return model | {"network": changed}


def read_photos(folder: Path, size_px: int) -> Tensor:
    """The pictures of a folder, centre squares → (B, 3, H, W) in [-1, 1]. Raises :class:`benchmarks.BenchmarkError`."""
    found = []
    for path in sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
        try:
            with Image.open(path) as image:
                square = ImageOps.fit(
                    ImageOps.exif_transpose(image).convert("RGB"), (size_px, size_px), Image.Resampling.LANCZOS
                )
        except (OSError, UnidentifiedImageError) as error:
            raise BenchmarkError(f"{path}: cannot be read as a picture ({error}); repair or remove it") from error
        found.append(torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1) / 127.5 - 1)
    if not found:
        raise BenchmarkError(f"{folder}: holds no pictures (JPEG, PNG, WebP)")
    return torch.stack(found)


def _text(codec: ImageCodec, part: str) -> str:
    return ",".join(map(str, codec.config[f"{part}_widths"]))


def read_recipe(config: Path) -> dict[str, Any]:
    """``model``, ``data`` and ``clip`` of a config of ``jdap train-codec``. Raises BenchmarkError for another file."""
    try:
        base, settings = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONFIGS / BASE, config))
        data = {k: v for k, v in settings["data"].items() if k not in ("train", "val", "test")}
        trainer = base["trainer"] | settings.get("trainer", {})
        return {"model": settings["model"], "data": data, "clip": trainer["gradient_clip_val"]}
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{config}: no config of jdap train-codec ({type(error).__name__}: {error})") from error


def run(args: argparse.Namespace) -> int:
    """Train the grid, print the table, write the results into ``args.out``."""
    marks, recipe = sorted(set(args.seconds)), read_recipe(args.config)
    if marks[0] <= 0 or args.repeats < 1:
        raise BenchmarkError("--seconds and --repeats must be positive")
    size_px = recipe["data"]["size_px"]
    held_out = ImageDataModule(test=resolve(args.test), size_px=size_px, eval_frames=2)
    batches = list(held_out.test_dataloader())
    photos = None if args.photos is None else read_photos(args.photos, size_px)
    runs = {}
    for factor, channels, widths in product(args.factors, args.channels, args.widths):
        model = shaped(recipe["model"], widths)
        model = model | {"network": model["network"] | {"factor": factor, "latent_channels": channels}}
        train = resolve(args.train)
        try:
            runs[factor, channels, widths] = Run(recipe | {"model": model}, train, marks[-1], args.seed)
        except ValueError as error:
            raise BenchmarkError(f"factor {factor}, C = {channels}, widths {widths}: {error}") from error
    console, rows = Console(), []
    with Telling("second of training", marks[-1] * len(runs), console=console) as telling:
        # By marks and not one after the other: what else the machine does meets all of them alike.
        for mark, ((factor, channels, _), one) in product(marks, runs.items()):
            shape = f"{_text(one.codec, 'encoder')} {_text(one.codec, 'decoder')}"
            for spent in one.train(mark):
                telling.advance(spent, f"factor {factor}, C = {channels}, widths {shape}, to {mark:g} s")
            row = {"factor": factor, "channels": channels, "widths": shape}
            row["latents"] = channels * (size_px // factor) ** 2
            row |= {"parameters": sum(p.numel() for p in one.codec.parameters()), "seconds": mark, "steps": one.steps}
            rows.append(row | errors(one.codec, batches, photos))
    found = [costs(one.codec, size_px, args.repeats) for one in runs.values()]
    rows = [row | found[i % len(runs)] for i, row in enumerate(rows)]  # each mark has the runs in their order
    stamp = report.software_stamp() | {
        "config": str(args.config.name),
        "train": args.train,
        "test": args.test,
        "pictures": sum(map(len, batches)),
        "photos": 0 if photos is None else len(photos),
        "threads": torch.get_num_threads(),
        "seed": args.seed,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    report.write_json(args.out / "codec.json", {"rows": rows, "stamp": stamp})
    report.write_csv(args.out / "codec.csv", rows)
    markdown(rows, args.out / "codec.md")
    plot(rows, args.out / "codec.png")
    report.show(table(rows), console)
    return 0
