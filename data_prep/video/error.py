"""What is raised for a file that cannot be read as a video."""

from __future__ import annotations


class UnreadableVideo(ValueError):
    """A file that cannot be read as a video; the message names it and what to do, on one line."""
