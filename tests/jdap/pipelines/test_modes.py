"""The four questions to one model: shapes, what is exact, what has no influence, and errors."""

import numpy as np
import pytest
import torch

from jdap.choices import METHODS
from jdap.diffusion.denoiser import Pair, randn_pair
from jdap.diffusion.samplers import ddim
from jdap.pipelines.masks import fill_unknown, known_cells, paste_known


def pictures(batch: int = 2, seed: int = 3) -> torch.Tensor:
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def depths(batch: int = 2, seed: int = 4) -> torch.Tensor:
    return pictures(batch, seed)[:, :1]


def left_half(batch: int = 2) -> torch.Tensor:
    mask = torch.zeros(batch, 1, 32, 32, dtype=torch.bool)
    mask[..., :17] = True
    return mask


def seed(value: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(value)


NOTHING, ALL = torch.zeros(2, 1, 32, 32, dtype=torch.bool), torch.ones(2, 1, 32, 32, dtype=torch.bool)


@pytest.mark.parametrize("method", METHODS)
def test_depth_to_image_is_drawn_from_the_depth_and_the_reference(pipeline, method):
    def image(depth=None, **other):
        how = {"reference": pictures(), "steps": 3, "method": method, "resample": 2, "generator": seed(), **other}
        return pipeline.depth_to_image(depths() if depth is None else depth, **how)

    rgb = image()
    assert rgb.shape == (2, 3, 32, 32)
    assert rgb.abs().max() <= 1
    assert torch.equal(rgb, image())
    for other in (
        image(depth=depths(seed=9)),
        image(reference=pictures(seed=9)),
        image(reference=None),
        image(generator=seed(8)),
    ):
        assert not torch.allclose(rgb, other, atol=1e-4)


def test_depth_to_image_is_the_sampler_with_depth_given(pipeline):
    codec = pipeline.codec
    with torch.no_grad():
        depth = codec.encode(depths().expand(-1, 3, -1, -1))
        generator = seed()
        noise = randn_pair(Pair(depth, depth), generator)
        drawn = ddim(pipeline.denoiser, pipeline.unet, noise, known_depth=depth, steps=3)
        expected = codec.decode(drawn.rgb).clamp(-1, 1)
    assert torch.allclose(pipeline.depth_to_image(depths(), steps=3, generator=seed()), expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_image_to_depth_by_either_method(pipeline, method):
    one = pipeline.image_to_depth(pictures(), steps=3, method=method, generator=seed()).depth
    assert one.shape == (2, 1, 32, 32)
    other = pipeline.image_to_depth(pictures(seed=9), steps=3, method=method, generator=seed()).depth
    assert not torch.allclose(one, other, atol=1e-4)


def test_guidance_is_there_in_every_question(pipeline):
    x, depth, reference = pictures(), depths(), pictures(seed=5)

    def answers(guidance: float) -> list[torch.Tensor]:
        how = {"steps": 2, "guidance": guidance}
        return [
            pipeline.generate(reference, generator=seed(), **how).rgb,
            pipeline.depth_to_image(depth, reference=reference, generator=seed(), **how),
            pipeline.edit(x, depth, left_half(), NOTHING, reference=reference, generator=seed(), **how).rgb,
        ]

    plain, same, strong, none = answers(1.0), answers(1.0), answers(3.0), answers(0.0)
    for a, b, c, d in zip(plain, same, strong, none, strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c, atol=1e-4)
        assert not torch.allclose(a, d, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_known_pixels_come_back_and_others_have_no_influence(pipeline, method):
    x, depth, known_rgb, known_depth = pictures(), depths(), left_half(), left_half().flip(2, 3)

    def edit(rgb, depth, **more):
        how = {"steps": 3, "method": method, "resample": 2, "generator": seed(), **more}
        return pipeline.edit(rgb, depth, known_rgb, known_depth, reference=x, **how)

    made = edit(x, depth)
    assert torch.equal(made.rgb[known_rgb.expand_as(x)], x[known_rgb.expand_as(x)])
    assert torch.equal(made.depth[known_depth], depth[known_depth])
    assert not torch.allclose(made.rgb[~known_rgb.expand_as(x)], x[~known_rgb.expand_as(x)], atol=0.05)
    hidden = edit(torch.where(known_rgb, x, torch.nan), torch.where(known_depth, depth, 50.0))
    assert torch.equal(made.rgb, hidden.rgb)
    assert torch.equal(made.depth, hidden.depth)
    assert not torch.equal(made.rgb, edit(x, depth, generator=seed(8)).rgb)
    # What is known is looked at.
    other = edit(x, torch.where(known_depth, -depth, depth))
    assert not torch.allclose(other.rgb, made.rgb, atol=1e-4)


def test_edit_holds_the_other_questions(pipeline):
    x, depth, reference = pictures(), depths(), pictures(seed=5)
    how = {"reference": reference, "steps": 3}
    made = pipeline.edit(x, depth, ALL, NOTHING, steps=3, generator=seed())
    assert torch.equal(made.rgb, x)
    found = pipeline.image_to_depth(x, steps=3, generator=seed()).depth
    assert torch.allclose(made.depth, found, atol=1e-4)
    made = pipeline.edit(x, depth, NOTHING, ALL, generator=seed(), **how)
    assert torch.equal(made.depth, depth)
    assert torch.allclose(made.rgb, pipeline.depth_to_image(depth, generator=seed(), **how), atol=1e-4)
    made = pipeline.edit(x, depth, NOTHING, NOTHING, generator=seed(), **how)
    joint = pipeline.generate(reference, steps=3, depth_first=0.0, generator=seed())
    assert torch.allclose(made.rgb, joint.rgb, atol=1e-4)
    assert torch.allclose(made.depth, joint.depth, atol=1e-4)


def test_depth_that_is_drawn_first_is_kept_and_the_picture_is_drawn_for_it(pipeline):
    reference, calls = pictures(seed=5), []

    def count(pipeline, step, timestep, tensors):
        calls.append(step)
        return {}

    made = pipeline.generate(reference, steps=10, depth_first=0.3, generator=seed(), callback_on_step_end=count)
    assert calls == [*range(10)]  # as many as without, counted through
    together = pipeline.generate(reference, steps=3, depth_first=0.0, generator=seed())
    assert torch.equal(made.depth, together.depth)
    assert not torch.allclose(made.rgb, together.rgb, atol=0.01)
    one = pipeline.generate(reference, steps=1, generator=seed())
    assert torch.equal(one.rgb, pipeline.generate(reference, steps=1, depth_first=0.0, generator=seed()).rgb)
    with pytest.raises(ValueError, match="depth_first"):
        pipeline.generate(reference, depth_first=1.0)


def test_a_feather_blends_near_the_edge_alone(pipeline):
    x, known = pictures(), left_half()
    hard, soft = (
        pipeline.edit(x, depths(), known, NOTHING, steps=2, feather_px=f, generator=seed()).rgb for f in (0, 3)
    )
    assert torch.equal(soft[..., :14], x[..., :14])
    assert torch.equal(soft[..., 17:], hard[..., 17:])
    assert not torch.equal(soft[..., 14:17], hard[..., 14:17])


def test_what_does_not_fit_is_refused(pipeline):
    x, depth = pictures(), depths()
    with pytest.raises(ValueError, match=r"known_rgb must be \(2, 1, 32, 32\) bool"):
        pipeline.edit(x, depth, NOTHING.float(), NOTHING)
    with pytest.raises(ValueError, match=r"known_depth must be \(2, 1, 32, 32\) bool"):
        pipeline.edit(x, depth, NOTHING, NOTHING[:1])
    with pytest.raises(ValueError, match="pictures must be"):
        pipeline.edit(torch.full_like(x, torch.nan), depth, ALL, NOTHING)
    with pytest.raises(ValueError, match=r"depth must be \(B, 1, H, W\) in \[-1, 1\]"):
        pipeline.depth_to_image(x)
    with pytest.raises(ValueError, match="references must be"):
        pipeline.depth_to_image(depth, reference=x * 3)
    with pytest.raises(ValueError, match="feather must be 0"):
        pipeline.edit(x, depth, NOTHING, NOTHING, steps=1, feather_px=-1)
    with pytest.raises(ValueError, match="method must be one of"):
        pipeline.image_to_depth(x, method="other")


@pytest.mark.parametrize(
    "ask",
    [
        lambda p, x, depth: p.generate(x),
        lambda p, x, depth: p.generate(x[None]),
        lambda p, x, depth: p.image_to_depth(x),
        lambda p, x, depth: p.depth_to_image(depth),
        lambda p, x, depth: p.depth_to_image(depths(), reference=x),
        lambda p, x, depth: p.depth_to_image(depths(), rgb=x, strength=0.5),
        lambda p, x, depth: p.edit(x, depth, depth > 0, depth > 0),
        lambda p, x, depth: p.edit(pictures(), depths(), [np.ones((32, 40))] * 2, ALL),
    ],
)
def test_what_is_no_square_is_refused(pipeline, ask):
    with pytest.raises(ValueError, match="40 x 32 pixels are no square; cut"):
        ask(pipeline, torch.zeros(2, 3, 32, 40), torch.zeros(2, 1, 32, 40))


def test_tensors_of_several_sizes_are_refused(pipeline):
    with pytest.raises(ValueError, match=r"pictures must be of one shape, got \(3, 32, 32\), \(3, 64, 64\)"):
        pipeline.image_to_depth([torch.zeros(3, 32, 32), torch.zeros(3, 64, 64)])


def test_a_cell_is_known_if_all_of_its_pixels_are():
    known = torch.ones(1, 1, 16, 24, dtype=torch.bool)
    known[0, 0, 7, 8] = False
    cells = known_cells(known, 8)
    assert cells.shape == (1, 1, 2, 3)
    assert cells[0, 0].tolist() == [[True, False, True], [True, True, True]]


def test_unknown_pixels_take_the_nearest_known():
    picture = torch.arange(6.0).reshape(1, 1, 1, 6).repeat(3, 1, 1, 1)
    known = torch.tensor([[1, 0, 0, 0, 0, 1], [0] * 6, [1] * 6], dtype=torch.bool).reshape(3, 1, 1, 6)
    filled = fill_unknown(picture, known)
    assert filled[0].flatten().tolist() == [0, 0, 0, 5, 5, 5]
    assert filled[1].abs().max() == 0
    assert torch.equal(filled[2], picture[2])
    assert picture[0].flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_pasting_fades_by_distance():
    drawn, picture = torch.zeros(1, 1, 1, 6), torch.ones(1, 1, 1, 6)
    known = torch.tensor([0, 0, 1, 1, 1, 1], dtype=torch.bool).reshape(1, 1, 1, 6)
    assert paste_known(drawn, picture, known).flatten().tolist() == [0, 0, 1, 1, 1, 1]
    assert paste_known(drawn, picture, known, 2).flatten().tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1])
    assert torch.equal(paste_known(drawn, picture, torch.ones_like(known), 2), picture)
