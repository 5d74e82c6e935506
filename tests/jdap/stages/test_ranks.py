"""Two processes under DDP or FSDP2 train as one does on the same total batch; so does one that accumulates.

The temporal stage is held to the same, but for FSDP2.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from fakes import write_fakes
from lightning import LightningModule
from networks import write_codec
from temporal import write_image_weights
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from jdap.stages.parts.sharding import shard


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_fakes(folder / "shards", people=4, frames=2, size_px=32)
    write_codec(folder / "codec")
    write_fakes(folder / "clips", people=4, frames=8, size_px=32, fps=25.0)
    write_image_weights(folder)
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[3]), str(here.parents[2])])}
    done = subprocess.run(
        [sys.executable, str(here.with_name("ranks.py")), str(folder)],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return {p.stem: torch.load(p, weights_only=True) for p in sorted(folder.glob("*.pt"))}


@pytest.mark.slow
def test_all_trained(runs):
    modes = ["alone.0", "whole.0", "accumulated.0", "ddp.0", "ddp.1"]
    assert set(runs) == {*modes, "fsdp.0", "fsdp.1", *(f"clips-{mode}" for mode in modes)}


PAIRS = [("whole.0", "accumulated.0"), ("alone.0", "ddp.0"), ("alone.0", "fsdp.0")]
PAIRS += [("clips-whole.0", "clips-accumulated.0"), ("clips-alone.0", "clips-ddp.0")]


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("what", ["weights", "averages"])
def test_weights_and_averages_are_those_of_one_process(runs, one, other, what):
    start, alone, there = runs[one]["start"], runs[one][what], runs[other][what]
    assert alone.keys() == there.keys()
    moved = 0
    for name, x in alone.items():
        way = (x - start[name]).norm()
        moved += bool(way > 0)
        # Adam divides by gradients that may be next to nothing: single weights may differ, on the whole none does
        assert (there[name] - x).norm() <= 1e-2 * way, name
    assert moved > 100


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp", "clips-ddp"])
def test_the_mean_loss_over_processes_is_that_of_one(runs, mode):
    alone = runs["clips-alone.0" if "clips" in mode else "alone.0"]["losses"]
    processes = torch.stack([runs[f"{mode}.{rank}"]["losses"] for rank in range(2)])
    assert not torch.allclose(processes[0], processes[1], rtol=1e-3)  # each saw samples of its own
    torch.testing.assert_close(processes.mean(0), alone, rtol=1e-4, atol=1e-6)
    ends = [runs[f"{mode}.{rank}"]["end"] for rank in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(end.values() for end in ends), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["alone", "ddp", "fsdp", "clips-alone", "clips-ddp"])
def test_averages_are_exported_whole_and_states_of_the_optimiser_are_saved(runs, mode):
    run = runs[f"{mode}.0"]
    for name, x in run["averages"].items():
        assert torch.equal(run["exported"][name], x), name
        assert torch.equal(run["end"][name], x), name
    assert run["moments"] == len(run["averages"])


def test_tensor_parallelism_is_refused():
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "tensor_parallel"))
        with pytest.raises(ValueError, match=r"data_parallel_size to 2 .*tensor_parallel_size to 1"):
            shard(LightningModule(), mesh)
    finally:
        dist.destroy_process_group()
