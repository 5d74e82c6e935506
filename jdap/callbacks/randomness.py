"""What a run draws by chance goes on after a resume, and a validation does not move it."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor


class RandomStates(L.Callback):
    """Keeps the generators of torch (CPU, and this process's CUDA device), NumPy and Python in the checkpoint.

    Every process has its own: the checkpoint holds those of all, as bytes (processes, N). They are put back when
    training starts, after everything that only a start draws. A run on another number of processes has no use for them:
    a warning says that its draws start anew. Before a validation they are kept and after it put back, so a run draws
    the same however often it validates.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] | None = None
        self._resumed: dict[str, Tensor] | None = None

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the states of all processes. Lightning calls it on each of them."""
        gather, device = trainer.strategy.all_gather, trainer.strategy.root_device
        checkpoint[type(self).__name__] = {
            name: gather(state.to(device)).reshape(-1, *state.shape).cpu() for name, state in states(device).items()
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take this process's states out of the checkpoint."""
        stored = checkpoint.get(type(self).__name__, {})
        if stored and all(len(state) == trainer.world_size for state in stored.values()):
            self._resumed = {name: state[trainer.global_rank] for name, state in stored.items()}
        else:
            rank_zero_warn(
                "the checkpoint holds no states of random generators for this number of processes: draws start anew"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put back what the checkpoint held."""
        if self._resumed is not None:
            put(self._resumed, trainer.strategy.root_device)
            self._resumed = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the states."""
        self._kept = states(trainer.strategy.root_device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them back."""
        if self._kept is not None:
            put(self._kept, trainer.strategy.root_device)
            self._kept = None


def states(device: torch.device) -> dict[str, Tensor]:
    """The states of all generators as bytes; of CUDA's where ``device`` is one."""
    _, numpy_state, *numpy_rest = np.random.get_state()
    version, python_state, gauss = random.getstate()
    python_rest = [version, np.nan if gauss is None else gauss]
    found = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.array(numpy_state)).view(torch.uint8).clone(),
        "numpy_rest": torch.tensor(numpy_rest, dtype=torch.float64).view(torch.uint8),
        "python": torch.tensor(python_state).view(torch.uint8),
        "python_rest": torch.tensor(python_rest, dtype=torch.float64).view(torch.uint8),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def put(found: dict[str, Tensor], device: torch.device) -> None:
    """The inverse of :func:`states`."""
    # torch reads past a state that is a part of another tensor, and crashes (2.13)
    found = {name: state.clone() for name, state in found.items()}
    torch.set_rng_state(found["torch"])
    position, has_gauss, gauss = found["numpy_rest"].view(torch.float64).tolist()
    words = found["numpy"].numpy().view(np.uint32)
    np.random.set_state(("MT19937", words, int(position), int(has_gauss), gauss))
    version, gauss = found["python_rest"].view(torch.float64).tolist()
    python_words = tuple(found["python"].view(torch.int64).tolist())
    random.setstate((int(version), python_words, None if np.isnan(gauss) else gauss))
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"], device)
