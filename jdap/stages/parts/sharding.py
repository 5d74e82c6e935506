"""A stage's networks sharded over processes by PyTorch's FSDP2, under Lightning's ``ModelParallelStrategy``.

Nothing is sharded by tensor parallelism, which Lightning takes for granted, so its sizes are said in a YAML::

    trainer:
      devices: 8
      strategy:
        class_path: lightning.pytorch.strategies.ModelParallelStrategy
        init_args:
          data_parallel_size: 8               # devices x nodes
          tensor_parallel_size: 1
          save_distributed_checkpoint: false  # checkpoints of one file, as elsewhere
"""

from __future__ import annotations

import copy

import lightning as L
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor


def shard(stage: L.LightningModule, mesh: DeviceMesh) -> dict[str, nn.Module]:
    """Share out the networks that train, their gradients and optimiser states, over all processes, in place.

    Residual and feed-forward blocks, most of the weights, are gathered one at a time, and the rest of all networks at
    once: the attention of a joint UNet is called from outside of its pass too, to project a reference.

    Args:
        stage: networks as its children; those without a trainable weight are left whole.
        mesh: of Lightning's strategy, with dimensions ``data_parallel`` and ``tensor_parallel``.

    Returns:
        The networks' forms by name, without weights, for :func:`whole`.

    Raises:
        ValueError: where the mesh leaves processes to tensor parallelism, which would not see each other's gradients.
    """
    processes = mesh.size()
    if mesh["data_parallel"].size() != processes:
        raise ValueError(
            f"ModelParallelStrategy: networks are sharded by data over {processes} processes, not by tensors: "
            f"set data_parallel_size to {processes} and tensor_parallel_size to 1"
        )
    trained = {n: m for n, m in stage.named_children() if any(p.requires_grad for p in m.parameters())}
    forms = {name: _form(network) for name, network in trained.items()}
    for network in trained.values():
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # FSDP2 takes no other
        for module in list(network.modules()):
            if isinstance(module, ResnetBlock2D | FeedForward):
                fully_shard(module, mesh=mesh["data_parallel"])
    frozen = {p for name, network in stage.named_children() if name not in trained for p in network.parameters()}
    fully_shard(stage, mesh=mesh["data_parallel"], ignored_params=frozen)
    register_fsdp_forward_method(stage, "training_step")
    return forms


def whole(network: nn.Module, form: nn.Module) -> nn.Module:
    """A sharded network put together on this process, a copy in the form that :func:`shard` took. All must call it.

    For whatever is no training step: each process may then run the network as often as it likes, and FSDP2, which
    expects a backward pass after every forward pass of a sharded one, knows nothing of it.
    """
    state = {n: x.full_tensor() if isinstance(x, DTensor) else x for n, x in network.state_dict().items()}
    filled = copy.deepcopy(form)
    filled.load_state_dict(state, assign=True)
    return filled.to(next(iter(state.values())).device).train(network.training)


def _form(network: nn.Module) -> nn.Module:
    """A copy with parameters that hold nothing: a module that is sharded cannot be copied any more."""
    hollow = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in network.parameters()
    }
    return copy.deepcopy(network, hollow)
