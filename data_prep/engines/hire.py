"""The workers of the engine that was chosen."""

from __future__ import annotations

import os
from dataclasses import dataclass

from data_prep.engines.gpus import find_gpus
from data_prep.engines.local import Alone, Crew, Processes
from data_prep.engines.plan import PrepareError
from data_prep.engines.unit import WorkOrder


@dataclass(frozen=True)
class Engine:
    """Who works: ``kind`` of :data:`data_prep.choices.ENGINES`; how many ``workers`` (local: 0 = this process; ray: 0 =
    as many as there is room for); ``rank`` of ``world``, which says where in the plan this run begins; of Ray
    ``address`` and ``gpus`` a worker."""

    kind: str = "local"
    workers: int = 1
    rank: int = 0
    world: int = 1
    address: str | None = None
    gpus: float = 0.0

    @property
    def alone(self) -> bool:
        """Whether this very process works."""
        return self.kind == "local" and self.workers == 0


def hire(work: WorkOrder, engine: Engine) -> tuple[Crew, int]:
    """The engine's workers, and how many there may be: they are started when there is work for them."""
    if engine.kind == "ray":
        from data_prep.engines.ray_cluster import Actors  # an extra

        actors = Actors(work, engine.workers, engine.address, engine.gpus)
        return actors, actors.workers
    gpus = find_gpus(os.environ) if getattr(work.settings, "device", "") == "cuda" else []
    if engine.alone:
        return Alone(work, gpus), 1
    if work.place.startswith("memory://"):
        raise PrepareError("memory:// lives in one process only: use it with --workers 0")
    return Processes(work, work.scratch / "workers.log", gpus), engine.workers
