"""Whose fault an error is: the video's, which makes its row, or the machine's, which never does.

A machine's fault (no memory on the GPU or off it, a CUDA context that broke, a storage that does not answer, a full
disk) says nothing of the video that met it: the engine tries the video again elsewhere, and leaves it to the next run
where that does not help.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

import torch

from data_prep.machine.retry import storage_fault
from data_prep.machine.watchdog import beat

#: Of a row that is not final: the machine's fault, or a bug of ours. ``prepare --retry failed`` makes both again.
MACHINE, BUG = "machine", "bug"
#: What RuntimeErrors of torch say that speak of the machine. They have no classes of their own in every version.
_SIGNS = (
    *("CUDA error", "CUDA out of memory", "CUDA driver", "cuDNN error", "CUBLAS_STATUS", "CUSOLVER_STATUS"),
    *("cusolver error", "CUSPARSE_STATUS", "NCCL error", "No CUDA GPUs are available", "can't allocate memory"),
    *("not enough memory", "no NVIDIA driver", "HIP error", "Cannot allocate memory", "can't start new thread"),
)
#: Bytes that are read at a time to see whether a file can be.
_BLOCK = 1 << 24
_KINDS: tuple[type[BaseException], ...] = (MemoryError, torch.OutOfMemoryError)


class MachineFault(RuntimeError):
    """A fault of this machine; the process that met it is not to be trusted with another video."""


def not_the_videos(error: BaseException, path: Path | None = None) -> OSError | MachineFault | None:
    """The machine's fault behind an exception, to be raised in its place; None where the video or a bug is to blame.

    An OSError is one of the storage's, which may pass, or a full disk. FFmpeg says "Input/output error" of damaged
    contents, too: where the file at ``path`` can be read from end to end, it is damaged.
    """
    if fault := storage_fault(error):
        damaged = fault.errno == errno.EIO and path is not None and _can_be_read(path)
        return None if damaged else fault
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MachineFault):
            return cause
        if isinstance(cause, _KINDS) or (isinstance(cause, RuntimeError) and any(s in str(cause) for s in _SIGNS)):
            return MachineFault(" ".join(f"{type(cause).__name__}: {cause}".split())[:200].rstrip(": "))
        cause = cause.__cause__
    return None


def is_forbidden(error: BaseException | None) -> bool:
    """Whether rights that lack are behind an exception: they may be given."""
    while error is not None:
        if isinstance(error, PermissionError):
            return True
        error = error.__cause__
    return False


def _can_be_read(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as file:
            while file.read(_BLOCK):
                beat()
    except OSError:
        return False
    return True


def is_open(row: dict[str, Any]) -> bool:
    """Whether a row speaks of a machine's fault or a bug, not of its video: another run may do better."""
    return "fault" in row


def told(error: BaseException) -> tuple[str, str]:
    """(reason, details) of a bug of ours, as a row has them."""
    return f"{type(error).__name__}: {error}", traceback.format_exc()
