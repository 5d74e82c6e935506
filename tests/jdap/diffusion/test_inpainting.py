"""Sampling with parts known, against Gaussian data whose conditional distributions are known exactly."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from jdap.choices import CLEAN, REPAINT
from jdap.diffusion.denoiser import JointDenoiser, Pair, randn_pair
from jdap.diffusion.samplers import ddim, levels, network_calls
from jdap.diffusion.schedule import NoiseSchedule

DENOISER = JointDenoiser(NoiseSchedule())
#: Two cells of RGB, then two of depth: neighbours in a half and the halves of a cell go together.
MEAN = np.array([0.5, -0.3, 0.2, 0.8])
ROOT = np.array([[0.9, 0, 0, 0], [0.6, 0.5, 0, 0], [0.7, 0.2, 0.4, 0], [0.3, 0.5, 0.2, 0.5]])
COVARIANCE = ROOT @ ROOT.T
KNOWN_VALUES = np.array([1.4, 0.6, -0.4, 0.1])
DRAWS = 1200


class Gaussian:
    """The exact v-prediction of joint Gaussian data, for any pair of timesteps; it counts its calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, z_rgb, z_depth, t_rgb, t_depth):
        self.seen.append((int(t_rgb[0]), int(t_depth[0])))
        z = torch.cat([z_rgb.flatten(1), z_depth.flatten(1)], dim=1).numpy()
        alpha_bar = DENOISER.schedule.alpha_bar.numpy().astype(np.float64)[[*self.seen[-1]]].repeat(2)
        a, s = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        gain = COVARIANCE @ np.diag(a) @ np.linalg.inv(np.diag(a) @ COVARIANCE @ np.diag(a) + np.diag(s**2))
        clean = MEAN + (z - a * MEAN) @ gain.T
        v = torch.from_numpy((a * z - clean) / s).float()
        return v[:, :2].reshape(z_rgb.shape), v[:, 2:].reshape(z_depth.shape)


def conditional(known: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the unknown of the four numbers, given the known ones; textbook formula."""
    unknown = [i for i in range(4) if i not in known]
    gain = COVARIANCE[np.ix_(unknown, known)] @ np.linalg.inv(COVARIANCE[np.ix_(known, known)])
    mean = MEAN[unknown] + gain @ (KNOWN_VALUES[known] - MEAN[known])
    return mean, COVARIANCE[np.ix_(unknown, unknown)] - gain @ COVARIANCE[np.ix_(known, unknown)]


def draw(known: list[int], seed: int = 0, draws: int = DRAWS, **how) -> tuple[np.ndarray, Gaussian]:
    """(draws, 4) with the known numbers given."""
    values = torch.tensor(KNOWN_VALUES).float().reshape(2, 1, 1, 1, 2).expand(2, draws, 1, 1, 2)
    cells = torch.tensor([i in known for i in range(4)]).reshape(2, 1, 1, 1, 2).expand(2, draws, 1, 1, 2)
    generator = torch.Generator().manual_seed(seed)
    noise = randn_pair(Pair(*values), generator)
    network = Gaussian()
    given = {}
    for k, half in enumerate(("rgb", "depth")):
        if cells[k].any():
            given |= {f"known_{half}": values[k], f"{half}_cells": None if cells[k].all() else cells[k]}
    drawn = ddim(DENOISER, network, noise, generator=generator, **given, **how)
    return torch.cat([x.flatten(1) for x in drawn], dim=1).numpy(), network


def error(drawn: np.ndarray, known: list[int]) -> tuple[float, float]:
    """The largest error of the conditional mean and of the conditional covariance."""
    mean, covariance = conditional(known)
    unknown = [i for i in range(4) if i not in known]
    np.testing.assert_array_equal(drawn[:, known], np.tile(KNOWN_VALUES[known].astype(np.float32), (len(drawn), 1)))
    found = drawn[:, unknown].astype(np.float64)
    return np.abs(found.mean(0) - mean).max(), np.abs(np.cov(found.T).reshape(covariance.shape) - covariance).max()


@pytest.mark.parametrize("known", [[0, 1], [2, 3]], ids=["rgb", "depth"])
def test_clean_conditioning_draws_the_conditional_distribution(known):
    drawn, network = draw(known, method=CLEAN, steps=50)
    mean, covariance = error(drawn, known)
    assert mean < 0.05
    assert covariance < 0.06
    half = 0 if known == [0, 1] else 1
    assert {t[half] for t in network.seen} == {0}
    # One step gives the conditional mean itself.
    one, _ = draw(known, method=CLEAN, steps=1)
    assert np.abs(one[:, [i for i in range(4) if i not in known]] - conditional(known)[0]).max() < 0.02


@pytest.mark.parametrize("known", [[0, 1], [2, 3], [0], [0, 3]], ids=["rgb", "depth", "half of rgb", "half of each"])
def test_resampling_brings_repaint_to_the_conditional_distribution(known):
    plain, network = draw(known, method=REPAINT, steps=40)
    assert all(rgb == depth for rgb, depth in network.seen)
    some, _ = draw(known, method=REPAINT, steps=40, resample=3)
    again, _ = draw(known, method=REPAINT, steps=40, resample=8)
    errors = [error(drawn, known)[0] for drawn in (plain, some, again)]
    assert errors[1] < 0.75 * errors[0]
    assert errors[2] < 0.45 * errors[0]
    assert errors[2] < 0.15


def test_a_half_that_is_known_whole_stays_clean_beside_one_that_is_known_in_part():
    known = [0, 2, 3]
    drawn, network = draw(known, method=CLEAN, steps=40, resample=8)
    assert {t[1] for t in network.seen} == {0}
    assert max(t[0] for t in network.seen) == 999
    mean, covariance = error(drawn, known)
    assert mean < 0.5 * error(draw(known, method=CLEAN, steps=40)[0], known)[0]
    assert covariance < 0.05
    other, network = draw(known, method=REPAINT, steps=40, resample=2)
    assert all(rgb == depth for rgb, depth in network.seen)
    assert error(other, known)[0] < 0.12


def test_the_methods_are_one_where_both_halves_are_known_in_part_and_where_nothing_is():
    for known in ([0, 3], []):
        a, b = (draw(known, method=method, steps=5, resample=2, draws=4)[0] for method in (CLEAN, REPAINT))
        np.testing.assert_array_equal(a, b)


def test_samples_of_one_batch_may_differ_in_what_is_known():
    """Each sample is treated by its own mask: a batch of two is the two by themselves, where no noise is drawn."""
    values = torch.tensor(KNOWN_VALUES).float().reshape(2, 1, 1, 1, 2).expand(2, 2, 1, 1, 2)
    noise = randn_pair(Pair(*values), torch.Generator().manual_seed(0))
    all_or_none = torch.tensor([True, False])[:, None, None, None].expand(2, 1, 1, 2)
    seen = []

    def network(z_rgb, z_depth, t_rgb, t_depth):
        seen.append((t_rgb.tolist(), t_depth.tolist()))
        return torch.zeros_like(z_rgb), torch.zeros_like(z_depth)

    drawn = ddim(DENOISER, network, noise, known_rgb=values[0], rgb_cells=all_or_none, steps=2)
    assert seen == [([0, 999], [999, 999]), ([0, 499], [499, 499])]
    assert torch.equal(drawn.rgb[0], values[0][0])
    alone = ddim(DENOISER, network, noise, steps=2)
    assert torch.equal(drawn.rgb[1], alone.rgb[1])


def test_everything_known_comes_back():
    drawn, _ = draw([0, 1, 2, 3], method=CLEAN, steps=3, draws=2)
    np.testing.assert_array_equal(drawn, np.tile(KNOWN_VALUES.astype(np.float32), (2, 1)))


def test_the_same_generator_gives_the_same():
    how = {"method": REPAINT, "steps": 5, "resample": 2, "draws": 4}
    one, two, other = (draw([0], seed=seed, **how)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def repaints_own(steps: int, jump: int, resample: int) -> list[int]:
    """``get_schedule_jump`` of RePaint's supplement (figure 6) with t counted down to −1 = clean, as levels."""
    jumps = dict.fromkeys(range(0, steps - jump, jump), resample - 1)
    t, ts = steps, []
    while t >= 1:
        t -= 1
        ts.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump):
                t += 1
                ts.append(t)
    ts.append(-1)
    # A way up is one jump of ours.
    turns = [i for i in range(1, len(ts) - 1) if ts[i - 1] < ts[i] < ts[i + 1]]
    return [steps - 1 - t for i, t in enumerate(ts) if i not in turns]


