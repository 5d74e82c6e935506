"""Files of visitors: one folder for all of them, swept while the page is open and gone when it closes."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from jdap.app.limits import KEPT_S, SWEPT_S

#: Where gradio keeps what is uploaded and what it shows.
GRADIO_FOLDER = "GRADIO_TEMP_DIR"
#: Folders of results begin so.
_MADE = "made-"


class Passing:
    """A folder of its own, under the system's temporary one, for what is uploaded and made.

    Every file in it that is older than ``kept_s`` is deleted, except those that :meth:`stay` was called after (what the
    page itself shows). That is done here and not by gradio, which knows only the files that it was handed.
    """

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jdap-app-"))
        self.kept_s = kept_s
        self._staying: set[Path] = set()

    @classmethod
    @contextmanager
    def open(cls, kept_s: float = KEPT_S, swept_s: float = SWEPT_S) -> Iterator[Self]:
        """The folder, where gradio keeps its files, too, in this block; swept every ``swept_s`` seconds by a thread."""
        passing, before = cls(kept_s), os.environ.get(GRADIO_FOLDER)
        closed = threading.Event()
        thread = threading.Thread(target=passing._sweeping, args=(closed, swept_s), daemon=True)
        os.environ[GRADIO_FOLDER] = str(passing.folder)
        try:
            thread.start()
            yield passing
        finally:
            closed.set()
            thread.join()
            os.environ.pop(GRADIO_FOLDER)
            if before is not None:
                os.environ[GRADIO_FOLDER] = before
            shutil.rmtree(passing.folder, ignore_errors=True)

    def new(self) -> Path:
        """A new, empty folder for one result."""
        return Path(tempfile.mkdtemp(prefix=_MADE, dir=self.folder))

    def stay(self) -> None:
        """Never sweep what is there now."""
        self._staying = set(self.folder.rglob("*"))

    def sweep(self, now: float | None = None) -> None:
        """Delete files that are too old at the time ``now``, and folders that hold none."""
        oldest = (time.time() if now is None else now) - self.kept_s
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what lies in a folder before the folder
            try:
                if path in self._staying or path.lstat().st_mtime > oldest:
                    continue
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:  # gone already, or a folder that still holds something
                continue

    def _sweeping(self, closed: threading.Event, swept_s: float) -> None:
        while not closed.wait(swept_s):
            self.sweep()
