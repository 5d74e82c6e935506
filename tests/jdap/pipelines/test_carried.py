"""References that known poses and depth carry to where they are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from jdap.batch import ImageBatch
from jdap.data.modules import ImageDataModule
from jdap.data.transforms import Example, flip
from jdap.pipelines.carried import PosedHeads, carry, known_mover, posed_heads

SIDE, F_PX, AWAY_MM, RADIUS_MM = 64, 160.0, 600.0, 100.0
CAMERA = torch.tensor([[F_PX, SIDE / 2, SIDE / 2]])


def ball(yaw: float) -> tuple[Tensor, Tensor, PosedHeads]:
    """A ball whose colour is its place on it in the axes of its head, (1, 3, S, S), its depth in mm, and its pose."""
    centres = (np.arange(SIDE) + 0.5 - SIDE / 2) / F_PX
    rays = np.stack([*np.meshgrid(centres, centres), np.ones((SIDE, SIDE))], -1)
    a, b, c = (rays**2).sum(-1), -2 * AWAY_MM, AWAY_MM**2 - RADIUS_MM**2
    under = b**2 - 4 * a * c
    z = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / (2 * a), 0.0)
    pose = torch.tensor([[0.0, yaw, 0.0, 0.0, 0.0, AWAY_MM]])
    turn = Rotation.from_rotvec([0, yaw, 0]).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    on_head = (rays * z[..., None] - [0, 0, AWAY_MM]) @ turn / RADIUS_MM
    rgb = np.where(z[..., None] > 0, on_head, -1.0)
    maps = (torch.from_numpy(x).float()[None] for x in (rgb.transpose(2, 0, 1), z[None]))
    return (*maps, posed_heads(pose, CAMERA))  # type: ignore[return-value]


def test_a_point_keeps_its_colour_wherever_its_head_is() -> None:
    (there, _, first), (rgb, depth_mm, second) = ball(-0.4), ball(0.3)
    moved = carry(there, first, depth_mm, second)
    assert torch.equal(moved.seen[:, :1] > 0, depth_mm > 0)
    seen = (moved.seen[:, 1:] > 0) & (depth_mm > 0)
    assert 0.6 < seen.sum() / (depth_mm > 0).sum() < 0.95
    # Colours tell places. What is seen at the very edge of the reference is half of the background's there.
    error = (moved.rgb - rgb).abs().amax(1, keepdim=True)[seen]
    assert error.median() < 0.005
    assert error.quantile(0.9) < 0.05
    assert ((there - rgb).abs() * seen).sum() / (3 * seen.sum()) > 0.2
    assert torch.equal(moved.rgb * (depth_mm == 0), there * (depth_mm == 0))


def test_what_the_reference_hides_is_of_the_other_half() -> None:
    (there, _, first), (rgb, depth_mm, second) = ball(-1.2), ball(0.3)
    moved = carry(there, first, depth_mm, second)
    hidden = (moved.seen[:, 1] == 0) & (depth_mm[:, 0] > 0)
    # The normal's cosine to the first camera tells by itself what of a ball that sees.
    angle = Rotation.from_rotvec([0, -1.2, 0]).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    on_head = rgb[0].permute(1, 2, 0).numpy()
    away = on_head @ angle.T * RADIUS_MM + [0, 0, AWAY_MM]
    cosine = -((on_head @ angle.T) * away).sum(-1) / np.linalg.norm(away, axis=-1)
    sure = (depth_mm[0, 0].numpy() > 0) & (np.abs(cosine - 0.15) > 0.1)
    assert np.mean((hidden[0].numpy() == (cosine < 0.15))[sure]) > 0.95  # edges have no normals
    # Its mirror image is seen there: the colour of x is that of −x.
    mirrored = rgb * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    well = hidden & (mirrored[:, 0].abs() > 0.3) & (torch.from_numpy(cosine) < 0)[None]
    assert well.sum() > 50
    assert ((moved.rgb - mirrored).abs().amax(1) * well).sum() / well.sum() < 0.05


def test_a_head_of_which_nothing_is_seen_is_none() -> None:
    (there, _, first), (_, depth_mm, second) = ball(0.0), ball(0.0)
    behind = first._replace(translation_mm_B3=-first.translation_mm_B3)
    assert not carry(there, behind, depth_mm, second).found.any()
    assert not carry(there, first, torch.zeros_like(depth_mm), second).found.any()


@pytest.fixture(scope="module")
def batch() -> ImageBatch:
    """Eight pictures of four people that ship."""
    data = ImageDataModule(test="shipped:shards/val", batch_size=8)
    found: ImageBatch = next(iter(data.test_dataloader()))
    return found


def test_a_carried_reference_is_nearer_to_the_picture_than_it_was(batch: ImageBatch) -> None:
    mover = known_mover(batch)
    assert mover is not None
    moved = mover(None, batch.depth)
    seen = batch.skin & (moved.seen[:, 1:] > 0)
    before, after = (((x - batch.rgb).square() * seen).sum() for x in (batch.reference_rgb, moved.rgb))
    assert after < 0.25 * before
    assert moved.found.all()


def test_the_mirrored_batch_is_carried_alike(batch: ImageBatch) -> None:
    assert batch.pose is not None
    assert batch.reference_pose is not None
    assert batch.reference_camera_px is not None
    flipped = flip(
        Example(
            *("k", "p", "studio", "s"),
            *(batch.reference_rgb[0], batch.rgb[:1], batch.depth_mm[:1], batch.skin[:1], batch.confidence[:1]),
            *(batch.camera_px[:1], batch.pose[:1], batch.reference_camera_px[0], batch.reference_pose[0]),
            torch.zeros(1),
        )
    )
    mirrored = carry(
        flipped.reference_3HW[None],
        posed_heads(flipped.reference_pose_6[None], flipped.reference_camera_px_3[None]),
        flipped.depth_mm_F1HW,
        posed_heads(flipped.pose_F6, flipped.camera_px_F3),
    )
    mover = known_mover(batch, 1)
    assert mover is not None
    own = mover(None, batch.depth)
    torch.testing.assert_close(mirrored.rgb.flip(-1), own.rgb, rtol=0, atol=1e-2)
    assert (mirrored.seen.flip(-1) != own.seen).float().mean() < 0.01


def test_several_portraits_share_a_reference(batch: ImageBatch) -> None:
    assert batch.reference_pose is not None
    assert batch.reference_camera_px is not None
    kept = slice(None, None, 2)
    shared = replace(
        batch,
        reference_rgb=batch.reference_rgb[kept],
        reference_pose=batch.reference_pose[kept],
        reference_camera_px=batch.reference_camera_px[kept],
    )
    some, whole = known_mover(shared, 3), known_mover(shared)
    assert some is not None
    assert whole is not None
    assert torch.equal(some(None, batch.depth[:3]).rgb, whole(None, batch.depth).rgb[:3])
    own = known_mover(batch)
    assert own is not None
    assert torch.equal(own(None, batch.depth).rgb[::2], whole(None, batch.depth).rgb[::2])
    assert known_mover(replace(batch, pose=None)) is None
