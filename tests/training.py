"""What tests of training share: stills of drawn people with a codec, and a trainer that is quiet."""

from pathlib import Path
from typing import Any

import lightning as L
from fakes import write_fakes
from lightning.pytorch.callbacks import Checkpoint
from networks import write_codec


def write_stills(folder: Path, size_px: int = 32) -> Path:
    """``train`` of four people, ``val`` of two others, and an untrained ``codec`` in a folder, which is returned."""
    write_fakes(folder / "train", people=4, frames=2, size_px=size_px, seed=0)
    write_fakes(folder / "val", people=2, frames=2, size_px=size_px, seed=1)
    write_codec(folder / "codec")
    return folder


def trainer(folder: Path, steps: int, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    """For so many steps on the CPU, without bars, logs and sanity checks; checkpoints only by a callback for them."""
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        callbacks=list(callbacks),
        **quiet | settings,
    )
