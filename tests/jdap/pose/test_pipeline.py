"""The pose pipeline on a real face, judged by a landmark detector; drawing by untrained networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import small_pipeline
from PIL import Image
from scipy.ndimage import distance_transform_edt

from jdap.faces.landmarker import Landmarker
from jdap.pose.change import Change, PoseError
from jdap.pose.heads import Heads
from jdap.pose.motion import degrees
from jdap.pose.pipeline import PosePipeline, soft_region

SIDE = 256


@pytest.fixture(scope="module")
def pose(heads: Heads) -> PosePipeline:
    return PosePipeline(small_pipeline(), heads)


@pytest.fixture(scope="module")
def face(assets: Path) -> Image.Image:
    whole = Image.open(assets / "portraits" / "astronaut.png").convert("RGB")
    return whole.crop((70, 0, 390, 320)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def landmarks(landmarker: Landmarker, image: Image.Image) -> np.ndarray:
    (found,) = landmarker.detect(np.asarray(image.resize((512, 512))))
    return found.landmarks_px_N3


def test_nothing_changed_is_the_picture_to_the_bit(pose: PosePipeline, face: Image.Image) -> None:
    made = pose([face], {"yaw": 0})
    np.testing.assert_array_equal(np.asarray(made.rgb[0]), np.asarray(face))
    assert made.depth is None
    assert made.motions[0].unseen == 0


def test_a_jaw_that_opens_parts_the_lips(pose: PosePipeline, face: Image.Image, landmarker: Landmarker) -> None:
    def opening(image: Image.Image) -> float:
        points = landmarks(landmarker, image)
        return float(points[14, 1] - points[13, 1]) / float(np.ptp(points[:, 0]))

    made = pose([face], {"jawOpen": 0.6})
    assert opening(made.rgb[0]) > 1.8 * opening(face)
    # What is far from the head stays to the bit.
    head = np.asarray(Image.fromarray(made.motions[0].head_SS.numpy()).resize((SIDE, SIDE)))
    away = distance_transform_edt(~head) > 0.2 * SIDE
    assert away.mean() > 0.1
    np.testing.assert_array_equal(np.asarray(made.rgb[0])[away], np.asarray(face)[away])


@pytest.mark.parametrize("yaw", [-15.0, 15.0])
def test_a_head_that_turns_is_found_turned(
    pose: PosePipeline, face: Image.Image, landmarker: Landmarker, yaw: float
) -> None:
    made = pose([face], {"yaw": yaw}).rgb[0]
    # By mediapipe's own surface: how much nearer one cheek is than the other.
    turned = []
    for image in (face, made):
        points = landmarks(landmarker, image)
        across = points[454] - points[234]
        turned.append(np.degrees(np.arctan2(across[2], across[0])))
    assert turned[1] - turned[0] == pytest.approx(yaw, abs=6)


@pytest.mark.slow
def test_the_model_draws_the_head_and_nothing_else(pose: PosePipeline, face: Image.Image) -> None:
    how = {"by": "model", "steps": 2, "output_type": "np"}
    given = np.asarray(face)[None] / np.float32(255)
    first, again = (pose(given, {"yaw": 10}, generator=torch.Generator().manual_seed(0), **how) for _ in range(2))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert first.depth.shape == (1, 32, 32, 1)
    outside = (soft_region(first.motions[0], SIDE)[0, 0] == 0).numpy()
    assert 0.05 < outside.mean() < 0.9
    np.testing.assert_allclose(first.rgb[0][outside], given[0][outside], atol=1e-6)
    assert np.abs(first.rgb - given)[0][~outside].mean() > 0.02


@pytest.mark.slow
def test_each_picture_has_its_generator(pose: PosePipeline, face: Image.Image) -> None:
    how = {"by": "model", "steps": 1, "output_type": "pt"}
    first, second = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    both = pose([face, face], {"yaw": 5}, generator=[first, second], **how).rgb
    alone = pose([face], {"yaw": 5}, generator=torch.Generator().manual_seed(1), **how).rgb
    torch.testing.assert_close(both[1:], alone)
    with pytest.raises(ValueError, match="1 generators for 2 pictures"):
        pose([face, face], {"yaw": 5}, generator=[first], **how)


def test_new_depth_of_nothing_changed_is_the_old_one(pose: PosePipeline, face: Image.Image) -> None:
    still = pose.move(pose.fit(np.asarray(face)), Change())
    old = -torch.nn.functional.interpolate(still.depth_SS[None, None], (32, 32), mode="nearest")
    near, far = -old[old < 0].max(), -old[old < 0].min()
    depth = torch.where(old < 0, 1.6 * (-old - near) / (far - near) - 1, torch.ones_like(old))
    torch.testing.assert_close(pose.new_depth(depth, still), depth, atol=0.02, rtol=0)


def test_a_fitted_head_looks_where_the_face_does(pose: PosePipeline, face: Image.Image) -> None:
    head = pose.fit(np.asarray(face))
    mirrored = pose.fit(np.ascontiguousarray(np.asarray(face)[:, ::-1]))
    yaw, pitch, roll = degrees(head.rotation_33)
    other = degrees(mirrored.rotation_33)
    assert other == pytest.approx((-yaw, pitch, -roll), abs=2.5)
    assert head.error < 0.01


def test_what_is_wrong_is_said(pose: PosePipeline, face: Image.Image) -> None:
    with pytest.raises(PoseError, match="no face"):
        pose([Image.new("RGB", (64, 64), "grey")], {"yaw": 5})
    with pytest.raises(PoseError, match=r"'smile'.*mouthSmile"):
        pose([face], Change({"smile": 0.5}))
    with pytest.raises(ValueError, match="'paint'"):
        pose([face], {"yaw": 5}, by="paint")
    with pytest.raises(ValueError, match="strength"):
        pose([face], {"yaw": 5}, by="model", strength=0.5)
    with pytest.raises(ValueError, match="40 x 32 pixels are no square"):
        pose(torch.zeros(1, 3, 32, 40), {"yaw": 5})
    with pytest.raises(ValueError, match="64 x 32 pixels are no square"):
        pose.fit(np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="without weights"):
        PosePipeline(None, pose.heads)([face], {"yaw": 5}, by="model")
