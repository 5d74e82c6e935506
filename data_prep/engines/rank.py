"""Which part of the plan is this process's: rank r of w does the units whose number leaves r when divided by w."""

from __future__ import annotations

from collections.abc import Mapping

from data_prep.engines.plan import PrepareError


def which_rank(rank: int | None, world: int | None, environment: Mapping[str, str]) -> tuple[int, int, str]:
    """(rank, world size, where they come from).

    The options win; then a SLURM array (``SLURM_ARRAY_TASK_ID``, its tasks, if each has several, counted through), then
    a SLURM step (``SLURM_PROCID``, ``SLURM_NTASKS``), then ``RANK`` and ``WORLD_SIZE``; else 0 of 1. Raises
    :class:`PrepareError` where the numbers make no sense.
    """
    if (rank is None) != (world is None):
        raise PrepareError("--rank and --world-size go together: give both or none")
    if rank is not None and world is not None:
        return *_checked(rank, world, "the options"), "the options"
    step = (0, 1)
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        step = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS")
    if "SLURM_ARRAY_TASK_ID" in environment and "SLURM_ARRAY_TASK_COUNT" in environment:
        first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
        stride = max(_number(environment, "SLURM_ARRAY_TASK_STEP", 1), 1)
        index, count = (
            _number(environment, "SLURM_ARRAY_TASK_ID") - first,
            _number(environment, "SLURM_ARRAY_TASK_COUNT"),
        )
        source = "SLURM_ARRAY_TASK_ID"
        index, rest = divmod(index, stride)
        if rest or not 0 <= index < count:
            raise PrepareError(
                "the SLURM array has gaps, so SLURM_ARRAY_TASK_ID is no rank: use --array=0-N, or give --rank and "
                "--world-size"
            )
        return *_checked(index * step[1] + step[0], count * step[1], source), source
    if step[1] > 1:
        return *_checked(*step, "SLURM_PROCID"), "SLURM_PROCID"
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return *_checked(_number(environment, "RANK"), _number(environment, "WORLD_SIZE"), "RANK"), "RANK"
    return 0, 1, ""


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    if default is not None and name not in environment:
        return default
    try:
        return int(environment[name])
    except ValueError as error:
        raise PrepareError(f"{name}={environment[name]} is no whole number: unset it, or give --rank") from error


def _checked(rank: int, world: int, source: str) -> tuple[int, int]:
    if world < 1 or not 0 <= rank < world:
        raise PrepareError(f"rank {rank} of {world} (from {source}): a rank is from 0 to the world size less one")
    return rank, world
