"""The drawn people keep the contracts that other tests take from them."""

import fakes
import numpy as np
from scipy.spatial.transform import Rotation


def test_depth_is_where_the_geometry_says():
    sample = fakes.sample(index=3, frames=2, size_px=64)
    for i in range(2):
        f_px, cx, cy = sample.arrays["camera_px"][i]
        v, u = np.nonzero(sample.skin_FHW[i])
        z = sample.depth_mm_FHW[i][v, u]
        points = np.stack([(u + 0.5 - cx) / f_px * z, (v + 0.5 - cy) / f_px * z, z], -1)
        turn = Rotation.from_rotvec(sample.arrays["rotation"][i]).as_matrix() @ np.diag([1, -1, -1])
        head = (points - sample.arrays["translation_mm"][i]) @ turn
        centres, radii, parts = fakes.person(0, 3).ellipsoids(float(sample.arrays["expression"][i, 0]))
        skin = parts == fakes.SKIN
        on = np.abs((((head[:, None] - centres[skin]) / radii[skin]) ** 2).sum(-1) - 1).min(1)
        assert on.max() < 1e-3


def test_a_head_is_in_the_picture_and_faces_the_camera():
    sample = fakes.sample(frames=4, size_px=64)
    for depth, skin in zip(sample.depth_mm_FHW, sample.skin_FHW, strict=True):
        assert 0.1 < skin.mean() < 0.6
        assert not depth[[0, -1]].any()
        assert depth[skin].min() < depth[depth > 0].max() - 40


def test_people_differ_and_the_same_is_the_same():
    a, again, b = fakes.sample(index=0), fakes.sample(index=0), fakes.sample(index=1)
    np.testing.assert_array_equal(a.rgb_FHW3, again.rgb_FHW3)
    assert np.abs(a.arrays["identity"] - b.arrays["identity"]).max() > 0.5


def test_chunks_of_a_clip_go_on():
    whole = fakes.sample(frames=8, size_px=16, fps=25.0)
    second = fakes.sample(frames=4, size_px=16, fps=25.0, chunk=1)
    np.testing.assert_array_equal(whole.rgb_FHW3[4:], second.rgb_FHW3)
    np.testing.assert_allclose(whole.audio[2560:], second.audio, atol=1e-6)
    assert second.key.endswith("-000004")
