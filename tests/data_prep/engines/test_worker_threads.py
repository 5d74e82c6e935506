"""A worker computes with one thread, BLAS included: threads of several workers would keep each other from the cores."""

from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info

from data_prep.clips.steps import PrepareSettings
from data_prep.clips.steps.pipeline import make_pipeline
from data_prep.engines.studio import StudioSettings, make
from data_prep.photos.prepare import make_people
from data_prep.photos.settings import PhotoSettings
from data_prep.studio.people import PersonJob

JOB = PersonJob(seed=0, frames=1, size=32)


def threads_of(build: Callable[[Any], Any], settings: Any) -> tuple[int, dict[str, int]]:
    build(settings)
    return torch.get_num_threads(), {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


@pytest.mark.parametrize(
    ("build", "settings"),
    [(make_pipeline, PrepareSettings()), (make_people, PhotoSettings()), (make, StudioSettings(JOB, "cpu"))],
    ids=["videos", "photos", "studio"],
)
def test_a_worker_computes_with_one_thread(assets, monkeypatch, build, settings):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    with get_context("spawn").Pool(1) as pool:
        torchs, pools = pool.apply(threads_of, (build, settings))
    assert torchs == 1
    assert any("openblas" in path or "mkl" in path for path in pools)
    assert set(pools.values()) == {1}, pools
