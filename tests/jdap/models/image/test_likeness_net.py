"""The network that betters RGB by a moved reference: what it starts from, and what is stored."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jdap.models.image.likeness_net import LikenessNet
from jdap.models.loading import WeightsError, load_strict


def new() -> LikenessNet:
    torch.manual_seed(0)
    return LikenessNet(3, width=16, deep=24, blocks=1).eval()


def given() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = [torch.randn(2, 3, 8, 8, generator=generator) for _ in range(4)]
    noisy, clean, moved, depth = latents
    return [noisy, clean, moved, torch.rand(2, 2, 8, 8, generator=generator), depth, torch.tensor([-2.0, 1.0])]


@torch.inference_mode()
def test_untrained_it_answers_the_unet_and_a_little_of_what_is_shown() -> None:
    noisy, clean, moved, seen, depth, log_snr = given()
    share = seen[:, 1:] / (1 + torch.e**3)
    torch.testing.assert_close(new()(noisy, clean, moved, seen, depth, log_snr), clean + share * (moved - clean))
    assert torch.equal(new()(noisy, clean, moved, torch.zeros_like(seen), depth, log_snr), clean)


def test_it_learns_to_take_over_what_the_reference_shows() -> None:
    net, (noisy, clean, moved, seen, depth, log_snr) = new().train(), given()
    target = torch.lerp(clean, moved, seen[:, 1:])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    errors = []
    for _ in range(60):
        error = (net(noisy, clean, moved, seen, depth, log_snr) - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.3 * errors[0]


@torch.inference_mode()
def test_how_noisy_it_is_counts_once_it_has_trained() -> None:
    net, (noisy, clean, moved, seen, depth, log_snr) = new(), given()
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    one, other = (net(noisy, clean, moved, seen, depth, snr) for snr in (log_snr, log_snr + 1))
    assert (one - other).abs().max() > 1e-3


def test_it_is_stored_whole_and_refused_otherwise(tmp_path: Path) -> None:
    net = new()
    net.save_pretrained(tmp_path)
    again = load_strict(LikenessNet, tmp_path)
    with torch.inference_mode():
        assert torch.equal(again(*given()), net(*given()))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_strict(LikenessNet, tmp_path)
