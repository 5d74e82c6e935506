"""A pipeline of preparation that says which GPU it sees, for tests of who gets which."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from data_prep.clips.steps.pipeline import Task


@dataclass(frozen=True)
class OnGpu:
    """Its settings; no video is done before ``together`` processes have begun."""

    together: int
    device: str = "cuda"
    thresholds: dict[str, tuple[float, float]] = field(default_factory=dict)


def make(settings: OnGpu) -> Callable[[Task], list[dict]]:
    """Turns every video down: ``PROCESS sees GPU NUMBER``."""

    def work(task: Task) -> list[dict]:
        (task.path.parent / f"begun-{os.getpid()}").touch()
        until = time.monotonic() + 60
        while len(list(task.path.parent.glob("begun-*"))) < settings.together and time.monotonic() < until:
            time.sleep(0.05)
        row = {"source": str(task.path), "clip_id": task.base_id, "frames": 0, "scores": {}, "seconds": {}}
        return [row | {"status": "rejected", "reason": f"{os.getpid()} sees GPU {os.environ['CUDA_VISIBLE_DEVICES']}"}]

    return work
