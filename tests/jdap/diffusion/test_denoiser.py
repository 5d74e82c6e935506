import numpy as np
import pytest
import torch

from jdap.diffusion.denoiser import JointDenoiser, Pair, randn_pair
from jdap.diffusion.samplers import ddim, guided, needed_branches
from jdap.diffusion.schedule import NoiseSchedule
from jdap.diffusion.timesteps import GIVEN_TIMESTEP

DENOISER = JointDenoiser(NoiseSchedule())


def pair(seed: int, batch: int = 4) -> Pair:
    return randn_pair(Pair(*(torch.zeros(batch, 3, 4, 4),) * 2), torch.Generator().manual_seed(seed))


def times(*t: int) -> torch.Tensor:
    return torch.tensor(t)


def test_noising_and_the_target_invert():
    clean, noise = pair(0), pair(1)
    t = Pair(times(0, 10, 500, 998), times(999, 3, 500, 0))
    noisy, v = DENOISER.add_noise(clean, noise, t), DENOISER.velocity(clean, noise, t)
    for half in range(2):
        assert torch.allclose(DENOISER.clean(noisy, v, t)[half], clean[half], atol=1e-5)
        assert torch.allclose(DENOISER.noise(noisy, v, t)[half], noise[half], atol=1e-5)
    # pure noise at the last timestep
    assert torch.equal(noisy.depth[0], noise.depth[0])


def test_agrees_with_diffusers_scheduler():
    clean, noise = pair(0), pair(1)
    t = times(0, 10, 500, 999)
    scheduler = DENOISER.schedule.scheduler()
    noisy = DENOISER.add_noise(clean, noise, Pair(t, t))
    assert torch.allclose(noisy.rgb, scheduler.add_noise(clean.rgb, noise.rgb, t), atol=1e-6)
    v = DENOISER.velocity(clean, noise, Pair(t, t))
    assert torch.allclose(v.rgb, scheduler.get_velocity(clean.rgb, noise.rgb, t), atol=1e-6)


def test_a_perfect_network_has_no_loss_and_the_halves_are_weighted_as_said():
    clean, noise = pair(0), pair(1)
    t = Pair(times(10, 10, 999, 999), times(999, 999, 999, 999))
    target = DENOISER.velocity(clean, noise, t)
    weight = torch.rand(4, 1, 4, 4)
    assert DENOISER.loss(lambda *_: target, clean, t, noise, weight).total == 0

    off = Pair(target.rgb + 1, target.depth + 2)
    loss = DENOISER.loss(lambda *_: off, clean, t, noise, weight)
    snr = DENOISER.schedule.snr(times(10))
    expected = (2 * (5 / (snr + 1)) + 2) / 4
    assert torch.allclose(loss.rgb, expected.float(), rtol=1e-4)
    assert loss.depth == pytest.approx(4, rel=1e-4)


def test_depth_counts_only_where_it_has_weight():
    clean, noise = pair(0), pair(1)
    t = Pair(times(*[999] * 4), times(*[999] * 4))
    target = DENOISER.velocity(clean, noise, t)
    wrong = target.depth.clone()
    wrong[:, :, :, 2:] += 100
    weight = torch.zeros(4, 1, 4, 4)
    weight[:2, :, :, :2] = 1
    assert DENOISER.loss(lambda *_: (target.rgb, wrong), clean, t, noise, weight).depth == 0
    # two samples have no depth at all: they do not dilute the two that have
    wrong = target.depth + 1
    assert DENOISER.loss(lambda *_: (target.rgb, wrong), clean, t, noise, weight).depth == pytest.approx(1, rel=1e-4)
    none = DENOISER.loss(lambda *_: (target.rgb, wrong), clean, t, noise, torch.zeros_like(weight))
    assert none.depth == 0


