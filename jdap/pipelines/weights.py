"""The weights folder: how a trained model is stored, and the only hand-over from the image to the temporal stage.

Diffusers' layout: ``model_index.json``, and a folder each for ``codec``, ``unet`` (the joint one), ``reference`` and
``scheduler`` (with the exact noise schedule). The UNets are plain ``UNet2DConditionModel`` folders. The index of an
ablation says ``"reference": false`` (no such folder) or ``"joint": false`` (``unet_rgb`` and ``unet_depth`` in place of
``unet``); ``"shared_timestep": true``: it was never trained with halves at different timesteps. ``"rotary"``:
self-attention knows where its cells are; ``"spacing"``: how sampling spaces its steps
(:class:`jdap.diffusion.schedule.NoiseSchedule`).

Weights that talk are the same and more (:mod:`jdap.pipelines.talking_weights`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers import __version__ as diffusers_version
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap import __version__
from jdap.diffusion.onestep import STARTS
from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.files import replace_folder
from jdap.models.codec import Codec, load_codec
from jdap.models.image.image_tokens import ImageTokens, load_image_tokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.separate import SeparateUNets
from jdap.models.loading import WeightsError, load_strict, one_line, read_json

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
    class_name: str = CLASS_NAME,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder beside, then put it in place; an older one is replaced, other files in it are lost.

    ``class_name`` of the pipeline that reads it, and ``more`` entries of its own, go to the index.
    """
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
        "_class_name": class_name,
        "_diffusers_version": diffusers_version,
        "_jdap_version": __version__,
        "preset": preset,
        "size_px": size_px,
        "joint": isinstance(unet, JointUNet),
        "reference": reference is not None,
        "shared_timestep": shared_timestep,
        "rotary": unet.rotary,
        "spacing": schedule.spacing,
        "depth_convention": DEPTH_CONVENTION,
        "image_tokens": image_tokens is not None,
    }
    if one_step_start is not None:
        index["one_step_start"] = one_step_start
    index |= more or {}
    (part / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if extras is not None:
        extras(part)
    _forget_paths(part)
    replace_folder(part, folder)


def load_components(folder: Path, class_name: str = CLASS_NAME, remedy: str = "make train-image") -> dict[str, Any]:
    """The arguments of :class:`jdap.pipelines.portrait.PortraitPipeline`, strictly.

    ``class_name`` is what the index must say, and ``remedy`` what makes such a folder. Raises :class:`WeightsError`
    naming the folder or file and what is wrong.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such weights folder; train one with `{remedy}`")
    index = read_index(folder / INDEX, class_name, remedy)

    def network(name: str) -> UNet2DConditionModel:
        return load_strict(UNet2DConditionModel, folder / name)

    codec = load_codec(folder / "codec")
    try:
        components: dict[str, Any] = {
            "codec": codec,
            "unet": JointUNet(network("unet"), index["rotary"])
            if index["joint"]
            else SeparateUNets(network("unet_rgb"), network("unet_depth"), index["rotary"]),
            "reference": ReferenceNet(network("reference"), index["rotary"]) if index["reference"] else None,
            "image_tokens": load_image_tokens(folder) if index["image_tokens"] else None,
            "schedule": _read_schedule(folder / "scheduler", index["spacing"]),
            **{name: index[name] for name in ("preset", "size_px", "one_step_start", "shared_timestep")},
        }
        _check_fit(components)
    except WeightsError:
        raise
    # A network whose config is no joint UNet's or no ReferenceNet's lacks this or that, in as many ways.
    except Exception as error:
        raise WeightsError(f"{folder}: {one_line(error)}") from error
    for part in (components["unet"], components["reference"]):
        if part is not None:
            part.eval()
    return components


def read_index(file: Path, class_name: str, remedy: str) -> dict[str, Any]:
    """What ``model_index.json`` says, checked, and with what older folders do not say."""
    index = {"joint": True, "reference": True, "shared_timestep": False, "image_tokens": False, "one_step_start": None}
    index |= read_json(file)
    if index.get("_class_name") != class_name:
        raise WeightsError(
            f"{file}: _class_name is {index.get('_class_name')!r}, expected {class_name!r}, as `{remedy}` writes it"
        )
    if index.get("depth_convention") != DEPTH_CONVENTION:
        raise WeightsError(f"{file}: depth_convention is not {DEPTH_CONVENTION!r}; train again")
    if index["one_step_start"] not in (None, *STARTS):
        raise WeightsError(f"{file}: one_step_start must be {' or '.join(STARTS)}, or not be there")
    kinds = {"preset": str, "size_px": int, "spacing": str}
    kinds |= dict.fromkeys(("joint", "reference", "shared_timestep", "image_tokens", "rotary"), bool)
    for name, kind in kinds.items():
        if type(index.get(name)) is not kind:
            raise WeightsError(f"{file}: {name} must be {kind.__name__}, got {index.get(name)!r}")
    return index


def _read_schedule(folder: Path, spacing: str) -> NoiseSchedule:
    config = read_json(folder / "scheduler_config.json")
    # before anything is built: a schedule is a table of this length
    if type(config.get("num_train_timesteps")) is not int or not 1 <= config["num_train_timesteps"] <= 100_000:
        raise WeightsError(
            f"{folder}: num_train_timesteps is {config.get('num_train_timesteps')!r}, not a number of steps"
        )
    try:
        schedule = NoiseSchedule.from_scheduler(DDIMScheduler.from_config(config), spacing)
        shares = ((schedule.alpha_bar >= 0) & (schedule.alpha_bar <= 1)).all()  # not so of NaN, either
    except Exception as error:  # whatever a config makes diffusers stumble over is the config's fault
        raise WeightsError(f"{folder}: {one_line(error)}") from error
    if not shares:
        raise WeightsError(f"{folder}: the betas of its noise schedule are not between 0 and 1")
    return schedule


def _check_fit(components: dict[str, Any]) -> None:
    """Raises ValueError where components that are sound by themselves do not go together."""
    codec, unet, reference = (components[name] for name in ("codec", "unet", "reference"))
    channels = {"codec": codec.latent_channels, "unet": unet.latent_channels}
    if reference is not None:
        channels["reference"] = reference.unet.config["in_channels"]
        reader = unet.unet if isinstance(unet, JointUNet) else unet.rgb
        if _self_attention(reader) != _self_attention(reference.unet):
            raise ValueError("unet and reference have different layers of self-attention: they are not of one model")
    if len(set(channels.values())) != 1:
        raise ValueError(f"latent channels differ: {', '.join(f'{name} {c}' for name, c in channels.items())}")
    if components["size_px"] < 1 or components["size_px"] % codec.factor:
        raise ValueError(f"size_px {components['size_px']} is no multiple of the codec's factor {codec.factor}")
    tokens = components["image_tokens"]
    if tokens is not None and tokens.cross_attention_dim != unet.unet.config["cross_attention_dim"]:
        raise ValueError(f"image_tokens has tokens of {tokens.cross_attention_dim} channels, which unet does not take")


def _self_attention(unet: UNet2DConditionModel) -> dict[str, int]:
    """Channels by layer."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if ".attn1." in name]
    layer: Callable[[str], Any] = unet.get_submodule
    return {name: layer(name).to_k.in_features for name in names}


def _forget_paths(folder: Path) -> None:
    """Take out where the networks were loaded from, which diffusers writes into configs: weights are handed on."""
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
