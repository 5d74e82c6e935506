"""Who a run is, by a name that tells other runs, on this machine or elsewhere, whether it still lives."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path


def new_owner() -> str:
    """A name for this run: host, machine, process, when that began, and a few random letters."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40]
    return f"{host}_{machine()}_{os.getpid()}_{_began(os.getpid())}_{secrets.token_hex(3)}"


def lives(owner: str) -> bool | None:
    """Whether a run is alive; None where it is of another machine (or container), so that one cannot tell."""
    parts = owner.split("_")
    if len(parts) != 5 or parts[1] != machine() or not parts[2].isdecimal():
        return None
    return bool(_began(int(parts[2]))) and str(_began(int(parts[2]))) == parts[3]


def machine() -> str:
    """This boot of this machine and, in containers, their own numbering of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().split("-")[0]
        return f"{boot}{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:  # no Linux
        return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())


def _began(pid: int) -> int:
    """When a process began, in ticks since the boot; 0 where there is none, 1 where only that it is there is known."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, ValueError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    except OSError:
        return 1
    return 1
