"""Where networks run."""

from __future__ import annotations

import torch


class DeviceError(ValueError):
    """A device that is not there; the message is one line."""


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_device(name: str) -> torch.device:
    """The device that ``--device`` names (``cpu``, ``cuda``, ``cuda:1``). Raises :class:`DeviceError`."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"--device {name}: not available here: {str(error).splitlines()[0]}") from error
    return device
