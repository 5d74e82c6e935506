"""Which GPUs of a machine are this rank's: the ranks of a node share them out, and no two start with the same one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import torch


def local_rank(environment: Mapping[str, str]) -> tuple[int, int]:
    """(which rank of its node this is, how many there are; 0 = nobody says), from torchrun's variables or SLURM's."""
    rank = _number(environment.get("LOCAL_RANK") or environment.get("SLURM_LOCALID"))
    if rank is None:
        return 0, 0
    for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        # "8(x4),3": of several nodes, the first one's
        world = _number(re.split(r"[(,]", environment.get(name, ""))[0])
        if world and world > rank:
            return rank, world
    return rank, 0


def my_gpus(gpus: Sequence[str], rank: int, world: int) -> list[str]:
    """The GPUs of rank ``rank`` of ``world`` on this node: its share, or one of them where there are more ranks.

    Ranks of an unknown number begin with different ones and take all, in turns.
    """
    if not gpus:
        return []
    if not world:
        return [*gpus[rank % len(gpus) :], *gpus[: rank % len(gpus)]]
    return list(gpus[rank::world]) or [gpus[rank % len(gpus)]]


def find_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where there is a single one."""
    if torch.cuda.device_count() < 2:
        return []
    named = environment.get("CUDA_VISIBLE_DEVICES", "")
    gpus = named.split(",") if named else [str(k) for k in range(torch.cuda.device_count())]
    return my_gpus(gpus, *local_rank(environment))


def least_used(gpus: Sequence[str], used: Sequence[str | None]) -> str | None:
    """The GPU that the fewest workers have, the first of them; None where there is none to choose."""
    return min(gpus, key=used.count, default=None)


def take_gpu(gpu: str) -> None:
    """Have this process see one GPU only; it must not have asked for any yet."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def use_gpu(gpu: str) -> None:
    """Have this process work on one of the GPUs that it sees: once CUDA was asked, it does not look at the environment
    again."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = named.split(",") if named else [str(k) for k in range(torch.cuda.device_count())]
    if torch.cuda.is_available():
        torch.cuda.set_device(visible.index(gpu))
    take_gpu(gpu)  # for what it starts


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
