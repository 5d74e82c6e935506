import colorsys
from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from jdap.data import draw
from jdap.data.pose import mouth_px
from jdap.data.transforms import Colour, Example, augment, crop, draw_colour, flip, recolour, resize
from jdap.geometry import unproject


def decoded(size_px: int = 64, **options) -> Example:
    sample = fakes.sample(frames=3, size_px=size_px, **options)
    members = sample.members() | {"__key__": sample.key, "__url__": "drawn"}
    return draw.decode(draw.pick(members, sample.record, reference=0, targets=[1, 2]))


@pytest.fixture(scope="module")
def example() -> Example:
    return decoded()


def points(example: Example) -> torch.Tensor:
    """Camera-space points (F, 3, H, W)."""
    return unproject(example.depth_mm_F1HW, example.camera_px_F3)


def test_resize_scales_the_camera_so_that_points_stay_where_they_were(example):
    half = resize(example, 32)
    assert half.reference_3HW.shape == (3, 32, 32)
    assert half.rgb_F3HW.shape == (2, 3, 32, 32)
    torch.testing.assert_close(half.camera_px_F3, example.camera_px_F3 / 2)
    torch.testing.assert_close(half.reference_camera_px_3, example.reference_camera_px_3 / 2)
    assert torch.equal(half.reference_pose_6, example.reference_pose_6)
    # Depth is that of a pixel up to half a pixel away, so the points lie on the surface to within that.
    here, there = points(example), points(half)
    step_mm = 700 / example.camera_px_F3[0, 0]
    on = half.depth_mm_F1HW[:, 0] > 0
    nearest = (here[..., 1::2, 1::2] - there).norm(dim=1)[on]
    assert nearest.max() < step_mm


def test_resize_never_mixes_depth_or_skin(example):
    for size_px in (32, 48, 100):
        small = resize(example, size_px)
        assert set(small.depth_mm_F1HW.unique().tolist()) <= set(example.depth_mm_F1HW.unique().tolist())
        assert set(small.mean_head_mm_F1HW.unique().tolist()) <= set(example.mean_head_mm_F1HW.unique().tolist())
        assert small.skin_F1HW.dtype == torch.bool
        assert not small.skin_F1HW[small.depth_mm_F1HW == 0].any()