def test_confidence_is_not_divided_out():
    """L = 1/N Σ g (Σ w c e) / (Σ w), against sums in NumPy; a constant confidence scales a sample's pull alone."""
    clean, noise = pair(0), pair(1)
    t = Pair(times(*[500] * 4), times(10, 400, 700, 999))
    target = DENOISER.velocity(clean, noise, t)
    generator = torch.Generator().manual_seed(7)
    v = Pair(target.rgb, target.depth + torch.randn(target.depth.shape, generator=generator))
    weight, confidence = torch.rand(2, 4, 1, 4, 4, generator=generator)
    weight[3] = 0
    loss = DENOISER.loss(lambda *_: v, clean, t, noise, weight, confidence)
    error = (v.depth - target.depth).double().square().mean(1).numpy()
    w, c = weight[:, 0].double().numpy(), confidence[:, 0].double().numpy()
    snr = DENOISER.schedule.snr(t.depth).double().numpy()
    g = np.minimum(snr + 1, 5) / (snr + 1)
    terms = [g[i] * (w[i] * c[i] * error[i]).sum() / w[i].sum() for i in range(3)]
    assert float(loss.depth) == pytest.approx(sum(terms) / 3, rel=1e-4)
    assert loss.depth_B.tolist() == pytest.approx([*terms, 0], rel=1e-4)
    assert loss.has_depth_B.tolist() == [True, True, True, False]

    full = DENOISER.loss(lambda *_: v, clean, t, noise, weight)
    trust = torch.tensor([1.0, 0.25, 0.0, 1.0]).reshape(4, 1, 1, 1).expand_as(weight)
    some = DENOISER.loss(lambda *_: v, clean, t, noise, weight, trust)
    assert torch.allclose(some.depth_B, full.depth_B * trust[:, 0, 0, 0])
    assert some.depth == pytest.approx(float(some.depth_B.sum()) / 3, rel=1e-5)
    assert torch.equal(DENOISER.loss(lambda *_: v, clean, t, noise, weight, torch.ones_like(weight)).depth, full.depth)


def test_only_drawn_halves_count_and_others_do_not_dilute_them():
    clean, noise = pair(0), pair(1)
    t = Pair(times(10, 999, 999, 999), times(999, 999, 999, 10))
    target = DENOISER.velocity(clean, noise, t)
    off = Pair(*(x + torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1) for x in target))
    weight = torch.ones(4, 1, 4, 4)
    weight[1] = 0  # no depth there
    drawn = Pair(torch.tensor([False, True, True, True]), torch.tensor([True, True, True, False]))
    loss = DENOISER.loss(lambda *_: off, clean, t, noise, weight, drawn=drawn)
    assert float(loss.rgb) == pytest.approx((4 + 9 + 16) / 3, rel=1e-4)
    assert float(loss.depth) == pytest.approx((1 + 9) / 2, rel=1e-4)
    assert loss.rgb_B.tolist() == pytest.approx([0, 4, 9, 16], rel=1e-4)
    assert loss.depth_B.tolist() == pytest.approx([1, 0, 9, 0], rel=1e-4)
    assert loss.has_rgb_B.tolist() == [False, True, True, True]
    assert loss.has_depth_B.tolist() == [True, False, True, False]
    none = Pair(*(torch.zeros(4, dtype=torch.bool) for _ in range(2)))
    assert DENOISER.loss(lambda *_: off, clean, t, noise, weight, drawn=none).total == 0
    every = Pair(*(torch.ones(4, dtype=torch.bool) for _ in range(2)))
    a, b = (DENOISER.loss(lambda *_: off, clean, t, noise, weight, drawn=d) for d in (every, None))
    assert torch.equal(a.total, b.total)


class Oracle:
    """The exact v-prediction for Gaussian data of mean ``mu`` and deviation ``sigma`` in every channel."""

    def __init__(self, mu: float, sigma: float) -> None:
        self.mu, self.sigma, self.seen = mu, sigma, []

    def __call__(self, z_rgb, z_depth, t_rgb, t_depth):
        self.seen.append((int(t_rgb[0]), int(t_depth[0])))
        return self._half(z_rgb, t_rgb), self._half(z_depth, t_depth)

    def _half(self, z, t):
        a, s = DENOISER.schedule.signal_noise(t, z)
        power = a**2 * self.sigma**2 + s**2
        clean = self.mu + a * self.sigma**2 / power * (z - a * self.mu)
        noise = s / power * (z - a * self.mu)
        return a * noise - s * clean


def test_ddim_draws_the_data_distribution():
    noise = randn_pair(Pair(*(torch.zeros(2000, 1, 2, 2),) * 2), torch.Generator().manual_seed(0))
    drawn = ddim(DENOISER, Oracle(0.7, 0.5), noise, steps=100)
    for half in drawn:
        assert half.mean() == pytest.approx(0.7, abs=0.02)
        assert half.std() == pytest.approx(0.5, abs=0.03)


def test_one_step_gives_the_mean():
    noise = pair(0)
    drawn = ddim(DENOISER, Oracle(0.7, 0.5), noise, steps=1)
    assert torch.allclose(drawn.depth, torch.full_like(drawn.depth, 0.7), atol=1e-5)


