"""Where networks run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: ``cuda`` where there is one, else ``cpu``.
AUTO = "auto"
#: What ``--device`` says of itself.
DEVICE_HELP = f"cpu, cuda, cuda:1 … (default {AUTO}: cuda where there is one)"


class DeviceError(ValueError):
    """A device that is not there; the message is one line."""


def default_device() -> str:
    """What :data:`AUTO` means here."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_device(name: str = AUTO) -> torch.device:
    """The device that ``--device`` names (``auto``, ``cpu``, ``cuda``, ``cuda:1``). Raises :class:`DeviceError`."""
    import torch  # here, for options are offered before there is need of it

    try:
        device = torch.device(default_device() if name == AUTO else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"--device {name}: not available here: {str(error).splitlines()[0]}") from error
    return device
