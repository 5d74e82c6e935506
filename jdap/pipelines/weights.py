"""The weights folder: how a trained model is stored, and the only hand-over from the image to the temporal stage.

Diffusers' layout: ``model_index.json``, and a folder each for ``codec``, ``unet`` (the joint one), ``reference`` and
``scheduler`` (with the exact noise schedule). The UNets are plain ``UNet2DConditionModel`` folders. The index of an
ablation says ``"reference": false`` (no such folder) or ``"joint": false`` (``unet_rgb`` and ``unet_depth`` in place of
``unet``); ``"shared_timestep": true``: it was never trained with halves at different timesteps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import __version__ as diffusers_version
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap import __version__
from jdap.diffusion.onestep import STARTS
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import Codec, load_codec
from jdap.models.image_tokens import ImageTokens, load_image_tokens
from jdap.models.joint_unet import JointUNet
from jdap.models.loading import WeightsError, load_strict, read_json
from jdap.models.reference import ReferenceNet
from jdap.models.separate import SeparateUNets

INDEX = "model_index.json"
CLASS_NAME = "PortraitPipeline"
#: How the depth half is to be read (see jdap.depth); a folder that says otherwise is refused.
DEPTH_CONVENTION = "z_mm, q2-q98 of skin to [-1, 1], far +1, none +1, three equal channels"


def save_components(
    folder: Path,
    *,
    codec: Codec,
    unet: JointUNet | SeparateUNets,
    reference: ReferenceNet | None,
    schedule: NoiseSchedule,
    preset: str,
    size_px: int,
    shared_timestep: bool,
    one_step_start: str | None = None,
    image_tokens: ImageTokens | None = None,
    extras: Callable[[Path], None] | None = None,
) -> None:
    """Write the folder beside, then put it in place; an older one is replaced, other files in it are lost."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    codec.save_pretrained(part / "codec")
    parts = {"unet": unet.unet} if isinstance(unet, JointUNet) else {"unet_rgb": unet.rgb, "unet_depth": unet.depth}
    if reference is not None:
        parts["reference"] = reference.unet
    for name, network in parts.items():
        network.save_pretrained(part / name)
    schedule.scheduler().save_pretrained(part / "scheduler")
    if image_tokens is not None:
        image_tokens.save_pretrained(part)
    index = {
        "_class_name": CLASS_NAME,
        "_diffusers_version": diffusers_version,
        "_jdap_version": __version__,
        "preset": preset,
        "size_px": size_px,
        "joint": isinstance(unet, JointUNet),
        "reference": reference is not None,
        "shared_timestep": shared_timestep,
        "depth_convention": DEPTH_CONVENTION,
        "image_tokens": image_tokens is not None,
    }
    if one_step_start is not None:
        index["one_step_start"] = one_step_start
    (part / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if extras is not None:
        extras(part)
    replace_folder(part, folder)


def load_components(folder: Path) -> dict[str, Any]:
    """The arguments of :class:`jdap.pipelines.portrait.PortraitPipeline`, strictly.

    Raises :class:`WeightsError` naming the folder or file and what is wrong.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such weights folder; train one with `make train-image`")
    index = read_json(folder / INDEX)
    if index.get("_class_name") != CLASS_NAME:
        raise WeightsError(f"{folder / INDEX}: _class_name is {index.get('_class_name')!r}, expected {CLASS_NAME!r}")
    if index.get("depth_convention") != DEPTH_CONVENTION:
        raise WeightsError(f"{folder / INDEX}: depth_convention is not {DEPTH_CONVENTION!r}; train again")
    if index.get("one_step_start") not in (None, *STARTS):
        raise WeightsError(f"{folder / INDEX}: one_step_start must be {' or '.join(STARTS)}, or not be there")

    def network(name: str) -> UNet2DConditionModel:
        return load_strict(UNet2DConditionModel, folder / name)

    # An index that does not say so is of the model in full.
    joint, reference = index.get("joint", True), index.get("reference", True)
    try:
        scheduler = DDIMScheduler.from_pretrained(str(folder / "scheduler"), local_files_only=True)
        components: dict[str, Any] = {
            "codec": load_codec(folder / "codec"),
            "unet": JointUNet(network("unet")) if joint else SeparateUNets(network("unet_rgb"), network("unet_depth")),
            "reference": ReferenceNet(network("reference")) if reference else None,
            "schedule": NoiseSchedule.from_scheduler(scheduler),
            "image_tokens": load_image_tokens(folder) if index.get("image_tokens") else None,
            "preset": str(index["preset"]),
            "size_px": int(index["size_px"]),
            "one_step_start": index.get("one_step_start"),
            "shared_timestep": bool(index.get("shared_timestep", False)),
        }
    except KeyError as error:
        raise WeightsError(f"{folder / INDEX}: {error} is missing") from error
    except WeightsError:
        raise
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: {' '.join(str(error).split())}") from error
    for part in (components["unet"], components["reference"]):
        if part is not None:
            part.eval()
    return components


def replace_folder(part: Path, folder: Path) -> None:
    """Put the finished ``part`` in the place of ``folder``. A crash in between leaves the new one under ``.part``."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)
