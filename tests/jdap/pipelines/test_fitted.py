"""A face of another depth map, laid into depth without a seam."""

import numpy as np
import pytest
import torch

from jdap.pipelines.fitted import FittedDepth, lay_in

S = 128


def scene():
    """A head before a far wall with a face in it, twice: whole, with a dull face; and a sharp face in another frame."""
    at = torch.linspace(-1, 1, S)
    v, u = at[:, None], at[None]
    radius = (u**2 + v**2).sqrt()
    head = (0.9 * radius - 0.7).where(radius < 0.8, torch.tensor(1.0))
    nose = torch.exp(-(radius**2) / 0.02)
    face = radius < 0.45
    whole = head[None, None]
    other = 0.8 * head - 0.1 - 0.3 * nose
    return whole, other[None, None].expand(1, 1, S, S), face[None, None]


def test_the_face_is_the_others_and_the_rest_goes_on_around_it():
    whole, other, face = scene()
    made = lay_in(other, whole, face)
    well_in = torch.nn.functional.max_pool2d((~face).float(), 13, 1, 6) == 0
    torch.testing.assert_close(made[well_in], other[well_in])
    far = whole == 1
    torch.testing.assert_close(made[far], whole[far])  # the wall stays where it was
    hair = (whole < 0.2) & (torch.nn.functional.max_pool2d(face.float(), 25, 1, 12) == 0)
    assert hair.any()
    # what lies beside the face keeps its shape, in the frame of the face
    slope, _ = np.polyfit(whole[hair].numpy(), made[hair].numpy(), 1)
    expected, _ = np.polyfit(whole[face].numpy(), other[face].numpy(), 1)
    assert slope == pytest.approx(expected, rel=0.15)


def test_there_is_no_seam():
    whole, other, face = scene()
    made = lay_in(other - 0.05, whole, face)[0, 0]
    row = made[S // 2]
    steps = (row[1:] - row[:-1]).abs()
    edge = (face[0, 0, S // 2, 1:] != face[0, 0, S // 2, :-1]).nonzero()[:, 0]
    assert float(steps[edge[0] - 6 : edge[0] + 6].max()) < 0.06


def test_a_picture_without_a_face_stays_as_it_is():
    whole, other, face = scene()
    both, faces = torch.cat([whole, whole]), torch.cat([face, torch.zeros_like(face)])
    made = lay_in(torch.cat([other, other]), both, faces)
    assert torch.equal(made[1], whole[0])
    assert not torch.equal(made[0], whole[0])
    assert FittedDepth(both, faces).found.tolist() == [True, False]


@pytest.mark.parametrize("whole", [torch.zeros(1, 1, S, S), -scene()[0]])
def test_depth_that_is_flat_or_inside_out_is_only_shifted(whole):
    _, other, face = scene()
    made = lay_in(other, whole, face)
    assert made.isfinite().all()
    torch.testing.assert_close(made[0, 0, S // 2, S // 2], other[0, 0, S // 2, S // 2])
    corner = made[0, 0, 2, 2] - made[0, 0, 2, 8]
    torch.testing.assert_close(corner, whole[0, 0, 2, 2] - whole[0, 0, 2, 8])


def test_it_is_the_same_at_another_size():
    whole, other, face = scene()
    small = [torch.nn.functional.avg_pool2d(x.float(), 2) for x in (other, whole, face)]
    made = lay_in(small[0], small[1], small[2] > 0.5)
    large = torch.nn.functional.avg_pool2d(lay_in(other, whole, face), 2)
    assert float((made - large).abs().mean()) < 0.01
