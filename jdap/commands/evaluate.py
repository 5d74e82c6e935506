"""``jdap validate`` and ``jdap test``: the scores of weights or of a checkpoint, by the stage that trained them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.trainer.states import TrainerStatus
from torch import Tensor

from jdap.callbacks.averaging import EMA
from jdap.commands.arguments import CommandError
from jdap.commands.train import TRAINING, StageCLI, build, read_checkpoint
from jdap.io.assets import find_folder
from jdap.models.image.separate import SeparateUNets
from jdap.models.loading import read_json
from jdap.pipelines.summary import TRAINING_FILE
from jdap.pipelines.talking import TalkingPipeline
from jdap.pipelines.weights import INDEX, class_name
from jdap.stages.settings.checks import flat, settings_of

#: Where a stage's networks come from, none of which is needed where the weights bring them.
ORIGINS = ("codec", "sd", "networks.image_encoder", "networks.widths", "motion")


class Start(NamedTuple):
    """What is to be scored: the training ``command`` it comes from, the stage's ``settings``, and, of a checkpoint, its
    ``state``. ``size_px``: the pictures' side, where the weights have one."""

    command: str
    settings: dict[str, Any]
    size_px: int | None = None
    state: dict[str, Tensor] | None = None


class EvaluationCLI(StageCLI):
    """The settings of a training, of which only the data of one split are used."""

    split = "val"
    keeps_settings = False

    def before_instantiate_classes(self) -> None:
        """Let the shards of the split stand where validations read, and none where a training would."""
        shards = self.config.data[self.split]
        if not shards:
            raise CommandError(f"no shards to score on: name some by --data.{self.split}")
        self.config.data.train, self.config.data.val = None, shards
        self.check_data()


class TestCLI(EvaluationCLI):
    """The same with the test shards."""

    split = "test"


def evaluate(weights: str, split: str, words: Sequence[str]) -> int:
    """Print the scores of ``weights`` on the shards of a split; returns the exit status 0."""
    start = read_start(weights)
    quiet = {"logger": False, "callbacks": [{"class_path": "jdap.callbacks.progress.RunProgress"}]}
    given = {f"model.{name}": value for name, value in start.settings.items()}
    given |= {f"trainer.{name}": value for name, value in quiet.items()}
    if start.size_px is not None:
        given["data.size_px"] = start.size_px
    options = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given.items()]
    kind = TestCLI if split == "test" else EvaluationCLI
    cli = build(start.command, words, kind, options)
    if start.state is not None:
        cli.model.load_state_dict(start.state)
    try:
        cli.trainer.validate(cli.model, datamodule=cli.datamodule, verbose=False)
    except SystemExit as ended:  # Lightning's answer to Ctrl-C
        if cli.trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        raise KeyboardInterrupt from ended
    scores = {name.removeprefix("val/"): float(x) for name, x in sorted(cli.trainer.callback_metrics.items())}
    print(f"{weights} on {cli.config.data[split]}")
    for name, score in scores.items():
        print(f"  {name:<24} {score:.4f}")
    return 0


def read_start(weights: str) -> Start:
    """What a weights folder, ``shipped:NAME``, hub id or ``.ckpt`` holds.

    Raises FileNotFoundError, ValueError or :class:`jdap.models.loading.WeightsError` for what cannot be scored.
    """
    if weights.endswith(".ckpt"):
        return _of_checkpoint(Path(weights))
    folder = find_folder(weights, TalkingPipeline.remedy)
    if not (folder / INDEX).is_file():
        config = {f"network.{name}": value for name, value in read_json(folder / "config.json").items()}
        return Start("train-codec", {"init": str(folder)} | _accepted("train-codec", config))
    index = read_json(folder / INDEX)
    command = "train-image" if index.get("one_step_start") is None else "train-depth"
    command = "train-video" if class_name(index) == TalkingPipeline.__name__ else command
    trained = flat(read_json(folder / TRAINING_FILE)["hyper_parameters"]) if (folder / TRAINING_FILE).is_file() else {}
    told = {} if command == "train-video" else _told(index)  # of a clip's windows the training tells all
    if command == "train-depth":
        told |= {"start": index["one_step_start"]}
    origins = dict.fromkeys(ORIGINS) | {"init": str(folder), "networks.copy_reference": False}
    return Start(command, _accepted(command, trained | told | origins), size_px=index.get("size_px"))


def _told(index: Mapping[str, Any]) -> dict[str, Any]:
    """What an index says of a stage's settings: its own settings, and which networks there are."""
    settings = {name: value for name, value in index.items() if not isinstance(value, list)}
    return settings | {
        "networks.shared_timestep": index.get("shared_timestep", False),
        "networks.joint": index.get("unet", [None])[-1] != SeparateUNets.__name__,
        "networks.reference": index.get("reference", [None])[-1] is not None,
    }


def _of_checkpoint(path: Path) -> Start:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    checkpoint = read_checkpoint(path, "hyper_parameters", "state_dict")
    trained, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    trained = flat({name: value for name, value in trained.items() if not name.startswith("_")})
    for command in TRAINING:
        if set(trained) == settings_of(TRAINING[command][0]):
            averages = checkpoint.get(EMA.__name__, {}).get("averages", {})
            return Start(command, trained, trained.get("size_px"), state | averages)
    raise ValueError(f"{path}: its settings are those of no stage of this version: {', '.join(sorted(trained))}")


def _accepted(command: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that the stage has."""
    known = settings_of(TRAINING[command][0])
    return {name: value for name, value in settings.items() if name in known}
