"""Training from YAML files: ``jdap train-image``, ``train-video``, ``train-depth`` and ``train-codec``.

Settings come from YAML files (``--config``) and from the command line, which wins; under the files lies what all runs
have in common (:data:`jdap.configs.UNDER`). Every parameter of the stage, of the data module and of Lightning's Trainer
can be set; a misspelt one is an error.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException

from jdap.callbacks.last import LastCheckpoint
from jdap.callbacks.randomness import RandomStates
from jdap.configs import CONFIGS, DEFAULTS, UNDER, find_config
from jdap.data.modules import ClipDataModule, ImageDataModule, ShardDataModule
from jdap.io.device import tell_of_bfloat16
from jdap.io.files import check_folder
from jdap.stages.codec import CodecStage
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.temporal import TemporalStage

#: command -> (stage, data module)
TRAINING: dict[str, tuple[type[LightningModule], type[ShardDataModule]]] = {
    "train-image": (ImageStage, ImageDataModule),
    "train-depth": (OneStepStage, ImageDataModule),
    "train-video": (TemporalStage, ClipDataModule),
    "train-codec": (CodecStage, ImageDataModule),
}
#: A setting of the trainer → callbacks that have nothing to do where it is off, most of which Lightning then refuses.
CALLBACKS_OF = {
    "logger": ("LearningRateMonitor", "SourceLog", "NoiseLog", "DepthTable"),
    "enable_checkpointing": ("ModelCheckpoint",),
    "enable_progress_bar": ("RunProgress",),
}
#: ``--resume auto`` goes on from the last checkpoint of the run in ``--out``.
LAST_OF_RUN = "auto"


class StageCLI(LightningCLI):
    """LightningCLI plus the run's folder and a checkpoint to resume from."""

    resume: str | None = None
    keeps_settings = True
    datamodule: ShardDataModule

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--out`` and ``--resume``."""
        parser.add_argument("--out", type=str, required=True, help="folder of the run: logs, checkpoints, weights")
        parser.add_argument(
            "--resume",
            type=str | None,
            default=None,
            help=f"checkpoint to go on from; {LAST_OF_RUN}: the last one under --out, or the start where there is none",
        )

    def before_instantiate_classes(self) -> None:
        """Everything that a run writes goes under ``--out``. What cannot become a run ends here, before networks."""
        out = str(Path(self.config.out))
        check_folder(Path(out))
        self.resume = checkpoint_of(self.config.out, self.config.resume)
        self.check_data()
        trainer: Namespace = self.config.trainer
        trainer.default_root_dir = out
        idle = tuple(name for off, names in CALLBACKS_OF.items() if trainer[off] in (False, []) for name in names)
        trainer.callbacks = [one for one in _listed(trainer.callbacks) if not one.class_path.endswith(idle)]
        for logger in _listed(trainer.logger):
            logger.init_args.save_dir = out
        for callback in trainer.callbacks:
            if callback.class_path.endswith("ModelCheckpoint"):
                callback.init_args.dirpath = str(Path(out) / "checkpoints")
                callback.init_args.enable_version_counter = False  # else a folder that was moved has two last ones

    def check_data(self) -> None:
        """Raises :class:`jdap.shards.urls.ShardError` where shards that are named are not there, or hold nothing."""
        alone = ArgumentParser(exit_on_error=False)
        alone.add_class_arguments(self._datamodule_class, "data")
        data = Namespace(data=self.config.data)
        alone.instantiate_classes(data).data.check()


def _listed(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list) else [value]


def train(command: str, argv: Sequence[str]) -> int:
    """Run a training command to its end; returns the exit status 0."""
    cli = build(command, argv)
    if cli.trainer.is_global_zero:
        tell_of_bfloat16(cli.trainer.precision, cli.trainer.strategy.root_device)
    try:
        if cli.resume is not None and (step := _over_at(cli.resume, cli.trainer)) is not None:
            return _nothing_left(cli, step)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.resume, weights_only=True)
    except SIGTERMException as ended:  # which would exit with status 0, as if the weights were there
        raise _ended(cli, signal.SIGTERM) from ended
    except SystemExit as ended:  # Lightning's answer to Ctrl-C, with status 1
        if cli.trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        raise _ended(cli, signal.SIGINT) from ended
    return 0


def _over_at(checkpoint: str, trainer: Trainer) -> int | None:
    """The step of a checkpoint at which the run's steps or its time are used up; None where there is more to do.

    Lightning would end such a run without ``on_train_end``, where averages become the weights.
    """
    state = read_checkpoint(checkpoint, "global_step", "callbacks")
    step = int(state["global_step"])
    if 0 <= trainer.max_steps <= step:
        return step
    for timer in (c for c in trainer.callbacks if isinstance(c, Timer)):  # type: ignore[attr-defined]
        if timer.state_key in state["callbacks"]:
            timer.load_state_dict(state["callbacks"][timer.state_key])
            if (left := timer.time_remaining()) is not None and left <= 0:
                return step
    return None


def read_checkpoint(path: str | Path, *parts: str) -> dict[str, Any]:
    """A checkpoint, whose tensors stay on the disk until they are asked for.

    Raises ValueError for what is none, holds more than tensors and numbers, or lacks one of the ``parts``.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        for part in parts:
            state[part]
    except Exception as error:  # whatever a file that is no checkpoint makes the loader stumble over
        raise ValueError(f"{path}: no checkpoint of ours: {' '.join(str(error).split())[:200]}") from error
    return state


