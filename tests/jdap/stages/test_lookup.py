"""The measure of what a reference is worth, by networks whose answers are known."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jdap.diffusion.denoiser import JointDenoiser, Pair
from jdap.diffusion.draws import StepSlice, draw_noise
from jdap.diffusion.schedule import NoiseSchedule
from jdap.stages.parts.lookup import TIMESTEPS, ReferenceLookup

DENOISER = JointDenoiser(NoiseSchedule())


class Copier:
    """Answers with the reference as the clean RGB, and with zeros where there is none."""

    def project_reference(self, latents):
        return latents

    def __call__(self, z_rgb, z_depth, t_rgb, t_depth, reference=None):
        clean = torch.zeros_like(z_rgb) if reference is None else reference
        a, s = DENOISER.schedule.signal_noise(t_rgb, z_rgb)
        return (a * z_rgb - clean) / s, torch.zeros_like(z_depth)


def pipeline() -> SimpleNamespace:
    return SimpleNamespace(denoiser=DENOISER, unet=Copier(), reference=lambda latents: latents)


def batch(seed: int, count: int) -> tuple[Pair, torch.Tensor]:
    rgb, depth, reference = torch.randn(3, count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Pair(rgb, depth), reference


def mse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.square(a.double().numpy() - b.double().numpy()).mean())


def test_errors_are_those_of_what_is_shown():
    lookup, (clean, reference) = ReferenceLookup(), batch(0, 4)
    # two pictures of each of two people: the next one of another person is not the next one
    lookup.update(pipeline(), clean, reference, ("a", "a", "b", "b"), 0)
    expected = {
        "own": mse(reference, clean.rgb),
        "other": mse(reference[[2, 2, 0, 0]], clean.rgb),
        "none": mse(torch.zeros_like(clean.rgb), clean.rgb),
        "itself": 0.0,
    }
    found = lookup.compute()
    assert set(found) == {f"lookup/{shown}_{t}" for shown in expected for t in TIMESTEPS}
    for name, value in found.items():
        assert float(value) == pytest.approx(expected[name.split("/")[1].split("_")[0]], rel=1e-3, abs=1e-6)


def test_a_person_alone_has_nobody_else_to_be_shown():
    lookup, (clean, reference) = ReferenceLookup(), batch(0, 3)
    lookup.update(pipeline(), clean, reference, ("a", "a", "a"), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = lookup.compute()
    assert {name.split("/")[1].split("_")[0] for name in found} == {"own", "none", "itself"}


def test_only_the_first_pictures_count_until_it_begins_anew():
    lookup, (clean, reference) = ReferenceLookup(pictures=6), batch(0, 4)
    people = tuple("abcd")
    for index, (pictures, references) in enumerate([(clean, reference), batch(1, 4), batch(2, 4)]):
        lookup.update(pipeline(), pictures, references, people, index)
    own = torch.cat([reference, batch(1, 4)[1][:2]]), torch.cat([clean.rgb, batch(1, 4)[0].rgb[:2]])
    assert float(lookup.compute()["lookup/own_500"]) == pytest.approx(mse(*own), rel=1e-4)
    lookup.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lookup.compute() == {}
    lookup.update(pipeline(), *batch(2, 4), people, 0)
    assert float(lookup.compute()["lookup/own_500"]) == pytest.approx(mse(batch(2, 4)[1], batch(2, 4)[0].rgb), rel=1e-4)


def test_the_noise_is_the_same_at_every_validation():
    seen = []

    class Recorder(Copier):
        def __call__(self, z_rgb, *rest, reference=None):
            seen.append(z_rgb)
            return super().__call__(z_rgb, *rest, reference=reference)

    asked = SimpleNamespace(denoiser=DENOISER, unet=Recorder(), reference=lambda latents: latents)
    clean, reference = batch(0, 2)
    for _ in range(2):
        lookup = ReferenceLookup()
        lookup.update(asked, clean, reference, ("a", "b"), 3)
    assert len(seen) == 2 * 16
    assert all(torch.equal(a, b) for a, b in zip(seen[:16], seen[16:], strict=True))
    noise = draw_noise(clean, 0, StepSlice.of(3, 2))
    t = torch.full((2,), TIMESTEPS[0])
    assert torch.equal(seen[0], DENOISER.add_noise(clean, noise, Pair(t, t)).rgb)
