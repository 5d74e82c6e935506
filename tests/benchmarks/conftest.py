"""Batches of drawn people, without files."""

from collections.abc import Callable

import fakes
import pytest
import torch

from jdap.batch import ImageBatch
from jdap.depth import normalise, skin_range_mm
from jdap.shards.sample import Sample


def _image_batch(mean_head: bool = True, people: int = 3, first: int = 0, size_px: int = 32) -> ImageBatch:
    """One still of each of some drawn people."""
    samples = [fakes.sample(index=first + i, frames=1, size_px=size_px, mean_head=mean_head) for i in range(people)]
    rgb = torch.stack([torch.from_numpy(s.rgb_FHW3[0]).permute(2, 0, 1) / 127.5 - 1 for s in samples])
    depth_mm = torch.stack([torch.from_numpy(s.depth_mm_FHW) for s in samples])
    skin = torch.stack([torch.from_numpy(s.skin_FHW) for s in samples])
    range_mm = skin_range_mm(depth_mm, skin)
    return ImageBatch(
        reference_rgb=rgb,
        rgb=rgb,
        depth_mm=depth_mm,
        depth=normalise(depth_mm, range_mm),
        skin=skin,
        confidence=torch.ones_like(depth_mm),
        range_mm=range_mm,
        camera_px=torch.stack([torch.from_numpy(s.arrays["camera_px"][0]) for s in samples]),
        key=tuple(s.key for s in samples),
        person_id=tuple(s.record.person_id for s in samples),
        depth_source=tuple(s.record.depth_source for s in samples),
        source=tuple(s.record.depth_source for s in samples),
        **_poses(samples),
        mean_head_mm=torch.stack([torch.from_numpy(s.mean_head_mm_FHW) for s in samples]) if mean_head else None,
    )


def _poses(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Of each picture, which is its own reference."""
    arrays = [{name: torch.tensor(values[0]) for name, values in s.arrays.items()} for s in samples]
    pose = torch.stack([torch.cat([a["rotation"], a["translation_mm"]]) for a in arrays])
    camera_px = torch.stack([a["camera_px"] for a in arrays])
    return {"pose": pose, "reference_pose": pose, "reference_camera_px": camera_px}


@pytest.fixture
def fake_batch() -> Callable[..., ImageBatch]:
    """:func:`_image_batch`."""
    return _image_batch
