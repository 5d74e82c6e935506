"""Two processes with DistributedDataParallel, whose samples drop their references differently."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from networks import latents, networks, timesteps
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from jdap.stages.parts.networks import freeze_unasked

RANKS, BATCH, STEPS = 2, 2, 2
#: (step, sample): rank 0 has the first half of the samples and keeps all, then none; rank 1 the other way round.
KEEP = torch.tensor([[True, True, False, False], [False, False, True, False]])


class Loss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.joint, self.reference = networks()
        freeze_unasked(self)

    def forward(self, part: slice, step: int) -> torch.Tensor:
        rgb, depth, ref = (x[part] for x in latents(RANKS * BATCH, seed=step))
        t = (x[part] for x in timesteps(RANKS * BATCH))
        known = self.joint.project_reference(self.reference(ref))
        return torch.cat(self.joint(rgb, depth, *t, known, KEEP[step, part]), dim=1).square().mean()


def train(loss: nn.Module, part: slice) -> None:
    optimizer = torch.optim.SGD((p for p in loss.parameters() if p.requires_grad), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(part, step).backward()
        optimizer.step()


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    loss = Loss()
    wrapped = DistributedDataParallel(loss, find_unused_parameters=False, static_graph=False)
    train(wrapped, slice(rank * BATCH, (rank + 1) * BATCH))
    torch.save(loss.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_that_drop_differently_train_as_one_process_does(tmp_path):
    mp.spawn(rank_main, (str(tmp_path),), nprocs=RANKS)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS))
    alone = Loss()
    start = {name: value.clone() for name, value in alone.state_dict().items()}
    train(alone, slice(0, RANKS * BATCH))
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-5)
    moved = [name for name in start if not torch.equal(start[name], first[name])]
    assert any(name.startswith("joint.") for name in moved)
    assert any(name.startswith("reference.") for name in moved)
