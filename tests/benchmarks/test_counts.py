"""How many pictures there are to measure: what the evaluation then takes."""

import pytest
from fakes import write_fakes

from benchmarks.counts import count_clips, count_pictures
from jdap.data.modules import ImageDataModule


@pytest.mark.parametrize("targets", [None, 1, 2])
def test_as_many_are_counted_as_are_measured(tmp_path, targets):
    write_fakes(tmp_path, people=3)
    data = ImageDataModule(test=str(tmp_path), batch_size=2, size_px=32, eval_frames=targets)
    taken = sum(len(batch) for batch in data.test_dataloader())
    assert count_pictures(str(tmp_path), targets=targets) == taken > 0
    assert count_pictures(str(tmp_path), limit=1, targets=targets) == 1
    assert count_clips(str(tmp_path)) == 3


def test_what_cannot_be_counted_is_only_bounded(tmp_path):
    assert count_pictures("https://example.org/{000000..000003}.tar") is None
    assert count_pictures(str(tmp_path), limit=5) == 5
