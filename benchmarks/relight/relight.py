"""``python -m benchmarks relight``: pictures of the studio in another light, by several shapes and lights.

A pair shows one head before one camera in two lights. The first picture is brought into the second's light and compared
with it. Which light that is, is *told* (the studio's own numbers, and how much brighter each channel gets on the skin),
or *seen* (estimated from the second picture). The old light is estimated, but for the row that is told both. Shapes:
the true depth, depth that the model draws, and a head model that is fitted to the first picture.
docs/relighting.md says how to read it. Writes ``relight.json`` (with each picture's numbers), ``relight.csv`` and
``relight.png``.

Shapes: B pictures, S x S pixels.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from benchmarks import BenchmarkError, answers, report
from benchmarks.depth.method import seeded
from benchmarks.relight.fits import shape_of, with_heads
from benchmarks.relight.pairs import Pairs, read_pairs
from jdap.faces.landmarker import Landmarker
from jdap.io.device import find_device
from jdap.io.progress import Telling
from jdap.light.lights import Light
from jdap.light.ratio import Shape, ratio, relit, shading
from jdap.metrics.perceptual import PerceptualError, StLpips
from jdap.pipelines.grid import labelled_grid
from jdap.pipelines.relight import Lit, RelightPipeline

UNCHANGED, CEILING = "nothing", "true depth, both lights told"
TRUE, DRAWN, FITTED_HEAD = "true depth", "drawn depth", "fitted head"
TOLD, SEEN = "light told", "light seen"
ST_LPIPS = "st_lpips"
#: measure → (unit, whether more is better).
MEASURES = {
    "psnr": ("dB", True),
    "psnr_person": ("dB", True),
    "ssim": ("", True),
    ST_LPIPS: ("", False),
    "old_light_deg": ("°", False),
    "new_light_deg": ("°", False),
}
HEADERS = {"psnr": "PSNR", "psnr_person": "person", "ssim": "SSIM", ST_LPIPS: "ST-LPIPS"}
HEADERS |= {"old_light_deg": "old °", "new_light_deg": "new °"}
#: Which differences are told with their paired intervals: first − other.
COMPARED = (
    (f"{DRAWN}, {TOLD}", UNCHANGED),
    (f"{DRAWN}, {SEEN}", UNCHANGED),
    (f"{TRUE}, {TOLD}", f"{DRAWN}, {TOLD}"),
    (f"{TRUE}, {SEEN}", f"{DRAWN}, {SEEN}"),
    (f"{DRAWN}, {TOLD}", f"{FITTED_HEAD}, {TOLD}"),
    (f"{DRAWN}, {SEEN}", f"{FITTED_HEAD}, {SEEN}"),
    (f"{DRAWN}, {TOLD}, redrawn", f"{DRAWN}, {TOLD}"),
)
ROWS_SHOWN = 10


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write."""
    console = Console()
    pipeline = RelightPipeline.from_pretrained(args.weights).quiet().to(find_device(args.device))
    perceptual, reason = look_of()
    values: dict[str, dict[str, list[float]]] = {}
    keys: list[str] = []
    people: list[str] = []
    shown: list[dict[str, Tensor]] = []
    lost: list[str] = []
    with Telling("pair", args.limit, console=console) as telling, contextlib.ExitStack() as stack:
        read = read_pairs(args.shards, args.batch_size, args.limit)
        batches: Iterator[tuple[Pairs, Shape | None]] = ((pairs, None) for pairs in read)
        if args.fit:
            batches = with_heads(read, stack.enter_context(Landmarker()), lost)
        for pairs, fitted in batches:
            made: dict[str, Tensor] = {}
            for name, picture, lights in drawings(pipeline, pairs, fitted, args):
                made[name] = picture
                for measure, numbers in scores(picture, pairs, *lights, perceptual=perceptual).items():
                    values.setdefault(name, {}).setdefault(measure, []).extend(numbers)
            keys += pairs.key
            people += pairs.person_id
            if sum(len(one[UNCHANGED]) for one in shown) < ROWS_SHOWN:
                shown.append({**made, "the true picture": pairs.new_B3SS})
            telling.tell(len(keys) + len(lost))
    if not keys:
        raise BenchmarkError(f"{args.shards}: it holds no pairs" + " in which a face is found" * bool(lost))
    table = answers.rows(values, MEASURES, people, args.seed)
    differences = answers.compared(values, COMPARED, ("psnr", "psnr_person", "ssim", ST_LPIPS), people, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    names = ("shards", "weights", "redraw", "steps", "seed")
    stamp = report.software_stamp() | {name: getattr(args, name) for name in names} | {"pairs": len(keys)}
    stamp["no_face"] = lost
    stamp["left_out"] = {ST_LPIPS: reason} if reason else {}
    pictures = {"key": keys, "person_id": people, "values": values}
    result = {"rows": table, "differences": differences, "stamp": stamp, "pictures": pictures}
    report.write_json(args.out / "relight.json", result)
    report.write_csv(args.out / "relight.csv", table)
    columns = {name: torch.cat([one[name] for one in shown])[:ROWS_SHOWN] * 2 - 1 for name in shown[0]}
    labelled_grid(list(columns.values()), [name[:20] for name in columns]).save(args.out / "relight.png")
    print_table(table, differences, console)
    report.print_left_out(stamp, console)
    return 0


def look_of() -> tuple[StLpips | None, str]:
    """The perceptual distance and "", or None and why it cannot be had here."""
    try:
        return StLpips(), ""
    except PerceptualError as error:
        return None, str(error)


def drawings(
    pipeline: RelightPipeline, pairs: Pairs, fitted: Shape | None, args: argparse.Namespace
) -> Iterator[tuple[str, Tensor, tuple[Light | None, Light | None]]]:
    """(name, pictures (B, 3, S, S) in [0, 1], old and new light where they were estimated) of every row."""
    yield UNCHANGED, pairs.old_B3SS, (None, None)
    true = shape_of(pairs.depth_mm_B1SS, pairs.camera_px_B3)
    level = told_level(true, pairs)
    both = ratio(shading(pairs.old_light, true), shading(pairs.new_light, true), true.known, pairs.person_B1SS.float())
    yield CEILING, relit(pairs.old_B3SS, both), (None, None)
    generators = [seeded(args.seed, [key]) for key in pairs.key]
    depth = pipeline.portrait.image_to_depth(pairs.old_B3SS * 2 - 1, generator=generators).depth
    both_pictures = pairs.old_B3SS, pairs.new_B3SS
    looks: dict[str, list[Lit]] = {
        TRUE: [pipeline.judge(rgb, true, true.known.float()) for rgb in both_pictures],
        DRAWN: [pipeline.look(rgb * 2 - 1, depth) for rgb in both_pictures],
    }
    if fitted is not None:
        looks[FITTED_HEAD] = [pipeline.judge(rgb, fitted, fitted.known.float()) for rgb in both_pictures]
    for name, (old, new) in looks.items():
        told = relit(pairs.old_B3SS, factor(pipeline, old, pipeline.aim(old, pairs.new_light, level)))
        yield f"{name}, {TOLD}", told, (old.light, None)
        yield f"{name}, {SEEN}", relit(pairs.old_B3SS, factor(pipeline, old, new.light)), (old.light, new.light)
        if name == DRAWN and args.redraw > 0:
            generators = [seeded(args.seed, [key]) for key in pairs.key]
            drawn = pipeline.redraw(told * 2 - 1, depth, args.redraw, args.steps, generator=generators)
            yield f"{name}, {TOLD}, redrawn", (drawn + 1) / 2, (old.light, None)


def factor(pipeline: RelightPipeline, lit: Lit, light: Light) -> Tensor:
    """The ratio for a light, at the pictures' own size."""
    return pipeline.factor(lit, light, lit.shading_B3HW.shape[-1])


def told_level(true: Shape, pairs: Pairs) -> Tensor:
    """(B, 3): how many times brighter the new light is on the skin than the old, by the truth.

    A light's strength beside that of another is no matter of shape, and whoever sets a light sets its exposure.
    """
    skin = (pairs.skin_B1SS & true.known).float()
    old, new = ((shading(light, true) * skin).sum((2, 3)) for light in (pairs.old_light, pairs.new_light))
    return new / old.clamp_min(1e-6)


def scores(
    made_B3SS: Tensor,
    pairs: Pairs,
    old: Light | None = None,
    new: Light | None = None,
    perceptual: StLpips | None = None,
) -> dict[str, list[float]]:
    """Each picture's measures, against the true picture in 8 bits; NaN where there is no estimated light."""
    made = (made_B3SS.clamp(0, 1) * 255).round() / 255
    error = (made - pairs.new_B3SS).square().mean(1, keepdim=True)
    person = pairs.person_B1SS.float()
    means = {
        "psnr": error.mean((1, 2, 3)),
        "psnr_person": (error * person).sum((1, 2, 3)) / person.sum((1, 2, 3)).clamp_min(1),
    }
    found = {name: (-10 * mean.clamp_min(1e-10).log10()).tolist() for name, mean in means.items()}
    alike = ssim(made, pairs.new_B3SS, data_range=1.0, reduction="none")
    assert isinstance(alike, Tensor)
    found["ssim"] = alike.tolist()
    if perceptual is not None:
        found[ST_LPIPS] = perceptual(made * 2 - 1, pairs.new_B3SS * 2 - 1).tolist()
    for name, light, truth in (("old_light_deg", old, pairs.old_light), ("new_light_deg", new, pairs.new_light)):
        cosine = None if light is None else (light.direction() * truth.direction()).sum(1).clamp(-1, 1)
        found[name] = [float("nan")] * len(pairs) if cosine is None else torch.rad2deg(cosine.acos()).tolist()
    return found


def print_table(table: list[dict[str, Any]], differences: list[dict[str, Any]], console: Console) -> None:
    """The answers, and below them the paired differences."""
    shown = answers.table(table, MEASURES, HEADERS)
    shown.columns[0].no_wrap = False  # the names are long
    report.show(shown, console)
    answers.print_differences([row for row in differences if row["measure"].startswith("psnr")], 2, console)
