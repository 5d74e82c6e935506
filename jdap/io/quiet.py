"""What libraries say that tells a user nothing stays unsaid. The one home of it; ``JDAP_VERBOSE=1`` lets all be heard.

Each line that is left out is named here by its own words: whatever is not, ours and theirs, is told as ever.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

VERBOSE_ENVIRONMENT = "JDAP_VERBOSE"
#: Beginnings of warnings, as regular expressions.
WARNINGS = (
    # torch's deprecations, by the code of Lightning
    r".*treespec.*is deprecated",
    r".*LeafSpec.*is deprecated",
    # Lightning's advice: what it advises is set as it is on purpose, or is told by ourselves
    r"Found \d+ module\(s\) in eval mode",
    r"The '\w+' does not have many workers",
    r"Checkpoint directory .* exists and is not empty",
)
#: Lines of Lightning's log.
LOG_LINES = (
    r"💡 Tip",
    r"(GPU|TPU|HPU) available: ",
    r"Seed set to ",
    r"`Trainer\.fit` stopped: `max_(steps|epochs)=",
    r"LOCAL_RANK: ",
)
#: Lines that mediapipe and its libraries write to stderr past Python.
NATIVE_LINES = (
    r"WARNING: (All log messages before absl::InitializeLog|Logging before InitGoogle)",
    r"I0000 ",
    r"W0000 .*(face_landmarker_graph|inference_feedback_manager|landmark_projection_calculator)\.cc",
    r"INFO: Created TensorFlow Lite XNNPACK delegate",
)
#: Loggers that have lines of :data:`LOG_LINES`.
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
_LOG = re.compile("|".join(LOG_LINES))
_NATIVE = re.compile("|".join(NATIVE_LINES).encode())


def verbose() -> bool:
    """Whether the user wants to hear all."""
    return os.environ.get(VERBOSE_ENVIRONMENT, "") not in ("", "0")


def hush_libraries() -> None:
    """Leave out the warnings and log lines of libraries that are listed here, in this process.

    Warnings stay as they are where Python was told what to do with them (``-W``, ``PYTHONWARNINGS``).
    """
    if verbose():
        return
    if not sys.warnoptions:
        for message in WARNINGS:
            warnings.filterwarnings("ignore", message=message)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_says_something)


def _says_something(record: logging.LogRecord) -> bool:
    return not _LOG.match(record.getMessage())


@contextmanager
def hushed_stderr() -> Iterator[None]:
    """Leave out what native libraries write to stderr meanwhile, by :data:`NATIVE_LINES`; other lines come at the end.

    It takes hold of the process's stderr, so it is for short work.
    """
    if verbose():
        yield
        return
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            told = b"".join(line for line in kept if not _NATIVE.match(line))
            if told:
                os.write(2, told)
