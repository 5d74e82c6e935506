"""The shards that ship: whole, disjoint, and what `make sample-shards` draws."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.choices import SPLIT_START
from data_prep.folders.verify import verify
from data_prep.studio.people import PersonJob, make_sample
from data_prep.studio.photograph import Studio
from jdap.io.assets import resolve
from jdap.shards.reader import read_samples

STILLS = {"train": (0, 150), "val": (0, 24), "test": (0, 100)}
TALKING = {"train": (500, 28), "val": (24, 3), "test": (100, 5)}


def shipped(folder, split):
    (shard,) = Path(resolve(f"shipped:{folder}/{split}")).glob("*.tar")
    return list(read_samples(shard))


@pytest.mark.parametrize("folder", ["shards", "talking"])
def test_every_sample_decodes_and_every_checksum_holds(folder):
    assert verify(resolve(f"shipped:{folder}")) == []


@pytest.mark.parametrize(("folder", "people"), [("shards", STILLS), ("talking", TALKING)])
def test_who_is_in_them(folder, people):
    for split, (first, count) in people.items():
        samples = shipped(folder, split)
        start = SPLIT_START[split] + first
        assert [s.record.person_id for s in samples] == [f"studio-0-{start + i}" for i in range(count)]
        assert all((s.audio is not None) == (folder == "talking") for s in samples)
        assert all((s.mean_head_mm_FHW is not None) == ((folder, split) == ("shards", "test")) for s in samples)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "kind", "index"), [("shards", "stills", 3), ("talking", "talk", 1)])
def test_the_studio_draws_them_again(assets, folder, kind, index):
    split = "test"
    stored = shipped(folder, split)[index]
    first = {"shards": STILLS, "talking": TALKING}[folder][split][0]
    job = PersonJob(0, stored.record.frames, stored.record.size_px, kind, mean_head=folder == "shards")
    drawn = make_sample(Studio(), job, SPLIT_START[split] + first + index)
    assert drawn.key == stored.key
    assert drawn.record.speech == stored.record.speech
    for name, values in stored.arrays.items():
        np.testing.assert_allclose(drawn.arrays[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
    # Another machine may round an edge's pixel to the other side.
    assert (np.abs(drawn.depth_mm_FHW - stored.depth_mm_FHW) > 0.1).mean() < 1e-3
    assert (drawn.skin_FHW != stored.skin_FHW).mean() < 1e-3
    assert np.abs(drawn.rgb_FHW3.astype(float) - stored.rgb_FHW3).mean() < 3  # JPEG
