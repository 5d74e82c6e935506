"""The weights folder: how a trained model is stored, and the only hand-over from the image to the temporal stage.

Diffusers' layout: ``model_index.json``, a folder for each component, and beside them ``README.md`` (the model card) and
``pipeline.py``, by which ``DiffusionPipeline.from_pretrained`` finds the pipeline's class. The index names the class of
each component, ``[null, null]`` where there is none, and says the settings of the pipeline; names that begin with
``_`` are notes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import __version__ as diffusers_version
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap import __version__
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.component import read_component
from jdap.models.loading import WeightsError, one_line, read_json

INDEX = "model_index.json"
SCHEDULER = "scheduler"
#: Name of the file in a folder that holds the pipeline's class, to diffusers.
MODULE = "pipeline"
#: How the depth half is to be read (see jdap.depth); a folder that says otherwise is refused.
DEPTH_CONVENTION = "z_mm, q2-q98 of skin to [-1, 1], far +1, none +1, three equal channels"
#: component → the classes that it may have.
Kinds = dict[str, tuple[type, ...]]


def class_name(index: dict[str, Any]) -> Any:
    """The pipeline's class that an index names."""
    name = index.get("_class_name")
    return name[-1] if isinstance(name, list) and name else name


def write_index(
    folder: Path, pipeline: type, components: dict[str, Any], settings: dict[str, Any], **notes: Any
) -> None:
    """Write the index, and the module by which diffusers finds the class. A component is a class, or None."""
    index = {
        "_class_name": [MODULE, pipeline.__name__],
        "_diffusers_version": diffusers_version,
        "_jdap_version": __version__,
        "_depth_convention": DEPTH_CONVENTION,
        **{f"_{name}": value for name, value in notes.items()},
        **{name: _named(kind) for name, kind in components.items()},
        **settings,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    named = f"from {pipeline.__module__} import {pipeline.__name__}  # noqa: F401"
    code = f'"""For diffusers: where the class is."""\n\n{named}\n'
    (folder / f"{MODULE}.py").write_text(code, encoding="utf-8")


def read_index(file: Path, pipeline: type, kinds: Kinds, optional: list[str], remedy: str) -> dict[str, Any]:
    """What ``model_index.json`` says, with the classes of components for their names, or None for those left out.

    Raises :class:`WeightsError` for an index of another pipeline or form, naming what is wrong.
    """
    index = read_json(file)
    if class_name(index) != pipeline.__name__:
        raise WeightsError(
            f"{file}: _class_name is {class_name(index)!r}, expected {pipeline.__name__!r}, as `{remedy}` writes it"
        )
    if index.get("_depth_convention") != DEPTH_CONVENTION:
        raise WeightsError(f"{file}: _depth_convention is not {DEPTH_CONVENTION!r}; train again")
    known = {tuple(_named(kind)): kind for among in kinds.values() for kind in among}
    for name, among in kinds.items():
        entry = index.get(name, [None, None] if name in optional else None)
        found = known.get(tuple(entry)) if isinstance(entry, list) and all(isinstance(x, str) for x in entry) else None
        if found not in among and not (entry == [None, None] and name in optional):
            raise WeightsError(f"{file}: {name} is {entry!r}, expected {' or '.join(k.__name__ for k in among)}")
        index[name] = found
    return index


def read_part(kind: type, folder: Path) -> Any:
    """A component of a weights folder, strictly: a network, or the scheduler."""
    return read_scheduler(folder) if kind is DDIMScheduler else read_component(kind, folder)


def read_scheduler(folder: Path) -> DDIMScheduler:
    """The scheduler of a folder, if it is one of ours. Raises :class:`WeightsError` naming the folder."""
    config = read_json(folder / "scheduler_config.json")
    # before anything is built: a schedule is a table of this length
    if type(config.get("num_train_timesteps")) is not int or not 1 <= config["num_train_timesteps"] <= 100_000:
        raise WeightsError(
            f"{folder}: num_train_timesteps is {config.get('num_train_timesteps')!r}, not a number of steps"
        )
    try:
        scheduler = DDIMScheduler.from_config(config)
        schedule = NoiseSchedule.from_scheduler(scheduler)
        shares = ((schedule.alpha_bar >= 0) & (schedule.alpha_bar <= 1)).all()  # not so of NaN, either
    except Exception as error:  # whatever a config makes diffusers stumble over is the config's fault
        raise WeightsError(f"{folder}: {one_line(error)}") from error
    if not shares:
        raise WeightsError(f"{folder}: the betas of its noise schedule are not between 0 and 1")
    return scheduler


def forget_paths(folder: Path) -> None:
    """Take out where the networks were loaded from, which diffusers writes into configs: weights are handed on."""
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _named(kind: type | None) -> list[str | None]:
    """A class as diffusers' indices name it: its library, or for others its module."""
    if kind is None:
        return [None, None]
    library = kind.__module__.split(".")[0]
    return [library if library in ("diffusers", "transformers") else kind.__module__, kind.__name__]
