"""Weights that differ from an image model in the UNet's outer layers alone, and name it rather than hold a copy.

Such a folder's index says ``"_image"``, a folder or ``shipped:NAME``; it holds ``unet/outer.safetensors``, those
layers, and everything else is the image model's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.outer import outer_state
from jdap.models.loading import WeightsError, fill_strict, read_json, read_tensors, report
from jdap.pipelines.base import JointPipeline
from jdap.pipelines.weights import IMAGE, INDEX

#: The file of the outer layers, in the folder of weights.
OUTER_FILE = Path("unet") / "outer.safetensors"


def share_inner(folder: Path, own: JointPipeline, theirs: JointPipeline, image: str, half: bool) -> None:
    """Let a written folder, that of ``own``, name the image model ``image``, which is ``theirs``, in place.

    ``half`` stores the outer layers in float16.

    Raises :class:`WeightsError` unless they differ in the outer layers alone.
    """
    for part in ("codec", "unet", "reference", "image_tokens"):
        mine, other = getattr(own, part), getattr(theirs, part)
        if not _same(mine, other, outer=part == "unet"):
            raise WeightsError(f"{image}: its {part} is not that of {folder}, which was trained on another image model")
    if own.schedule != theirs.schedule or own.settings()["size_px"] != theirs.settings()["size_px"]:
        raise WeightsError(f"{image}: another schedule or size than {folder}")
    for part in ("codec", "unet", "reference", "scheduler", "image_tokens"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / OUTER_FILE).parent.mkdir()
    kind = torch.float16 if half else torch.float32
    save_file({k: v.to(kind).contiguous() for k, v in outer_state(own.unet).items()}, folder / OUTER_FILE)
    (folder / INDEX).write_text(
        json.dumps(read_json(folder / INDEX) | {IMAGE: image}, indent=2) + "\n", encoding="utf-8"
    )


def read_outer(folder: Path, image: JointPipeline) -> dict[str, Any]:
    """The components of the image model, its UNet with the outer layers of ``folder``.

    Raises :class:`WeightsError` for a file that is not those layers.
    """
    unet = image.unet
    if not isinstance(unet, JointUNet):
        raise WeightsError(f"{folder / INDEX}: outer layers go with a joint UNet, which {image.name_or_path} lacks")
    outer = read_tensors(folder / OUTER_FILE)
    expected = outer_state(unet).keys()
    report(folder / OUTER_FILE, expected - outer.keys(), outer.keys() - expected, ())
    fill_strict(unet, unet.state_dict() | outer, folder / OUTER_FILE)
    return {name: getattr(image, name) for name in image.kinds}


def _same(mine: Any, theirs: Any, outer: bool) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    one, other = mine.state_dict(), theirs.state_dict()
    mine_alone = outer_state(mine).keys() if outer and isinstance(mine, JointUNet) else ()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one if k not in mine_alone)
