"""The relighting pipeline, by its law on a ball and with untrained networks for the rest."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import CAMERA, sphere

from jdap.light.colour import from_light
from jdap.light.lights import join
from jdap.light.ratio import Shape, shading
from jdap.light.sources import from_direction
from jdap.pipelines.relight import RelightPipeline

SIZE = 64


def ball(azimuth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A painted ball (1, 3, H, W) in [-1, 1] lit from a side, and its normalised depth."""
    depth_mm, normals = sphere()
    shape = Shape(normals, depth_mm, CAMERA)
    light = shading(from_direction(azimuth, 10, 0.7, 0.3), shape) * torch.tensor([0.55, 0.4, 0.3])[:, None, None]
    picture = torch.where(shape.known, from_light(light), torch.full_like(light, 0.5))
    near, far = depth_mm[depth_mm > 0].min(), depth_mm.max()
    depth = torch.where(depth_mm > 0, 1.9 * (depth_mm - near) / (far - near) - 1, torch.ones_like(depth_mm))
    return picture * 2 - 1, depth


@pytest.fixture
def relight(pipeline) -> RelightPipeline:
    return RelightPipeline(pipeline)


def small(depth: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(depth, (32, 32), mode="area").clamp(-1, 1)


def test_new_light_is_nearer_to_the_true_picture(relight: RelightPipeline) -> None:
    (old, depth), (true, _) = ball(50), ball(-40)
    made = relight(old, from_direction(-40, 10, 0.7, 0.3), depth=small(depth))
    inside = (depth < 0.3).expand(-1, 3, -1, -1)
    before, after = ((x - true)[inside].square().mean().sqrt() for x in (old, made.rgb))
    assert after < before / 2
    assert made.light.direction()[0, 0] > 0.5
    assert made.ratio.shape == old.shape


def test_brightness_is_that_of_the_skin_over_the_old_ones(relight: RelightPipeline) -> None:
    old, depth = ball(20)
    lit = relight.look(old, small(depth))
    for brightness in (0.5, 2.0):
        new = relight.aim(lit, from_direction(-60, 30), brightness)
        means = [
            (lit.mean(x) @ torch.tensor([0.2126, 0.7152, 0.0722])).item()
            for x in (lit.shading_B3HW, shading(new, lit.shape))
        ]
        assert means[1] / means[0] == pytest.approx(brightness, rel=0.01)
    each = torch.tensor([[0.5, 1.0, 2.0]])
    new = relight.aim(lit, from_direction(-60, 30), each)
    torch.testing.assert_close(lit.mean(shading(new, lit.shape)) / lit.mean(lit.shading_B3HW), each, rtol=0.01, atol=0)


def test_the_light_of_another_picture_leaves_out_its_colour(relight: RelightPipeline) -> None:
    other, _ = ball(50)
    light = relight.light_of(other, generator=torch.Generator().manual_seed(0))
    mean = light.all_harmonics()[:, 0]
    assert float(mean.std() / mean.mean()) < 0.15


def test_generators_of_several_pictures_and_depth_of_another_size(relight: RelightPipeline) -> None:
    (one, depth), (other, _) = ball(50), ball(20)
    both, maps = torch.cat([one, other]), depth.expand(2, -1, -1, -1)

    def made(rgb: torch.Tensor, *seeds: int, **how: Any) -> torch.Tensor:
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        return relight(rgb, like=other, strength=0.5, steps=2, generator=own, **how).rgb

    torch.testing.assert_close(made(both, 3, 4, depth=maps)[:1], made(one, 3, depth=depth), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="1 depth maps for 2 pictures"):
        made(both, 3, 4, depth=depth)


@pytest.mark.parametrize("kind", ["pil", "np", "pt"])
def test_the_answer_is_of_the_kind_and_size_of_what_was_given(relight: RelightPipeline, kind: str) -> None:
    old, _ = ball(20)
    array = ((old[0].permute(1, 2, 0) + 1) / 2).numpy()
    given = {"pil": [Image.fromarray((array * 255).astype(np.uint8))], "np": array[None], "pt": old}[kind]
    made = relight(given, from_direction(30, 10), generator=torch.Generator().manual_seed(0))
    if kind == "pil":
        assert made.rgb[0].size == (SIZE, SIZE)
        assert made.depth[0].size == (32, 32)
    else:
        assert made.rgb.shape == given.shape
        assert type(made.rgb) is type(given)


def test_one_light_for_all_or_one_each(relight: RelightPipeline) -> None:
    (first, depth), (second, _) = ball(50), ball(-40)
    both, depths = torch.cat([first, second]), small(depth).expand(2, -1, -1, -1)
    lights = [from_direction(10, 10), from_direction(-30, 40)]
    made = relight(both, join(lights), depth=depths).rgb
    for i in range(2):
        alone = relight(both[i : i + 1], lights[i], depth=depths[:1]).rgb
        torch.testing.assert_close(made[i : i + 1], alone, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="3 lights for 2"):
        relight(both, join([lights[0]] * 3), depth=depths)


def test_new_light_may_fade_in_at_the_edges(relight: RelightPipeline) -> None:
    old, depth = ball(50)
    lit = relight.look(old, small(depth).clamp_max(0.5), fade=0.2)
    factor = relight.factor(lit, relight.aim(lit, from_direction(-40, 10, 0.7, 0.1)), SIZE)
    edge = torch.ones(SIZE, SIZE, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert (factor[..., edge] - 1).abs().max() < 0.02
    assert (factor - 1).abs().max() > 0.2


def test_redrawing_depends_on_the_generator_and_the_strength(relight: RelightPipeline) -> None:
    old, depth = ball(50)

    def made(seed: int, strength: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        light = from_direction(0, 10)
        return relight(old, light, depth=small(depth), strength=strength, steps=4, generator=generator).rgb

    assert torch.equal(made(0, 0.5), made(0, 0.5))
    assert not torch.equal(made(0, 0.5), made(1, 0.5))
    assert not torch.equal(made(0, 0.5), made(0, 0.0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "either light or like"),
        ({"light": from_direction(0, 0), "like": torch.zeros(1, 3, 32, 32)}, "either light or like"),
        ({"light": from_direction(0, 0), "strength": 1.5}, "strength"),
        ({"light": from_direction(0, 0), "depth": torch.full((1, 1, 32, 32), 2.0)}, "depth"),
        ({"light": from_direction(0, 0), "depth": torch.ones(1, 1, 32, 32)}, "too few"),
    ],
)
def test_what_cannot_be_asked(relight: RelightPipeline, change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        relight(ball(0)[0], **change)


def test_what_is_no_square_is_refused(relight: RelightPipeline) -> None:
    wide, depth = torch.zeros(1, 3, 32, 40), torch.zeros(1, 1, 32, 32)
    for ask in (relight.light_of, lambda x: relight.look(x, depth), lambda x: relight.redraw(x, depth, 1.0)):
        with pytest.raises(ValueError, match="40 x 32 pixels are no square"):
            ask(wide)


def test_depth_to_image_starts_from_a_picture(pipeline) -> None:
    rgb, depth = small(ball(30)[0]), small(ball(30)[1])

    def drawn(strength: float, **given: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipeline.depth_to_image(depth, strength=strength, steps=10, generator=generator, **given)

    with torch.no_grad():
        coded = pipeline.codec.decode(pipeline.codec.encode(rgb)).clamp(-1, 1)
    off = [float((drawn(strength, rgb=rgb) - coded).square().mean()) for strength in (0.1, 0.5, 0.9)]
    assert off[0] < off[1] < off[2]
    assert pipeline.num_timesteps == 9
    assert torch.equal(drawn(1.0, rgb=rgb), drawn(1.0))
    for strength, given in ((0.5, {}), (0.0, {"rgb": rgb}), (1.5, {"rgb": rgb})):
        with pytest.raises(ValueError, match="strength"):
            drawn(strength, **given)