def _nothing_left(cli: StageCLI, step: int) -> int:
    """Say that a run is over; raises ValueError where it was ended before it wrote its weights."""
    weights = Path(cli.config.out) / "weights"
    more = "more by --trainer.max_steps or .max_time"
    if not weights.is_dir():
        raise ValueError(
            f"{cli.resume}: the run is over at step {step}, but {weights} was not written: let it do {more}"
        )
    print(f"nothing to do: the run is over at step {step}, and its weights are in {weights}; {more}", file=sys.stderr)
    return 0


def checkpoint_of(out: str, resume: str | None) -> str | None:
    """What a run in the folder ``out`` goes on from, as ``--resume`` says.

    Raises FileNotFoundError where it is not there, FileExistsError where another run would be lost.
    """
    last = Path(out) / "checkpoints" / "last.ckpt"
    if resume == LAST_OF_RUN:
        return str(last) if last.is_file() else None
    if resume is not None and not Path(resume).is_file():
        raise FileNotFoundError(f"{resume}: no such checkpoint to resume from")
    if resume is None and last.is_file():
        raise FileExistsError(
            f"{out} holds a run: go on with it by --resume {LAST_OF_RUN}, or name another folder for --out"
        )
    return resume


def _ended(cli: StageCLI, number: signal.Signals) -> SystemExit:
    """The exit of a run that a signal ended, after a line about how to go on."""
    last = next((c.last_model_path for c in cli.trainer.checkpoint_callbacks if c.last_model_path), None)  # type: ignore[attr-defined]
    remedy = f"go on with --resume {last}" if last else "there is no checkpoint yet"
    print(f"ended by {number.name} at step {cli.trainer.global_step}, without weights; {remedy}", file=sys.stderr)
    return SystemExit(128 + number)


def build(command: str, argv: Sequence[str], kind: type[StageCLI] = StageCLI, defaults: Sequence[str] = ()) -> StageCLI:
    """Stage, data and trainer from the settings; ``defaults`` are options that win over YAML files, not over ``argv``.

    Raises ValueError for settings that there are not.
    """
    configs, rest = _parted(argv)
    configs = [find_config(name) for name in configs or [DEFAULTS[command]]]
    layers = [*(str(CONFIGS / name) for name in UNDER[command]), *configs]
    try:
        return _build(command, [*(f"--config={layer}" for layer in layers), *defaults, *rest], kind)
    except ArgumentError as error:
        raise ValueError(f"{error}; settings come from {', '.join(configs)} and the command line") from error


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The YAML files that a command line names, and its other words, which win over them wherever they stand."""
    configs, rest, words = [], [], iter(argv)
    for word in words:
        if word == "--config":
            configs.append(next(words, ""))
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        else:
            rest.append(word)
    return configs, rest


def _build(command: str, argv: list[str], kind: type[StageCLI] = StageCLI) -> StageCLI:
    stage, data = TRAINING[command]
    with warnings.catch_warnings():
        # Lightning suspects a script that forgot its command line, and calls names that jsonargparse 5 will drop.
        warnings.filterwarnings("ignore", module="lightning.pytorch.cli")
        warnings.filterwarnings("ignore", message=r"\s*``instantiate_classes`` was deprecated")
        return kind(
            stage,
            data,
            args=argv,
            run=False,
            parser_kwargs={"prog": f"jdap {command}", "exit_on_error": False},
            trainer_defaults={"callbacks": [RandomStates(), LastCheckpoint()]},
            save_config_callback=SaveConfigCallback if kind.keeps_settings else None,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
        )