def test_resize_filters_rgb_like_pillow(example):
    small = resize(example, 24).rgb_F3HW
    for i in range(2):
        picture = (example.rgb_F3HW[i].permute(1, 2, 0) * 255).round().byte().numpy()
        reference = np.asarray(Image.fromarray(picture).resize((24, 24), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(small[i].permute(1, 2, 0).numpy(), reference, atol=1.5 / 255)


def test_resize_to_its_own_size_changes_nothing(example):
    same = resize(example, 64)
    assert torch.equal(same.rgb_F3HW, example.rgb_F3HW)
    assert torch.equal(same.camera_px_F3, example.camera_px_F3)


def test_crop_keeps_every_point(example):
    part = crop(example, left=10, top=6, side=40)
    assert part.rgb_F3HW.shape == (2, 3, 40, 40)
    torch.testing.assert_close(points(part), points(example)[..., 6:46, 10:50], rtol=0, atol=1e-3)
    assert torch.equal(part.skin_F1HW, example.skin_F1HW[..., 6:46, 10:50])
    assert torch.equal(part.reference_3HW, example.reference_3HW)
    assert torch.equal(part.reference_camera_px_3, example.reference_camera_px_3)


@pytest.mark.parametrize("window", [(-1, 0, 10), (60, 0, 10), (0, 60, 10), (0, 0, 65), (0, 0, 0)])
def test_crop_must_lie_inside(example, window):
    with pytest.raises(ValueError, match="is not inside of 64 pixels"):
        crop(example, *window)


def test_flip_mirrors_the_world_about_the_plane_x_is_0(example):
    mirrored = flip(example)
    expected = points(example).flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None]
    torch.testing.assert_close(points(mirrored), expected, rtol=0, atol=1e-3)
    assert torch.equal(mirrored.reference_3HW, example.reference_3HW.flip(-1))
    assert torch.equal(mirrored.rgb_F3HW[0, :, :, 0], example.rgb_F3HW[0, :, :, -1])
    assert torch.equal(mirrored.mean_head_mm_F1HW, example.mean_head_mm_F1HW.flip(-1))
    twice = flip(mirrored)
    torch.testing.assert_close(twice.camera_px_F3, example.camera_px_F3)
    assert torch.equal(twice.skin_F1HW, example.skin_F1HW)


def test_the_default_colour_changes_nothing(example):
    same = recolour(example, Colour())
    torch.testing.assert_close(same.rgb_F3HW, example.rgb_F3HW, rtol=0, atol=1e-5)


def one_colour(rgb, colour: Colour) -> np.ndarray:
    pixel = torch.tensor(rgb, dtype=torch.float32).reshape(1, 3, 1, 1)
    depth_mm = pixel[:, :1]
    maps, places = (depth_mm, depth_mm > 0, depth_mm), (torch.zeros(1, 3), torch.zeros(1, 6))
    nothing = (*maps, *places, torch.zeros(3), torch.zeros(6), torch.zeros(1))
    example = Example("k", "p", "studio", "s", pixel[0], pixel, *nothing)
    return recolour(example, colour).rgb_F3HW.flatten().numpy()


@pytest.mark.parametrize("rgb", [(0.2, 0.5, 0.7), (0.8, 0.6, 0.5), (0.0, 0.0, 0.0)])
def test_colours_against_independent_formulas(rgb):
    x = np.array(rgb)
    np.testing.assert_allclose(one_colour(rgb, Colour(brightness=1.2)), np.clip(x * 1.2, 0, 1), atol=1e-5)
    np.testing.assert_allclose(one_colour(rgb, Colour(contrast=0.8)), (x - 0.5) * 0.8 + 0.5, atol=1e-5)
    np.testing.assert_allclose(one_colour(rgb, Colour(gamma=1.3)), x**1.3, atol=1e-5)
    # The standard library's YIQ has slightly other coefficients; grey is where saturation 0 ends in either.
    y, i, q = colorsys.rgb_to_yiq(*rgb)
    np.testing.assert_allclose(one_colour(rgb, Colour(saturation=0.0)), [y] * 3, atol=5e-3)
    np.testing.assert_allclose(one_colour(rgb, Colour(saturation=0.5)), colorsys.yiq_to_rgb(y, i / 2, q / 2), atol=1e-2)
    c, s = np.cos(0.3), np.sin(0.3)
    turned = colorsys.yiq_to_rgb(y, c * i - s * q, s * i + c * q)
    np.testing.assert_allclose(one_colour(rgb, Colour(hue=0.3)), turned, atol=1e-2)


def test_contrast_and_brightness_are_applied_in_the_stated_order():
    result = one_colour((0.4, 0.4, 0.4), Colour(brightness=1.5, contrast=0.5, gamma=2.0))
    np.testing.assert_allclose(result, [(((0.4 - 0.5) * 0.5 + 0.5) * 1.5) ** 2] * 3, atol=1e-5)


def test_the_same_colour_goes_to_reference_and_every_frame(example):
    alike = replace(example, reference_3HW=example.rgb_F3HW[0], rgb_F3HW=example.rgb_F3HW[[0, 0]])
    changed = augment(alike, draw.seeded(3), flip_=False, jitter=0.5)
    assert not torch.allclose(changed.rgb_F3HW, alike.rgb_F3HW, atol=0.01)
    torch.testing.assert_close(changed.reference_3HW, changed.rgb_F3HW[1])
    torch.testing.assert_close(changed.rgb_F3HW[0], changed.rgb_F3HW[1])
    assert torch.equal(changed.depth_mm_F1HW, alike.depth_mm_F1HW)


def test_strong_changes_stay_in_range(example):
    for seed in range(20):
        rgb = augment(example, draw.seeded(seed), jitter=1.0, zoom=0.5).rgb_F3HW
        assert torch.isfinite(rgb).all()
        assert rgb.min() >= 0
        assert rgb.max() <= 1


def test_drawn_colours_fill_their_ranges():
    drawn = [draw_colour(0.2, draw.seeded("colour", i)) for i in range(300)]
    for values, low, high in (
        ([c.brightness for c in drawn], 0.8, 1.2),
        ([c.saturation for c in drawn], 0.8, 1.2),
        ([c.hue for c in drawn], -0.1, 0.1),
        ([c.gamma for c in drawn], np.exp(-0.2), np.exp(0.2)),
    ):
        span = high - low
        assert low <= min(values) < low + 0.05 * span
        assert high - 0.05 * span < max(values) <= high


def test_augmentation_is_drawn_by_its_generator_alone(example):
    first = augment(example, draw.seeded(1), jitter=0.2, zoom=0.3)
    torch.manual_seed(99)
    again = augment(example, draw.seeded(1), jitter=0.2, zoom=0.3)
    other = augment(example, draw.seeded(2), jitter=0.2, zoom=0.3)
    assert torch.equal(first.rgb_F3HW, again.rgb_F3HW)
    assert not torch.equal(first.rgb_F3HW, other.rgb_F3HW)


def test_half_of_the_examples_are_flipped(example):
    flipped = [
        torch.equal(augment(example, draw.seeded("flip", i)).skin_F1HW, example.skin_F1HW.flip(-1)) for i in range(200)
    ]
    assert 70 < sum(flipped) < 130
    assert not any(
        torch.equal(augment(example, draw.seeded("flip", i), flip_=False).skin_F1HW, example.skin_F1HW.flip(-1))
        for i in range(20)
    )


def test_loudness_is_uniform_in_decibels_and_never_clips():
    clip = replace(decoded(size_px=8, fps=25.0), audio=torch.tensor([0.0, -0.05, 0.1]))
    drawn = [augment(clip, draw.seeded("gain", i), gain_db=6.0).audio for i in range(300)]
    gains_db = 20 * torch.stack(drawn)[:, 2].div(0.1).log10()
    assert gains_db.min() == pytest.approx(-6, abs=0.2)
    assert gains_db.max() == pytest.approx(6, abs=0.2)
    assert gains_db.mean() == pytest.approx(0, abs=0.7)
    for audio in drawn:
        torch.testing.assert_close(audio, clip.audio * (audio[2] / 0.1))
    loud = augment(replace(clip, audio=clip.audio * 8), draw.seeded("gain", int(gains_db.argmax())), gain_db=6.0)
    torch.testing.assert_close(loud.audio, torch.tensor([0.0, -0.5, 1.0]))
    # the same pictures, with and without it
    one, other = (augment(clip, draw.seeded(1), jitter=0.2, zoom=0.3, gain_db=db) for db in (0.0, 6.0))
    assert torch.equal(one.rgb_F3HW, other.rgb_F3HW)
    assert torch.equal(one.audio, clip.audio)
    assert augment(replace(clip, audio=None), draw.seeded(1), gain_db=6.0).audio is None


def test_zoom_moves_the_camera_with_the_target(example):
    zoomed = augment(example, draw.seeded(5), flip_=False, zoom=0.4)
    assert zoomed.rgb_F3HW.shape == example.rgb_F3HW.shape
    factor = zoomed.camera_px_F3[0, 0] / example.camera_px_F3[0, 0]
    assert 1 < factor <= 1 / 0.6 + 0.05
    on = zoomed.depth_mm_F1HW[:, 0] > 0
    now = points(zoomed)
    # Every point is, to within a pixel's step, one that was there before.
    before = points(example).flatten(2)
    for i in range(2):
        cloud = before[i].T[before[i, 2] > 0]
        far = torch.cdist(now[i][:, on[i]].T, cloud).amin(1)
        assert far.max() < 1.5 * 700 / example.camera_px_F3[0, 0]


def test_pose_and_mouth_follow_the_picture(example):
    """The mouth of the posed head is at the same place of the face whatever is done to the picture."""
    before = mouth_px(example.pose_F6, example.camera_px_F3)
    half = resize(example, 32)
    torch.testing.assert_close(mouth_px(half.pose_F6, half.camera_px_F3), before / 2)
    part = crop(example, left=10, top=6, side=40)
    moved = before - torch.tensor([10.0, 6.0, 0.0])
    torch.testing.assert_close(mouth_px(part.pose_F6, part.camera_px_F3), moved)
    mirrored = flip(example)
    across = before * torch.tensor([-1.0, 1, 1]) + torch.tensor([64.0, 0, 0])
    torch.testing.assert_close(mouth_px(mirrored.pose_F6, mirrored.camera_px_F3), across)


def test_a_mirrored_pose_mirrors_every_point_of_a_head(example):
    rng = np.random.default_rng(0)
    points = rng.normal(0, 80, (20, 3))
    across = np.diag([-1.0, 1, 1])
    for pose, other in zip(example.pose_F6.numpy(), flip(example).pose_F6.numpy(), strict=True):
        turn, turned = (Rotation.from_rotvec(p[:3]).as_matrix() @ fakes.HEAD_TO_CAMERA for p in (pose, other))
        # The mirror image of a head's point is that of the mirrored head, whose left is the other's right.
        there = (points @ across) @ turned.T + other[3:]
        np.testing.assert_allclose(there, (points @ turn.T + pose[3:]) @ across, atol=1e-3)
    torch.testing.assert_close(flip(flip(example)).pose_F6, example.pose_F6)
