"""Training from YAML files: ``jdap train-image``, ``train-video``, ``train-depth`` and ``train-codec``.

Settings come from a YAML file (``--config``) and from the command line, which wins. Every parameter of the stage, of
the data module and of Lightning's Trainer can be set; a misspelt one is an error.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import SIGTERMException

from jdap.callbacks.randomness import RandomStates
from jdap.configs import CONFIGS
from jdap.data.modules import ClipDataModule, ImageDataModule
from jdap.stages.codec import CodecStage
from jdap.stages.image import ImageStage
from jdap.stages.onestep import OneStepStage
from jdap.stages.temporal import TemporalStage

#: command -> (stage, data module, default config)
TRAINING: dict[str, tuple[type[LightningModule], type[LightningDataModule], str]] = {
    "train-image": (ImageStage, ImageDataModule, "image-tiny.yaml"),
    "train-depth": (OneStepStage, ImageDataModule, "depth-tiny.yaml"),
    "train-video": (TemporalStage, ClipDataModule, "video-tiny.yaml"),
    "train-codec": (CodecStage, ImageDataModule, "codec-tiny.yaml"),
}
#: ``--resume auto`` goes on from the last checkpoint of the run in ``--out``.
AUTO = "auto"


class StageCLI(LightningCLI):
    """LightningCLI plus the run's folder and a checkpoint to resume from."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--out`` and ``--resume``."""
        parser.add_argument("--out", type=str, required=True, help="folder of the run: logs, checkpoints, weights")
        parser.add_argument(
            "--resume",
            type=str | None,
            default=None,
            help=f"checkpoint to go on from; {AUTO}: the last one under --out, or the start where there is none",
        )

    def before_instantiate_classes(self) -> None:
        """Everything that a run writes goes under ``--out``."""
        out = str(Path(self.config.out))
        trainer: Namespace = self.config.trainer
        trainer.default_root_dir = out
        for logger in _listed(trainer.logger):
            logger.init_args.save_dir = out
        for callback in _listed(trainer.callbacks):
            if callback.class_path.endswith("ModelCheckpoint"):
                callback.init_args.dirpath = str(Path(out) / "checkpoints")


def _listed(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list) else [value]


def main(command: str, argv: Sequence[str]) -> int:
    """Run a training command to its end; returns the exit status 0."""
    config = TRAINING[command][2]
    argv = list(argv)
    configs = [b for a, b in pairwise(argv) if a == "--config"]
    configs += [word.removeprefix("--config=") for word in argv if word.startswith("--config=")]
    if not configs:
        configs = [str(CONFIGS / config)]
        argv = ["--config", *configs, *argv]
    try:
        cli = _build(command, argv)
    except ArgumentError as error:
        raise ValueError(f"{error}; settings come from {', '.join(configs)} and the command line") from error
    resume = _checkpoint(cli)
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=resume, weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{resume}: no checkpoint of ours, it holds more than tensors and numbers") from error
    except SIGTERMException as ended:  # which would exit with status 0, as if the weights were there
        raise _ended(cli, signal.SIGTERM) from ended
    except SystemExit as ended:  # Lightning's answer to Ctrl-C, with status 1
        if cli.trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        raise _ended(cli, signal.SIGINT) from ended
    return 0


def _checkpoint(cli: StageCLI) -> str | None:
    """What to go on from. Raises FileNotFoundError where it is not there, FileExistsError where a run would be lost."""
    out, resume = Path(cli.config.out), cli.config.resume
    last = out / "checkpoints" / "last.ckpt"
    if resume == AUTO:
        return str(last) if last.is_file() else None
    if resume is not None and not Path(resume).is_file():
        raise FileNotFoundError(f"{resume}: no such checkpoint to resume from")
    if resume is None and last.is_file():
        raise FileExistsError(f"{out} holds a run: go on with it by --resume {AUTO}, or name another folder for --out")
    return resume


def _ended(cli: StageCLI, number: signal.Signals) -> SystemExit:
    """The exit of a run that a signal ended, after a line about how to go on."""
    last = next((c.last_model_path for c in cli.trainer.checkpoint_callbacks if c.last_model_path), None)  # type: ignore[attr-defined]
    remedy = f"go on with --resume {last}" if last else "there is no checkpoint yet"
    print(f"ended by {number.name} at step {cli.trainer.global_step}, without weights; {remedy}", file=sys.stderr)
    return SystemExit(128 + number)


def _build(command: str, argv: list[str]) -> StageCLI:
    """Stage, data and trainer from the settings. Raises ArgumentError for settings that there are not."""
    stage, data, _ = TRAINING[command]
    with warnings.catch_warnings():
        # Lightning suspects a script that forgot its command line, and calls names that jsonargparse 5 will drop.
        warnings.filterwarnings("ignore", module="lightning.pytorch.cli")
        return StageCLI(
            stage,
            data,
            args=argv,
            run=False,
            parser_kwargs={"prog": f"jdap {command}", "exit_on_error": False},
            trainer_defaults={"callbacks": RandomStates()},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
        )
