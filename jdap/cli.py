"""The command line: ``jdap COMMAND …``; ``jdap COMMAND --help`` lists every setting.

A command's modules are imported only when it is asked for: ``jdap depth`` needs no Lightning. Exit status: what the
command returns; 2 for a mistake of the user's, told in one line on stderr; 130 when interrupted. Any other
exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence

from jdap.terminal import print_anything

#: Commands that read YAML files (:mod:`jdap.train`) -> what they do.
TRAINING = {
    "train-image": "train the joint RGB-depth model",
    "train-video": "train a portrait that talks, on an image model",
    "train-depth": "fine-tune an image model to depth in one step, through the decoder",
    "train-codec": "train the image codec of preset tiny",
}
#: Other commands -> (module with ``add_arguments(parser)`` and ``run(args) -> exit status``, what they do).
COMMANDS = {
    "depth": ("jdap.photos.depth", "depth of the heads in photos"),
    "generate": ("jdap.photos.generate", "new portraits of a person in a photo, with their depth"),
    "talk": ("jdap.photos.talk", "a portrait that says what is in a sound file, as video, with its depth"),
    "cache-latents": ("jdap.cache", "encode shards of pictures once, to train on their latents"),
    "edit": ("jdap.photos.edit", "parts of a head in a photo drawn anew, by a mask"),
    "pack": ("jdap.pipelines.pack", "make a weights folder ready to be handed on"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Mistakes of the user's are told in one line."""
    print_anything()
    argv = list(sys.argv[1:] if argv is None else argv)
    does = TRAINING | {name: text for name, (_, text) in COMMANDS.items()}
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: jdap COMMAND [--help] …\n")
        for name, text in does.items():
            print(f"  {name:<14} {text}")
        return 0 if argv else 2
    command, *rest = argv
    if command not in does:
        return _fail(f"unknown command {command!r}; there are: {', '.join(does)}")
    try:
        if command in COMMANDS:
            return _run(command, rest)
        importlib.import_module("jdap.train").train(command, rest)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if not _is_users(error):
            raise
        return _fail(str(error))
    return 0


def _run(command: str, argv: list[str]) -> int:
    module = importlib.import_module(COMMANDS[command][0])
    parser = argparse.ArgumentParser(prog=f"jdap {command}")
    module.add_arguments(parser)
    return module.run(parser.parse_args(argv))


def _is_users(error: Exception) -> bool:
    """Whether the error speaks to the user: the parser's, the file system's, or one that this project raises."""
    if isinstance(error, argparse.ArgumentError | OSError) or _ours(type(error).__module__):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ValueError) and _ours(frame.f_globals["__name__"])


def _ours(module: str) -> bool:
    return module.split(".")[0] == "jdap"


def _fail(message: str, status: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status
