"""What settings have in common: checks that name the setting, and their form without classes for checkpoints."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import lightning as L

#: What Lightning's ``load_from_checkpoint`` builds a stage with, which makes dataclasses of dictionaries.
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"


def check_shares(group: str, **shares: float) -> None:
    """Raises ValueError for a setting of ``model.<group>`` that is a share and outside of [0, 1]."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"model.{group}.{name} is a share, 0 … 1, got {value:g}")


def check_least(group: str, least: float, **values: float) -> None:
    """Raises ValueError for a setting of ``model.<group>`` that is below ``least``."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"model.{group}.{name} must be at least {least:g}, got {value:g}")


def check_given(image_to_depth: float, depth_to_image: float) -> None:
    """Raises ValueError where the shares of samples with one half given are more than all samples."""
    if image_to_depth + depth_to_image > 1 + 1e-9:
        raise ValueError(
            "model.conditioning.image_to_depth and model.conditioning.depth_to_image may be 1 together at most, "
            f"got {image_to_depth:g} and {depth_to_image:g}"
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError for a setting ``model.<name>`` that is none of the choices."""
    if value not in choices:
        raise ValueError(f"model.{name} must be one of {', '.join(choices)}, got {value!r}")


def plain(settings: Any) -> Any:
    """Settings as dictionaries, lists and numbers: what a checkpoint may hold that is loaded with ``weights_only``."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    return list(settings) if isinstance(settings, tuple) else settings


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their names on the command line: ``{"noise": {"sharing": 0}}`` → ``{"noise.sharing": 0}``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = flat(value) if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else {f"{name}.{key}": x for key, x in inner.items()}
    return found


def settings_of(stage: type[L.LightningModule]) -> set[str]:
    """The names on the command line of all that can be set of a stage."""
    defaults = {name: x.default for name, x in inspect.signature(stage).parameters.items()}
    return set(flat({name: plain(default) for name, default in defaults.items()}))


def save_settings(stage: L.LightningModule, arguments: dict[str, Any]) -> None:
    """Keep what a stage was built with in its checkpoints and its logs, as :func:`plain` makes it.

    ``arguments`` are the local variables at the beginning of its ``__init__``.
    """
    settings = {name: plain(x) for name, x in arguments.items() if name not in ("self", "__class__")}
    stage.save_hyperparameters(settings | {"_instantiator": INSTANTIATOR})
