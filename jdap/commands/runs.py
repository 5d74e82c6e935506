"""The commands that read YAML files: what their ``--help`` says. The work is in ``train`` and ``evaluate``.

To list every setting takes all that training takes, and seconds to import it: ``--help-all`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from jdap.configs import CONFIGS, DEFAULTS, presets

HELP_ALL = "--help-all"
#: Command → what its help says of it.
TRAINING_DOES = {
    "train-image": "Train the joint RGB-depth model.",
    "train-depth": "Fine-tune an image model to depth in one step, through the decoder.",
    "train-video": "Train a portrait that talks, on an image model.",
    "train-codec": "Train the image codec of preset tiny.",
}
EVALUATION = {
    "validate": ("val", "Score weights or a checkpoint on the validation shards, as their training would."),
    "test": ("test", "Score weights or a checkpoint on the test shards, as a validation would."),
}

_TRAINING_HELP = """\
usage: jdap {command} [--config FILE …] [--out DIR] [--resume FILE] [--KEY VALUE …]

{does}

  --config FILE     YAML file of settings, or one below by its name; of several the later wins, the command line over
                    all (default: {config})
  --out DIR         folder of the run: logs, checkpoints, weights
  --resume FILE     checkpoint to go on from; auto: the last one under --out, or the start where there is none
  --model.X VALUE   setting X of the model; --data.X and --trainer.X alike
  --print_config    print all settings as YAML, and do nothing
  --help-all        list every setting and what it means; takes some seconds

configs that ship, in {folder}:
  {configs}
"""
_EVALUATION_HELP = """\
usage: jdap {command} WEIGHTS [--config FILE …] [--data.{split} SHARDS] [--KEY VALUE …]

{does}

  WEIGHTS           weights folder, shipped:NAME, or a checkpoint (.ckpt), which is scored by its averaged weights
  --config FILE     YAML file of the data's settings, or a preset's name (default: tiny of the weights' kind)
  --data.{split} SHARDS  folder, pattern or URL of shards to score on
  --data.X VALUE    setting X of the data; --model.X and --trainer.X alike
  --print_config    print all settings as YAML, and do nothing
"""


def main(command: str, words: Sequence[str]) -> int:
    """Run a command that reads YAML files; returns the exit status."""
    if command in EVALUATION:
        split, does = EVALUATION[command]
        if not words or "-h" in words or "--help" in words:
            print(_EVALUATION_HELP.format(command=command, does=does, split=split), end="")
            return 0 if words else 2
        from jdap.commands.evaluate import evaluate

        return evaluate(words[0], split, words[1:])
    if "-h" in words or "--help" in words:
        names = "\n  ".join(presets())
        told = {"command": command, "does": TRAINING_DOES[command], "config": DEFAULTS[command]}
        print(_TRAINING_HELP.format(**told, folder=CONFIGS, configs=names), end="")
        return 0
    from jdap.commands.train import train

    return train(command, ["--help" if word == HELP_ALL else word for word in words])
