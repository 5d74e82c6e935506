import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap.diffusion.schedule import NoiseSchedule, min_snr_weight
from jdap.diffusion.timesteps import KNOWN, TimestepLaw


def reference_alpha_bar(t: int = 1000, start: float = 0.00085, end: float = 0.012) -> np.ndarray:
    """Algorithm 1 of arXiv 2305.08891 in float64, written from the paper."""
    betas = np.linspace(start**0.5, end**0.5, t) ** 2
    root = np.sqrt(np.cumprod(1 - betas))
    first, last = root[0], root[-1]
    return ((root - last) * first / (first - last)) ** 2


def test_alpha_bar_is_that_of_the_papers():
    ours = NoiseSchedule().alpha_bar
    assert ours[-1] == 0
    assert torch.all(ours[1:] < ours[:-1])
    np.testing.assert_allclose(ours.numpy(), reference_alpha_bar(), atol=2e-5)


def test_signal_and_noise_have_unit_power():
    schedule = NoiseSchedule()
    a, s = schedule.signal_noise(torch.arange(1000), torch.zeros(1000, 3, 2, 2))
    assert a.shape == (1000, 1, 1, 1)
    assert torch.allclose(a**2 + s**2, torch.ones_like(a), atol=1e-6)


def test_spacing_is_trailing():
    schedule = NoiseSchedule()
    assert schedule.spaced(1) == [999]
    assert schedule.spaced(4) == [999, 749, 499, 249]
    scheduler = schedule.scheduler()
    for steps in (1, 4, 20, 50):
        scheduler.set_timesteps(steps)
        assert schedule.spaced(steps) == scheduler.timesteps.tolist()
    with pytest.raises(ValueError, match="1 … 1000"):
        schedule.spaced(0)


@pytest.mark.parametrize("spacing", ["trailing", "log_snr"])
def test_a_stored_scheduler_gives_the_schedule_back(tmp_path, spacing):
    schedule = NoiseSchedule(beta_end=0.011, spacing=spacing)
    schedule.scheduler().save_pretrained(tmp_path)
    assert NoiseSchedule.from_scheduler(DDIMScheduler.from_pretrained(tmp_path)) == schedule
    with pytest.raises(ValueError, match="prediction_type='epsilon'"):
        NoiseSchedule.from_scheduler(DDIMScheduler.from_pretrained(tmp_path, prediction_type="epsilon"))


def test_min_snr_weight_does_not_vanish_at_zero_snr():
    snr = torch.tensor([0.0, 1.0, 4.0, 99.0])
    assert torch.allclose(min_snr_weight(snr, 5.0), torch.tensor([1.0, 1.0, 1.0, 0.05]))


def test_the_law_of_timesteps_has_its_shares():
    law = TimestepLaw(terminal=0.25)
    pairs = [law.draw(16, 1000, torch.Generator().manual_seed(i)) for i in range(400)]
    t_rgb, t_depth = (torch.stack([p[i] for p in pairs]) for i in range(2))
    joint = t_rgb == t_depth
    assert abs(joint.float().mean() - 0.5) < 0.01
    image_to_depth, depth_to_image = ~joint & (t_rgb < t_depth), ~joint & (t_depth < t_rgb)
    # the few draws whose drawn half is less noisy than its nearly clean one fall on the wrong side
    assert abs(image_to_depth.float().mean() - 0.25) < 0.02
    assert abs(depth_to_image.float().mean() - 0.25) < 0.02
    # stratified: every batch has its share
    assert ((image_to_depth.sum(1) - 4).abs() <= 2).all()
    assert abs((t_rgb[joint] == 999).float().mean() - 0.25) < 0.03
    given = t_rgb[image_to_depth]
    assert given.max() < 50
    assert 0.4 < (given == KNOWN).float().mean() < 0.6


def test_the_law_is_seeded_and_checked():
    a, b = (TimestepLaw().draw(8, 1000, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    with pytest.raises(ValueError, match="shares"):
        TimestepLaw(image_to_depth=0.8, depth_to_image=0.3)
