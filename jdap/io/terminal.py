"""Printing on any terminal."""

from __future__ import annotations

import sys


def print_anything() -> None:
    """Let printing never fail for its characters: a terminal of ASCII, a file's name that is no UTF-8.

    What standard output cannot show is written as a backslash and its number, as standard error always does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not so where something stands for it
            stream.reconfigure(errors="backslashreplace")
