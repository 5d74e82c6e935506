"""Weights that differ from an image model in the UNet's outer layers alone, and name it rather than hold a copy.

Such a folder (:mod:`jdap.pipelines.image_sharing`) holds ``unet/outer.safetensors``, those layers, and everything else
is the image model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.outer import outer_state
from jdap.models.loading import WeightsError, fill_strict, read_tensors, report
from jdap.pipelines.base import JointPipeline
from jdap.pipelines.image_sharing import check_shared, name_image
from jdap.pipelines.weights import INDEX, SCHEDULER

#: The file of the outer layers, in the folder of weights.
OUTER_FILE = Path("unet") / "outer.safetensors"


def share_inner(folder: Path, own: JointPipeline, theirs: JointPipeline, image: str, half: bool) -> None:
    """Let a written folder, that of ``own``, name the image model ``image``, which is ``theirs``, in place.

    ``half`` stores the outer layers in float16.

    Raises :class:`WeightsError` unless they differ in the outer layers alone.
    """
    outer = outer_state(own.unet)
    networks = {name: getattr(own, name) for name in own.kinds if name != SCHEDULER}
    check_shared(folder, image, theirs, networks, own.schedule, own.settings()["size_px"], own=outer)
    name_image(folder, image, own.kinds)
    (folder / OUTER_FILE).parent.mkdir()
    kind = torch.float16 if half else torch.float32
    save_file({name: value.to(kind).contiguous() for name, value in outer.items()}, folder / OUTER_FILE)


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
