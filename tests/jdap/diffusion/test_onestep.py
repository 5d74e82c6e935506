import pytest
import torch

from jdap.diffusion.denoiser import JointDenoiser, Pair
from jdap.diffusion.onestep import depth_start, from_head, one_step_depth
from jdap.diffusion.samplers import ddim
from jdap.diffusion.schedule import NoiseSchedule


def network(z_rgb, z_depth, t_rgb, t_depth):
    """Depends on all of its inputs."""
    scale = (1 + 0.001 * t_depth - 0.01 * t_rgb)[:, None, None, None]
    return z_depth.tanh(), scale * (z_rgb.sin() + 0.5 * z_depth)


def test_from_noise_it_is_ddim_of_one_step_with_rgb_known():
    denoiser = JointDenoiser(NoiseSchedule())
    rgb, start = torch.randn(2, 3, 3, 4, 4)
    drawn = ddim(denoiser, network, Pair(start, start), known_rgb=rgb, steps=1)
    assert torch.equal(one_step_depth(denoiser, network, rgb, start), drawn.depth)


def test_gradients_flow_through_it():
    rgb = torch.randn(2, 3, 4, 4, requires_grad=True)
    one_step_depth(JointDenoiser(NoiseSchedule()), network, rgb, torch.zeros_like(rgb)).sum().backward()
    # at the last timestep the clean half is −v, and t_rgb is 0
    assert torch.allclose(rgb.grad, -(1 + 0.999) * rgb.detach().cos(), atol=1e-5)


def test_starts():
    like = torch.ones(2, 3, 4, 4)
    assert torch.equal(depth_start("zeros", like), torch.zeros_like(like))
    one, two = (depth_start("noise", like, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.std() > 0.5
    with pytest.raises(ValueError, match="'ones'"):
        depth_start("ones", like)


def test_a_head_stands_where_it_is_mostly_signal():
    denoiser, (rgb, head) = JointDenoiser(NoiseSchedule()), torch.randn(2, 2, 3, 4, 4)
    seen = []

    def watched(*given):
        seen.append(given)
        return network(*given)

    found = from_head(denoiser, watched, rgb, head)
    _, z, t_rgb, t_depth = seen[0]
    assert t_rgb.tolist() == [0, 0]
    assert t_depth.tolist() == [400, 400]
    share = denoiser.schedule.alpha_bar[400].sqrt()
    assert torch.allclose(z, share * head)
    _, v = network(*seen[0])
    assert torch.allclose(found, share * z - (1 - share**2).sqrt() * v, atol=1e-6)
