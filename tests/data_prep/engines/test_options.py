"""What the command line says of who works."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import gpus
import pytest
import torch

from data_prep.clips.steps.settings import SettingsError, read_settings
from data_prep.engines.hire import Engine
from data_prep.engines.options import read_engine
from data_prep.engines.plan import PrepareError
from data_prep.engines.prepare import prepare
from data_prep.options import prepare as options


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return parser.parse_args(["x.mp4", "--out", "out", *words])


def test_the_head_of_a_ray_cluster_needs_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="sees no CUDA device"):
        read_settings(parse("--device", "cuda"))
    assert read_settings(parse("--device", "cuda", "--engine", "ray")).device == "cuda"


@pytest.mark.parametrize(
    ("words", "workers", "gpus"),
    [
        ((), 1, 0),
        (("--workers", "0"), 0, 0),
        (("--engine", "ray"), 0, 0),
        (("--engine", "ray", "--device", "cuda"), 0, 1),
        (("--engine", "ray", "--device", "cuda", "--gpus-per-worker", "0.25", "--workers", "8"), 8, 0.25),
    ],
)
def test_engines_are_read(words: tuple[str, ...], workers: int, gpus: float) -> None:
    engine, _ = read_engine(parse(*words), workers=1)
    assert (engine.workers, engine.gpus) == (workers, gpus)


@pytest.mark.parametrize(
    "words", [("--gpus-per-worker", "1"), ("--workers", "-1"), ("--video-timeout", "0"), ("--retries", "-1")]
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(PrepareError, match=words[0]):
        read_engine(parse(*words), workers=1)


@pytest.mark.slow
def test_rays_workers_share_gpus_by_fractions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four actors on a cluster that says it has two GPUs; this process has none. (A cluster starts: ten seconds.)"""
    ray = pytest.importorskip("ray")
    (tmp_path / "in").mkdir()
    for k in range(8):
        (tmp_path / "in" / f"{k}.mp4").write_bytes(bytes(k + 1))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path or os.getcwd() for path in sys.path))
    ends = signal.getsignal(signal.SIGTERM)
    ray.init("local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    signal.signal(signal.SIGTERM, ends)  # Ray's own would outlive it
    try:
        prepare([tmp_path / "in"], tmp_path / "out", gpus.OnGpu(4), Engine("ray", workers=4, gpus=0.5), make=gpus.make)
    finally:
        ray.shutdown()
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    seen = {tuple(row["reason"].split(" sees GPU ")) for row in rows}
    assert len(rows) == 8
    assert len({worker for worker, _ in seen}) == 4
    assert sorted(gpu for _, gpu in seen) == ["0", "0", "1", "1"]
