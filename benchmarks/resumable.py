"""A training loop of a benchmark that goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from benchmarks import BenchmarkError


class Resumable:
    """What a loop is made of (``parts``: networks, optimiser, schedule), kept in the file ``path`` and read from there.

    ``begun_with`` says what must be the same for the loop to go on; ``done`` counts steps, ``spent`` is the processor
    seconds of all runs together. Raises :class:`benchmarks.BenchmarkError` for a file that was begun with other things.
    """

    def __init__(self, path: Path, begun_with: dict[str, int], **parts: Any) -> None:
        self.path, self.begun_with, self.parts = path, begun_with, parts
        self.done, self._before = 0, 0.0
        if path.is_file():
            kept: dict[str, Any] = torch.load(path, weights_only=True)
            if kept.get("begun_with") != begun_with:
                raise BenchmarkError(f"{path}: begun with {kept.get('begun_with')}, not {begun_with}: delete it first")
            for name, part in parts.items():
                part.load_state_dict(kept[name])
            self.done, self._before = kept["done"], kept["spent"]
        self._began, self._began_cpu = time.monotonic(), time.process_time()

    @property
    def spent(self) -> float:
        """Processor seconds."""
        return self._before + time.process_time() - self._began_cpu

    def goes_on(self, steps: int, seconds: float) -> bool:
        """Whether there are steps to do, and time for them in this run."""
        return self.done < steps and time.monotonic() - self._began < seconds

    def keep(self) -> None:
        """Write the file, whole or not at all."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        part = self.path.with_suffix(".part")
        torch.save(state | {"begun_with": self.begun_with, "done": self.done, "spent": self.spent}, part)
        part.replace(self.path)

    def learn(
        self,
        loss_of: Callable[[Generator], Tensor],
        share: Callable[[int], float],
        steps: int,
        seconds: float,
        *,
        seed: int,
        keep_every: int,
        on_step: Callable[[int, float], None],
    ) -> None:
        """Train the part ``net`` until ``steps`` are done or ``seconds`` have passed, and keep it.

        What a step sees follows from the seed and the step, by the generator that ``loss_of`` gets. After each the part
        ``mean`` goes to the network by the ``share`` for so many steps done, and ``on_step`` is told.
        """
        net, mean, optimizer, schedule = (self.parts[name] for name in ("net", "mean", "optimizer", "schedule"))
        while self.goes_on(steps, seconds):
            loss = loss_of(Generator().manual_seed(seed * 1_000_003 + self.done))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            self.done += 1
            _average(mean, net, share(self.done))
            on_step(self.done, float(loss.detach()))
            if self.done % keep_every == 0:
                self.keep()
        self.keep()


@torch.no_grad()
def _average(mean: nn.Module, net: nn.Module, share: float) -> None:
    """Move the averaged network by a share towards the one that learns, running statistics included."""
    for old, new in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)
