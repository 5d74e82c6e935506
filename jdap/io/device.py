"""Where networks run."""

from __future__ import annotations

import sys
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


def bfloat16_note(device: torch.device) -> str | None:
    """A line about bfloat16 on a CPU that has to emulate it; None elsewhere, and where an older torch cannot say."""
    import torch

    asked = getattr(torch.cpu, "get_capabilities", None)
    if device.type != "cpu" or asked is None:
        return None
    can = asked()
    if any(can.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")):  # Intel, both, ARM
        return None
    return f"note: {can.get('cpu_name', 'this CPU')} only emulates bfloat16: float32 is several times as fast"


def tell_of_bfloat16(precision: str, device: torch.device) -> None:
    """Say :func:`bfloat16_note` where ``precision``, a type or one of Lightning's words, asks for bfloat16."""
    if precision in ("bfloat16", "bf16-mixed") and (note := bfloat16_note(device)):
        print(note, file=sys.stderr)
