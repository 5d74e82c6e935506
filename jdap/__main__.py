"""``jdap COMMAND …``, or ``python -m jdap COMMAND …``; ``jdap COMMAND --help`` lists every setting."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jdap.commands.dispatch import Command, run_program

COMMANDS = {
    "depth": Command("jdap.commands.depth", "depth of the heads in photos"),
    "generate": Command("jdap.commands.generate", "new portraits of a person in a photo, with their depth"),
    "edit": Command("jdap.commands.edit", "parts of a head in a photo made anew, by a mask"),
    "relight": Command("jdap.commands.relight", "heads in photos in other light"),
    "pose": Command("jdap.commands.pose", "heads in photos with another expression, turned"),
    "export": Command("jdap.commands.export", "heads in photos and videos as meshes, points, normal maps and RGB-D"),
    "talk": Command("jdap.commands.talk", "a portrait that says what is in a sound file, as video, with its depth"),
    "app": Command("jdap.commands.app", "a page in the browser: depth, a mesh, other light, expressions, talking"),
    "train-image": Command("jdap.commands.runs", "train the joint RGB-depth model", reads_yaml=True),
    "train-video": Command("jdap.commands.runs", "train a portrait that talks, on an image model", reads_yaml=True),
    "train-depth": Command(
        "jdap.commands.runs", "fine-tune an image model to depth in one step, through the decoder", reads_yaml=True
    ),
    "train-codec": Command("jdap.commands.runs", "train the image codec of preset tiny", reads_yaml=True),
    "validate": Command("jdap.commands.runs", "score weights or a checkpoint on validation shards", reads_yaml=True),
    "test": Command("jdap.commands.runs", "score weights or a checkpoint on test shards", reads_yaml=True),
    "cache-latents": Command(
        "jdap.commands.cache_latents", "encode shards of pictures once, to train on their latents"
    ),
    "pack": Command("jdap.commands.pack", "make a weights folder ready to be handed on"),
    "info": Command("jdap.commands.info", "what a weights folder or a folder of shards holds"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    return run_program("jdap", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
