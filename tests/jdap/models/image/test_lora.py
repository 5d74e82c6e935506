"""LoRA trains by itself, changes nothing at first, and is gone once it is merged."""

import sys

import pytest
import torch
from networks import latents, networks, timesteps

from jdap.models.image.lora import LoraError, add_lora, merge_lora
from jdap.stages.parts.networks import freeze_unasked


def adapted(rank: int = 4):
    joint, reference = networks()
    for network in (joint, reference):
        freeze_unasked(network)
        add_lora(network, rank)
    return joint, reference


def answer(joint, reference) -> torch.Tensor:
    rgb, depth, person = latents()
    return torch.cat(joint(rgb, depth, *timesteps(), joint.project_reference(reference(person))))


def stir(*models) -> None:
    """Adapters that say something: B is zero at first."""
    for model in models:
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(weight, std=0.3)


def test_at_first_it_changes_nothing():
    with torch.no_grad():
        assert torch.equal(answer(*adapted()), answer(*networks()))


def test_adapters_and_nothing_else_get_gradients():
    joint, reference = adapted()
    stir(joint, reference)
    answer(joint, reference).square().mean().backward()
    for network in (joint, reference):
        trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
        assert trained
        assert all(".lora_A." in name or ".lora_B." in name for name in trained)
        for name, weight in network.named_parameters():
            assert (weight.grad is not None) == (name in trained), name
            assert weight.grad is None or weight.grad.abs().max() > 0, name


def test_merged_it_answers_as_before_and_is_a_plain_network():
    joint, reference = adapted()
    stir(joint, reference)
    plain, (fresh, _) = networks(), networks()
    with torch.no_grad():
        before = answer(joint, reference)
        for network in (joint, reference):
            merge_lora(network)
        assert torch.allclose(answer(joint, reference), before, atol=1e-5)
        assert not torch.allclose(before, answer(*plain), atol=1e-2)
    for ours, theirs in zip((joint, reference), plain, strict=True):
        theirs.load_state_dict(ours.state_dict())
    merge_lora(fresh)  # there is nothing to merge


def test_what_cannot_be_is_told(monkeypatch):
    joint, _ = networks()
    with pytest.raises(ValueError, match=r"model.lora_rank -1"):
        add_lora(joint, -1)
    with pytest.raises(ValueError, match="attention that trains"):
        add_lora(joint.requires_grad_(False), 4)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LoraError, match=r"pip install 'jdap\[lora\]'"):
        add_lora(joint, 4)