@pytest.mark.parametrize(("steps", "jump", "resample"), [(12, 1, 3), (20, 5, 4), (10, 3, 2), (4, 4, 2), (7, 1, 1)])
def test_levels_are_those_of_repaint(steps, jump, resample):
    assert levels(steps, resample, jump) == repaints_own(steps, jump, resample)


def test_calls_are_counted():
    told = []

    def tell(step):
        told.append(step.number)
        return step.latents

    _, network = draw([0], steps=6, resample=2, jump=2, draws=2, on_step=tell)
    path = levels(6, 2, 2)
    calls = sum(b == a + 1 for a, b in pairwise(path))
    assert len(network.seen) == calls == network_calls(6, 2, 2) == 10
    assert told == list(range(calls))


def test_noising_further_has_the_law_of_noising_at_once():
    torch.manual_seed(0)
    clean = Pair(torch.full((20000, 1, 1, 1), 2.0), torch.full((20000, 1, 1, 1), -1.0))
    at, to = (Pair(*(torch.full((20000,), t) for t in times)) for times in ((200, 700), (999, 700)))
    noisy = DENOISER.add_noise(clean, randn_pair(clean), at)
    further = DENOISER.noise_further(noisy, randn_pair(clean), at, to)
    assert torch.equal(further.depth, noisy.depth)
    assert further.rgb.mean() == pytest.approx(0, abs=0.03)
    assert further.rgb.std() == pytest.approx(1, abs=0.03)
    to = Pair(torch.full((20000,), 500), to.depth)
    a, s = (x[0].item() for x in DENOISER.schedule.signal_noise(to.rgb, clean.rgb))
    further = DENOISER.noise_further(noisy, randn_pair(clean), at, to)
    assert further.rgb.mean() == pytest.approx(2 * a, abs=0.03)
    assert further.rgb.std() == pytest.approx(s, abs=0.02)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"method": "magic"}, "method must be one of clean, repaint, got 'magic'"),
        ({"resample": 0}, "resample and jump must be at least 1"),
        ({"jump": 0}, "resample and jump must be at least 1"),
        ({"rgb_cells": torch.ones(2, 1, 1, 2, dtype=torch.bool)}, "need its latents"),
        ({"known_rgb": torch.zeros(2, 1, 1, 2), "rgb_cells": torch.ones(2, 1, 1, 2)}, "bool"),
        ({"known_rgb": torch.zeros(2, 1, 1, 2), "rgb_cells": torch.ones(2, 1, 2, 2, dtype=torch.bool)}, "must be"),
    ],
)
def test_misuse_is_told(how, says):
    noise = randn_pair(Pair(*torch.zeros(2, 2, 1, 1, 2)))
    with pytest.raises(ValueError, match=says):
        ddim(DENOISER, Gaussian(), noise, **{"steps": 2, **how})
