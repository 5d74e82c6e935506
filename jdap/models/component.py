"""Networks that pipelines consist of, and that are made of plain models of diffusers and transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.modeling_utils import ModelMixin

from jdap.io.assets import find_folder
from jdap.models.loading import WeightsError, load_strict, one_line

#: What diffusers' loader may ask of a component, and these cannot do.
_NOT_HERE = ("device_map", "variant", "quantization_config", "use_flashpack")


class Component(ModelMixin, ABC):
    """A network around plain models, which are what its folder holds: diffusers alone can read those.

    To ``DiffusionPipeline`` it is a model like any other, with ``save_pretrained`` and ``from_pretrained``; reading is
    strict, whoever asks. Subclasses name ``ModelMixin`` among their bases once more: diffusers' loader looks for it in
    the module of a component's class.
    """

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the plain models into a folder; :meth:`read` reads it."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path) -> Self:
        """The network of a folder: float32, in evaluation mode; :class:`jdap.models.loading.WeightsError` else."""

    def save_pretrained(self, save_directory: str | Path) -> None:  # type: ignore[override]
        """Write the plain models into a folder; :meth:`from_pretrained` reads it."""
        self.write(Path(save_directory))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, torch_dtype: torch.dtype | None = None, dtype: torch.dtype | None = None, **asked: Any
    ) -> Self:
        """The network of a folder (or of a repository of the hub), in evaluation mode.

        ``dtype`` (``torch_dtype`` is its older name): float32 unless given. What else diffusers' pipelines hand to
        their models says how to read files, which is done in one way here. Raises ValueError for device maps,
        variants and quantisation, and :class:`jdap.models.loading.WeightsError` for anything missing or broken.
        """
        refused = [option for option in _NOT_HERE if asked.get(option)]
        if refused:
            raise ValueError(f"{name}: {cls.__name__} is read whole, in full precision: leave out {', '.join(refused)}")
        network: Self = read_component(cls, find_folder(name, "name the folder of a network"))
        wanted = dtype or torch_dtype
        return network if wanted is None else network.to(wanted)  # type: ignore[arg-type]


def read_component(kind: Any, folder: Path) -> Any:
    """The ``kind`` of component that a folder holds, a :class:`Component` or a plain model, strictly.

    Raises :class:`jdap.models.loading.WeightsError` naming the folder.
    """
    try:
        return kind.read(folder) if issubclass(kind, Component) else load_strict(kind, folder)
    except WeightsError:
        raise
    # A network whose config is not what the network around it needs lacks this or that, in as many ways.
    except Exception as error:
        raise WeightsError(f"{folder}: {one_line(error)}") from error


def marked(config: Any, name: str, folder: Path) -> bool:
    """What is noted in a plain model's config of the network around it, under a name that diffusers passes over."""
    value = config.get(f"_{name}")
    if not isinstance(value, bool):
        raise WeightsError(f"{folder / 'config.json'}: _{name} must be true or false, got {value!r}; export it again")
    return value