def test_a_known_half_stays_and_is_told_to_be_clean():
    noise, rgb = pair(0), pair(5).rgb
    oracle = Oracle(0.7, 0.5)
    steps = []

    def told(step):
        steps.append((step.number, step.timestep))
        return step.latents

    drawn = ddim(DENOISER, oracle, noise, known_rgb=rgb, steps=4, on_step=told)
    assert torch.equal(drawn.rgb, rgb)
    assert oracle.seen == [(GIVEN_TIMESTEP, 999), (GIVEN_TIMESTEP, 749), (GIVEN_TIMESTEP, 499), (GIVEN_TIMESTEP, 249)]
    assert steps == [(0, 999), (1, 749), (2, 499), (3, 249)]
    drawn = ddim(DENOISER, oracle, noise, known_depth=rgb, steps=2)
    assert torch.equal(drawn.depth, rgb)
    assert not torch.equal(drawn.rgb, noise.rgb)


def test_guidance_extrapolates_from_without_to_with():
    """The first half of the batch is the one without; each sample is guided by its own pair."""
    seen = []

    def network(z_rgb, z_depth, t_rgb, t_depth):
        seen.append((z_rgb, z_depth, t_rgb, t_depth))
        return z_rgb + torch.tensor([0.0, 0.0, 1.0, 1.0]), z_depth + torch.tensor([3.0, 3.0, 0.0, 0.0])

    z_rgb, z_depth, t_rgb, t_depth = torch.arange(8.0).reshape(4, 2)
    rgb, depth = guided(network, 2.0)(z_rgb, z_depth, t_rgb, t_depth)
    assert all(
        torch.equal(x, torch.cat([y, y])) for x, y in zip(seen[0], (z_rgb, z_depth, t_rgb, t_depth), strict=True)
    )
    assert torch.equal(rgb, z_rgb + 2)
    assert torch.equal(depth, z_depth - 3)


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_a_guided_answer_is_brought_back_to_the_deviation_of_the_led_one(rescale):
    """Each sample and half by its own, with NumPy; arXiv 2305.08891, equations 15 and 16."""
    free, led = (torch.randn(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(2))

    def network(z_rgb, z_depth, t_rgb, t_depth):
        return torch.cat([free[0], led[0]]), torch.cat([free[1], led[1]])

    z, t = torch.zeros(3, 3, 4, 4), torch.zeros(3)
    for half, answer in enumerate(guided(network, 3.0, rescale=rescale)(z, z, t, t)):
        for i in range(3):
            without, to = free[half, i].double().numpy(), led[half, i].double().numpy()
            plain = without + 3 * (to - without)
            expected = rescale * plain * to.std() / plain.std() + (1 - rescale) * plain
            np.testing.assert_allclose(answer[i].numpy(), expected, rtol=1e-4, atol=1e-5)
            if rescale == 1:
                assert float(answer[i].std()) == pytest.approx(float(led[half, i].std()), rel=1e-4)
                assert plain.std() > 1.5 * to.std()


def conditioned(*kept):
    """A network of as many branches, v_k of each a number that is all its own, and how many samples it saw."""
    values, seen = torch.tensor([3.0, -1.0, 7.0]), []

    def network(z_rgb, z_depth, t_rgb, t_depth):
        seen.append(len(z_rgb))
        v = values[list(kept)].repeat_interleave(len(z_rgb) // len(kept))
        return z_rgb + v, z_depth - 2 * v

    return network, seen


@pytest.mark.parametrize("reference", [0.0, 1.0, 1.7, 2.5])
@pytest.mark.parametrize("sound", [0.0, 1.0, 2.5])
def test_two_scales_guide_as_the_formula_says_and_ask_for_no_more_than_it_takes(reference, sound):
    z, t = torch.arange(2.0), torch.zeros(2)
    v0, v1, v2 = 3.0, -1.0, 7.0
    expected = v0 + reference * (v1 - v0) + sound * (v2 - v1)
    network, seen = conditioned(0, 1, 2)
    rgb, depth = guided(network, reference, sound)(z, z, t, t)
    assert seen == [6]
    torch.testing.assert_close(rgb, z + expected)
    torch.testing.assert_close(depth, z - 2 * expected)

    kept, scales = needed_branches(reference, sound)
    weights = (1 - reference, reference - sound, sound)
    assert kept == [k for k in range(3) if weights[k]]
    network, seen = conditioned(*kept)
    less = guided(network, *scales)(z, z, t, t)
    assert seen == [2 * len(kept)]
    torch.testing.assert_close(less, (rgb, depth))


def test_scales_of_one_ask_for_the_last_branch_alone():
    assert needed_branches(1.0, 1.0) == ([2], [])
    assert needed_branches(1.0) == ([1], [])
    assert needed_branches(1.0, 3.0) == ([1, 2], [3.0])
    assert needed_branches(3.0, 3.0) == ([0, 2], [3.0])
    assert needed_branches(3.0, 0.0) == ([0, 1], [3.0])
