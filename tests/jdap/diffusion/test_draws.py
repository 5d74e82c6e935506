import pytest
import torch

from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import StepSlice, draw_frames, draw_noise, draw_timesteps
from jdap.diffusion.schedule import NoiseSchedule
from jdap.diffusion.timesteps import DEPTH_TO_IMAGE, IMAGE_TO_DEPTH, JOINT, TimestepLaw

LAW, SCHEDULE = TimestepLaw(), NoiseSchedule()


def drawn(place, seed=0, targets=1):
    t, kind, chance = draw_timesteps(LAW, SCHEDULE, seed, place, targets=targets)
    like = torch.zeros(place.size, 3, 2, 2)
    noise = draw_noise(Pair(like, like), seed, place)
    return [*t, kind, chance.T, *noise]


@pytest.mark.parametrize("targets", [1, 2])
def test_a_step_draws_the_same_however_it_is_shared_out(targets):
    whole = drawn(StepSlice.of(step=7, size=8), targets=targets)
    # two processes, two accumulated batches each: a batch of all processes comes before the next
    places = [StepSlice.of(7, 2, part, parts=2, rank=rank, ranks=2) for part in range(2) for rank in range(2)]
    parts = [drawn(place, targets=targets) for place in places]
    for one, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(one, torch.cat(pieces))


def test_steps_seeds_and_samples_differ():
    rgb, depth = drawn(StepSlice.of(7, 8))[4:]
    for other in (drawn(StepSlice.of(8, 8))[4], drawn(StepSlice.of(7, 8), seed=1)[4], depth):
        assert not torch.isclose(other, rgb).any()
    assert len(rgb.unique()) == rgb.numel()


def test_noise_is_standard_normal():
    like = torch.zeros(64, 4, 16, 16)
    noise = draw_noise(Pair(like, like), 0, StepSlice.of(0, 64))
    for half in noise:
        assert abs(half.mean()) < 0.02
        assert abs(half.std() - 1) < 0.02
    assert abs((noise.rgb * noise.depth).mean()) < 0.02


def test_kinds_are_stratified_over_the_whole_step():
    places = [StepSlice.of(3, 2, rank=rank, ranks=8) for rank in range(8)]
    kind = torch.cat([draw_timesteps(LAW, SCHEDULE, 0, place).kind for place in places])
    counts = [int((kind == one).sum()) for one in (JOINT, IMAGE_TO_DEPTH, DEPTH_TO_IMAGE)]
    assert sum(counts) == 16
    assert all(abs(n - wanted) <= 1 for n, wanted in zip(counts, (8, 4, 4), strict=True))


def test_pictures_of_one_reference_are_of_one_kind_and_have_timesteps_of_their_own():
    _, kind, _ = draw_timesteps(LAW, SCHEDULE, 0, StepSlice.of(0, 64), targets=4)
    t = draw_timesteps(LAW, SCHEDULE, 0, StepSlice.of(0, 64), targets=4).t
    assert torch.equal(kind, kind[::4].repeat_interleave(4))
    assert [int((kind == k).sum()) for k in (JOINT, IMAGE_TO_DEPTH, DEPTH_TO_IMAGE)] == [32, 16, 16]
    assert len({tuple(four.tolist()) for four in t.depth[kind == JOINT].split(4)}) == 8
    assert all(len(set(four.tolist())) > 1 for four in t.depth[kind == JOINT].split(4))


def frames(count, side=2):
    like = torch.zeros(count, 3, side, side)
    return Pair(like, like)


def test_noise_of_a_frame_depends_on_its_index_and_the_seed_alone():
    for sharing in (0.0, 0.3):
        whole = draw_frames(frames(9), 5, 0, sharing)
        parts = [draw_frames(frames(4), 5, 0, sharing), draw_frames(frames(5), 5, 4, sharing)]
        for half, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(half, torch.cat(pieces))
        assert not torch.isclose(whole.rgb, draw_frames(frames(9), 6, 0, sharing).rgb).any()


@pytest.mark.parametrize("sharing", [0.0, 0.25, 1.0])
def test_shared_noise_is_standard_normal_and_correlated_as_told(sharing):
    for half in draw_frames(frames(32, side=32), 0, 0, sharing):
        assert half.std() == pytest.approx(1, abs=0.05)
        between = torch.corrcoef(half.flatten(1))[~torch.eye(32, dtype=torch.bool)]
        assert between.mean() == pytest.approx(sharing, abs=0.03)
    with pytest.raises(ValueError, match="within 0 … 1"):
        draw_frames(frames(1), 0, 0, 1.5)
