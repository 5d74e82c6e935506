import itertools

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from jdap.diffusion.schedule import LOG_SNR, NoiseSchedule, min_snr_weight
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, GIVEN_TIMESTEP, IMAGE_TO_DEPTH, JOINT, TimestepLaw


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
    stored = DDIMScheduler.from_pretrained(tmp_path)
    assert NoiseSchedule.from_scheduler(stored) == schedule
    with pytest.raises(ValueError, match="prediction_type='epsilon'"):
        NoiseSchedule.from_scheduler(DDIMScheduler.from_pretrained(tmp_path, prediction_type="epsilon"))


def test_min_snr_weight_does_not_vanish_at_zero_snr():
    snr = torch.tensor([0.0, 1.0, 4.0, 99.0])
    assert torch.allclose(min_snr_weight(snr, 5.0), torch.tensor([1.0, 1.0, 1.0, 0.05]))


@pytest.mark.parametrize("steps", range(1, 51))
def test_steps_spaced_by_the_noise_fall_strictly_from_pure_noise(steps):
    schedule = NoiseSchedule(spacing=LOG_SNR)
    times = schedule.spaced(steps)
    assert len(times) == steps
    assert times[0] == 999
    assert all(a > b for a, b in itertools.pairwise(times))
    assert times[-1] >= 0
    if steps > 1:
        # from the first on in the middles of equal parts of the range; a timestep holds .01 to .3 of the logarithm
        alpha_bar = reference_alpha_bar()[times[1:]]
        found = np.log(alpha_bar / (1 - alpha_bar))
        parts = np.linspace(-5, 3, steps)
        np.testing.assert_allclose(found, (parts[1:] + parts[:-1]) / 2, atol=0.35)


def test_a_timestep_of_a_signal_to_noise_ratio_is_the_last_that_is_no_noisier():
    schedule, wanted = NoiseSchedule(), torch.linspace(-8, 8, 321, dtype=torch.float64)
    alpha_bar = schedule.alpha_bar.double().numpy()
    for x, t in zip(wanted.tolist(), schedule.at_log_snr(wanted).tolist(), strict=True):
        no_noisier = [i for i, a in enumerate(alpha_bar) if a > 0 and np.log(a / (1 - a)) >= x]
        assert t == max(no_noisier, default=0)


def test_an_unknown_spacing_is_refused():
    with pytest.raises(ValueError, match="spacing must be"):
        NoiseSchedule(spacing="even")


def draws(law, batch=16, count=400, targets=1):
    schedule = NoiseSchedule()
    made = [law.draw(batch, schedule, torch.Generator().manual_seed(i), targets) for i in range(count)]
    return (torch.stack(x) for x in zip(*made, strict=True))


def test_the_law_of_timesteps_has_its_shares():
    t_rgb, t_depth, kind = draws(TimestepLaw(last_step_fraction=0.25, start=0.1))
    for one, share in ((JOINT, 0.5), (IMAGE_TO_DEPTH, 0.25), (DEPTH_TO_IMAGE, 0.25)):
        assert abs((kind == one).float().mean() - share) < 0.01
        # stratified: every batch has its share
        assert ((kind == one).sum(1) - 16 * share).abs().max() <= 1
    assert torch.equal(t_rgb[kind == JOINT], t_depth[kind == JOINT])
    for given, other, one in ((t_rgb, t_depth, IMAGE_TO_DEPTH), (t_depth, t_rgb, DEPTH_TO_IMAGE)):
        assert given[kind == one].max() < 50
        assert 0.4 < (given[kind == one] == GIVEN_TIMESTEP).float().mean() < 0.6
        assert other[kind == one].max() == 999
    # pure noise: where depth is drawn in one step, and where sampling starts
    for t, one, share in ((t_depth, IMAGE_TO_DEPTH, 0.25), (t_rgb, DEPTH_TO_IMAGE, 0.1), (t_rgb, JOINT, 0.1)):
        assert abs((t[kind == one] == 999).float().mean() - share) < 0.02


def test_drawn_halves_are_evenly_spread_over_the_log_of_the_signal_to_noise_ratio():
    t_rgb, _, _ = draws(TimestepLaw(image_to_depth=0.0, depth_to_image=0.0, start=0.0, low=-4.0, high=2.0))
    alpha_bar = reference_alpha_bar()[t_rgb.flatten().numpy()]
    counts, _ = np.histogram(np.log(alpha_bar / (1 - alpha_bar)), bins=np.linspace(-4, 2, 13))
    assert counts.sum() > 0.99 * t_rgb.numel()  # but for a timestep's own width at the ends
    np.testing.assert_allclose(counts / t_rgb.numel(), 1 / 12, rtol=0.12)
    uniform, _, _ = draws(TimestepLaw(image_to_depth=0.0, depth_to_image=0.0, start=0.0, density="uniform"))
    counts, _ = np.histogram(uniform.flatten().numpy(), bins=np.arange(0, 1001, 100))
    np.testing.assert_allclose(counts / uniform.numel(), 0.1, rtol=0.05)


def test_timesteps_are_stratified_over_a_batch():
    """Without any given half, one of each equal share of [0, T), in an order that has nothing to do with the kinds."""
    law = TimestepLaw(image_to_depth=0.0, depth_to_image=0.0, start=0.0, density="uniform")
    t_rgb, _, _ = draws(law, batch=20)
    assert torch.equal((t_rgb // 50).sort(dim=1).values, torch.arange(20).expand(400, 20))
    assert (t_rgb.float().mean(0) - 500).abs().max() < 75  # no place of a batch is noisier than another


def test_kinds_are_those_of_groups_that_share_a_reference():
    _, _, kind = draws(TimestepLaw(), batch=32, targets=4)
    assert torch.equal(kind, kind[:, ::4].repeat_interleave(4, dim=1))
    for one, wanted in ((JOINT, 16), (IMAGE_TO_DEPTH, 8), (DEPTH_TO_IMAGE, 8)):
        assert ((kind == one).sum(1) == wanted).all()
    assert ((kind[:, ::4] == IMAGE_TO_DEPTH).float().mean(0) - 0.25).abs().max() < 0.1


def test_the_law_is_seeded_and_checked():
    a, b = (TimestepLaw().draw(8, NoiseSchedule(), torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    with pytest.raises(ValueError, match="shares"):
        TimestepLaw(image_to_depth=0.8, depth_to_image=0.3)
    for wrong in ({"density": "normal"}, {"low": 4.0}):
        with pytest.raises(ValueError, match="density must be log_snr"):
            TimestepLaw(**wrong)
