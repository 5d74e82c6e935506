import torch

from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import Place, draw_noise, draw_timesteps
from jdap.diffusion.timesteps import TimestepLaw

LAW = TimestepLaw()


def drawn(place, seed=0):
    t, chance = draw_timesteps(LAW, 1000, seed, place)
    like = torch.zeros(place.size, 3, 2, 2)
    noise = draw_noise(Pair(like, like), seed, place)
    return [*t, chance.T, *noise]


def test_a_step_draws_the_same_however_it_is_shared_out():
    whole = drawn(Place.of(step=7, size=8))
    # two processes, two accumulated batches each: a batch of all processes comes before the next
    parts = [drawn(Place.of(7, 2, part, parts=2, rank=rank, ranks=2)) for part in range(2) for rank in range(2)]
    for one, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(pieces))


def test_steps_seeds_and_samples_differ():
    rgb, depth = drawn(Place.of(7, 8))[3:]
    for other in (drawn(Place.of(8, 8))[3], drawn(Place.of(7, 8), seed=1)[3], depth):
        assert not torch.isclose(other, rgb).any()
    assert len(rgb.unique()) == rgb.numel()


def test_noise_is_standard_normal():
    like = torch.zeros(64, 4, 16, 16)
    noise = draw_noise(Pair(like, like), 0, Place.of(0, 64))
    for half in noise:
        assert abs(half.mean()) < 0.02
        assert abs(half.std() - 1) < 0.02
    assert abs((noise.rgb * noise.depth).mean()) < 0.02


def test_kinds_are_stratified_over_the_whole_step():
    places = [Place.of(3, 2, rank=rank, ranks=8) for rank in range(8)]
    t_rgb, t_depth = (torch.cat(x) for x in zip(*(draw_timesteps(LAW, 1000, 0, p)[0] for p in places), strict=True))
    assert int((t_rgb == t_depth).sum()) in (8, 9)  # half are joint; a given half may meet the other by chance
