import hashlib
import itertools

import fakes
import pytest
import webdataset as wds

from jdap.data.curriculum import Source
from jdap.data.modules import ClipDataModule, ImageDataModule
from jdap.data.people import chosen_people, theirs
from jdap.data.shards import ReaderShard, image_processors
from jdap.shards.urls import ShardError, resolve_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine people, two to a shard."""
    folder = tmp_path_factory.mktemp("people")
    fakes.write_fakes(folder, people=9, frames=2, size_px=16, per_shard=2)
    return folder


def seen(loader, batches: int) -> set[str]:
    return {person for batch in itertools.islice(loader, batches) for person in batch.person_id}


class TestChoice:
    def test_a_number_takes_the_least_hashes_and_fewer_are_among_more(self, folder):
        urls = resolve_shards(str(folder))
        names = sorted((f"fake-0-{i}" for i in range(9)), key=lambda name: hashlib.sha256(name.encode()).digest())
        for count in range(1, 10):
            assert chosen_people(urls, count) == sorted(names[:count])
        assert chosen_people(urls[::-1], 4) == chosen_people(urls, 4)

    def test_names_are_those_people(self, folder):
        assert chosen_people(resolve_shards(str(folder)), ["fake-0-7", "fake-0-2"]) == ["fake-0-2", "fake-0-7"]

    @pytest.mark.parametrize(
        ("people", "says"),
        [(10, r"people 10: .* hold 9; ask for fewer"), (["fake-0-1", "anna"], "nobody named 'anna'")],
    )
    def test_who_is_not_there_is_said_before_any_step(self, folder, people, says):
        module = ImageDataModule({"few": Source(str(folder), people=people)}, size_px=16)
        with pytest.raises(ShardError, match=f"source 'few': .*{says}") as error:
            module.check()
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("people", [0, -1, []])
    def test_nobody_is_refused(self, folder, people):
        with pytest.raises(ValueError, match="source 'few': people must be at least 1"):
            ImageDataModule({"few": Source(str(folder), people=people)})

    def test_a_number_is_no_set_of_people(self, folder):
        with pytest.raises(ValueError, match="people 3"):
            theirs(Source(str(folder), people=3))


class TestTraining:
    def test_they_alone_are_met_and_all_of_them(self, folder):
        module = ImageDataModule({"few": Source(str(folder), people=4)}, batch_size=4, size_px=16, shuffle=4)
        assert seen(module.train_dataloader(), 12) == set(chosen_people(resolve_shards(str(folder)), 4))

    def test_the_other_source_keeps_everyone(self, folder):
        sources = {"few": Source(str(folder), people=["fake-0-3"]), "all": Source(str(folder))}
        batches = list(itertools.islice(ImageDataModule(sources, batch_size=8, size_px=16).train_dataloader(), 12))
        by = {"few": set(), "all": set()}
        for batch in batches:
            for person, source in zip(batch.person_id, batch.source, strict=True):
                by[source].add(person)
        assert by == {"few": {"fake-0-3"}, "all": {f"fake-0-{i}" for i in range(9)}}

    def test_readers_whose_shards_hold_none_of_them_are_not_idle(self, folder):
        """One person of one shard: at most one of three readers finds that shard in a turn."""
        sources = {"few": Source(resolve_shards(str(folder)), people=["fake-0-3"])}
        for index in range(3):
            stages = image_processors(sources, 2, share=ReaderShard(index, 3), seed=0)
            assert seen(wds.DataPipeline(*stages), 5) == {"fake-0-3"}

    def test_clips_too(self, tmp_path):
        fakes.write_fakes(tmp_path, people=3, frames=4, size_px=16, fps=25.0)
        module = ClipDataModule({"one": Source(str(tmp_path), people=["fake-0-1"])}, batch_size=1, frames=4, size_px=16)
        assert seen(module.train_dataloader(), 4) == {"fake-0-1"}
