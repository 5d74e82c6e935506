"""Two processes under DDP train as one does on the same total batch, and so does one that accumulates gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes import write_fakes

from jdap.models.codec import ImageCodec


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_fakes(folder / "shards", people=4, frames=2, size_px=32)
    torch.manual_seed(0)
    ImageCodec(width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1)).save_pretrained(folder / "codec")
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[3]), str(here.parents[2])])}
    done = subprocess.run(
        [sys.executable, str(here.with_name("ranks.py")), str(folder)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return {p.stem: torch.load(p, weights_only=True) for p in sorted(folder.glob("*.pt"))}


def test_all_trained(runs):
    assert set(runs) == {"alone.0", "whole.0", "accumulated.0", "ddp.0", "ddp.1"}


@pytest.mark.parametrize(("one", "other"), [("whole.0", "accumulated.0"), ("alone.0", "ddp.0")])
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


def test_the_mean_loss_over_processes_is_that_of_one(runs):
    alone = runs["alone.0"]["losses"]
    processes = torch.stack([runs[f"ddp.{rank}"]["losses"] for rank in range(2)])
    assert not torch.allclose(processes[0], processes[1], rtol=1e-3)  # each saw samples of its own
    torch.testing.assert_close(processes.mean(0), alone, rtol=1e-4, atol=1e-6)
    assert all(
        torch.equal(a, b) for a, b in zip(*(runs[f"ddp.{r}"]["weights"].values() for r in range(2)), strict=True)
    )
