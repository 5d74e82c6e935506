import collections
import io
import logging
import os
import tarfile
import uuid

import fakes
import fsspec
import pytest
import torch
import webdataset as wds
from reading import keys

from jdap.batch import ImageBatch
from jdap.data import tars
from jdap.data.shards import ALONE, ReaderShard, ShardError, image_processors, resolve_shards

PEOPLE, FRAMES = 7, 3


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Four shards of 2, 2, 2 and 1 people of 3 stills each."""
    folder = tmp_path_factory.mktemp("stills")
    fakes.write_fakes(folder, people=PEOPLE, frames=FRAMES, size_px=16, per_shard=2)
    return folder


@pytest.fixture
def copies(stills, tmp_path):
    """The same, to be damaged."""
    for path in stills.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def memory(stills):
    """The same, in fsspec's memory store."""
    root = f"memory://{uuid.uuid4().hex}"
    for path in stills.iterdir():
        with fsspec.open(f"{root}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    return root


def every_key(stills_frames: int = FRAMES) -> list[str]:
    return sorted(f"fake-0-{p}-stills-0-000000/{f:04d}" for p in range(PEOPLE) for f in range(stills_frames))


def names(urls) -> list[str]:
    return [os.path.basename(url) for url in urls]


FOUR = [f"fakes-00000{i}.tar" for i in range(4)]


class TestResolving:
    def test_a_folder(self, stills):
        assert resolve_shards(str(stills)) == [str(stills / name) for name in FOUR]

    def test_one_file(self, stills):
        assert resolve_shards(str(stills / FOUR[2])) == [str(stills / FOUR[2])]

    def test_brace_patterns_and_globs(self, stills):
        assert names(resolve_shards(f"{stills}/fakes-{{000001..000003}}.tar")) == FOUR[1:]
        assert names(resolve_shards(f"{stills}/fakes-00000{{0,3}}.tar")) == [FOUR[0], FOUR[3]]
        assert names(resolve_shards(f"{stills}/*-00000[01].tar")) == FOUR[:2]

    def test_urls(self, stills, memory):
        assert names(resolve_shards(memory)) == FOUR
        assert names(resolve_shards(f"{memory}/fakes-{{000000..000002}}.tar")) == FOUR[:3]
        assert names(resolve_shards(f"{memory}/*3.tar")) == FOUR[3:]
        assert names(resolve_shards(f"file://{stills}")) == FOUR
        assert all("://" in url for url in resolve_shards(memory))

    def test_a_list_is_read_in_order_and_each_shard_once(self, stills, memory):
        found = resolve_shards([f"{stills}/{FOUR[3]}", str(stills), memory])
        assert names(found) == [FOUR[3], *FOUR[:3], *FOUR]

    def test_an_incomplete_shard_is_left_out(self, copies, caplog):
        (copies / "fakes-000001.json").unlink()
        with caplog.at_level(logging.WARNING):
            assert names(resolve_shards(str(copies))) == [FOUR[0], *FOUR[2:]]
        assert "1 shards without a sidecar are skipped as incomplete" in caplog.text
        assert "fakes-000001.tar" in caplog.text

    def test_shards_of_others_need_no_sidecars(self, copies):
        for sidecar in copies.glob("*.json"):
            sidecar.unlink()
        assert names(resolve_shards(str(copies))) == FOUR

    @pytest.mark.parametrize(
        "spec",
        ["{tmp}", "{tmp}/nowhere", "{tmp}/*.tar", "{tmp}/a-{{0..3}}.tar", "memory://nowhere", "nosuch://x/a.tar.d", []],
    )
    def test_nothing_found_names_the_spec_and_the_remedy(self, spec, tmp_path):
        spec = spec.format(tmp=tmp_path) if isinstance(spec, str) else spec
        with pytest.raises(ShardError, match=r"`make shards` or `python -m data_prep prepare`") as error:
            resolve_shards(spec)
        assert "\n" not in str(error.value)
        assert not spec or spec in str(error.value)

    def test_one_missing_shard_of_a_pattern_is_named(self, stills):
        with pytest.raises(ShardError, match=r"fakes-000004\.tar does not exist"):
            resolve_shards(f"{stills}/fakes-{{000002..000004}}.tar")


class TestEvaluation:
    def test_every_frame_is_a_target_once_in_order(self, stills):
        batches = list(wds.DataPipeline(*image_processors(resolve_shards(str(stills)), batch_size=4)))
        assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 1]
        assert all(isinstance(b, ImageBatch) for b in batches)
        found = [key for b in batches for key in b.key]
        assert found == every_key()

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16])
    def test_every_sample_is_seen_once_by_all_readers(self, stills, count):
        urls = resolve_shards(str(stills))
        shares = [keys(image_processors(urls, 2, share=ReaderShard(i, count))) for i in range(count)]
        assert sorted(key for share in shares for key in share) == every_key()
        if count <= PEOPLE:
            assert all(shares), "a reader was idle"

    def test_it_is_the_same_every_time(self, stills):
        urls = resolve_shards(str(stills))
        first, second = (list(wds.DataPipeline(*image_processors(urls, 5))) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a.rgb, b.rgb)
            assert torch.equal(a.reference_rgb, b.reference_rgb)

    def test_from_a_url(self, memory):
        assert keys(image_processors(resolve_shards(memory), 4)) == every_key()

    def test_eval_frames_and_size(self, stills):
        stages = image_processors(resolve_shards(str(stills)), 4, size_px=32, eval_frames=1)
        batches = list(wds.DataPipeline(*stages))
        assert sum(len(b) for b in batches) == PEOPLE
        assert batches[0].rgb.shape[-1] == 32

    def test_depth_is_normalised_after_resizing(self, stills):
        (batch,) = wds.DataPipeline(*image_processors(resolve_shards(str(stills)), 100, size_px=24))
        for z, skin, (near, far) in zip(batch.depth_mm, batch.skin, batch.range_mm, strict=True):
            quantiles = torch.quantile(z[skin & (z > 0)], torch.tensor([0.02, 0.98]))
            torch.testing.assert_close(torch.stack([near, far]), quantiles)


class TestTraining:
    def test_the_seed_decides(self, stills):
        urls = resolve_shards(str(stills))
        first = keys(image_processors(urls, 4, seed=1, shuffle=8), 10)
        assert first == keys(image_processors(urls, 4, seed=1, shuffle=8), 10)
        assert first != keys(image_processors(urls, 4, seed=2, shuffle=8), 10)

    def test_it_is_endless_and_draws_everything(self, stills):
        seen = collections.Counter(keys(image_processors(resolve_shards(str(stills)), 7, seed=0, shuffle=4), 40))
        assert sorted(seen) == every_key()
        by_person = collections.Counter({p: 0 for p in range(PEOPLE)})
        for key, n in seen.items():
            by_person[int(key.split("-")[2])] += n
        # 280 pairs of 7 people, each once a turn: 40 of each, but for the turns under way and in the buffer.
        assert all(36 <= n <= 44 for n in by_person.values())

    def test_turns_are_shuffled_differently(self, stills):
        found = keys(image_processors(resolve_shards(str(stills)), 7, seed=0), 8)
        turns = [tuple(key.split("/")[0] for key in found[i : i + 7]) for i in range(0, 56, 7)]
        assert all(len(set(turn)) == 7 for turn in turns)
        assert len(set(turns)) > 4

    def test_pairs_are_drawn_of_one_reading(self, stills):
        found = keys(image_processors(resolve_shards(str(stills)), 6, seed=0, pairs=6), 3)
        for i in range(0, 18, 6):
            assert len({key.split("/")[0] for key in found[i : i + 6]}) == 1
            assert len(set(found[i : i + 6])) > 1

    def test_reference_and_target_are_two_pictures_of_one_person(self, stills):
        everything = {}
        for batch in wds.DataPipeline(*image_processors(resolve_shards(str(stills)), 1)):
            everything[batch.key[0]] = batch.rgb[0]
        stages = image_processors(resolve_shards(str(stills)), 1, seed=0)
        for _, batch in zip(range(30), wds.DataPipeline(*stages), strict=False):
            (source,) = [key for key, rgb in everything.items() if torch.equal(rgb, batch.reference_rgb[0])]
            assert source.split("/")[0] == batch.key[0].split("/")[0]
            assert source != batch.key[0]

    @pytest.mark.parametrize("count", [3, 9, 30])
    def test_more_readers_than_shards_or_samples_do_not_starve(self, stills, count):
        urls = resolve_shards(str(stills))
        for index in (0, count - 1):
            stages = image_processors(urls, 4, share=ReaderShard(index, count), seed=0, shuffle=8, keep_bytes=1 << 20)
            assert len(keys(stages, 5)) == 20

    def test_readers_share_out_the_shards(self, stills):
        urls = resolve_shards(str(stills))
        first, second = (keys(image_processors(urls, 1, share=ReaderShard(i, 2), seed=0), 2) for i in range(2))
        assert not {k.split("/")[0] for k in first} & {k.split("/")[0] for k in second}

    def test_kept_shards_are_read_once_and_give_the_same(self, stills, monkeypatch):
        urls, opened = resolve_shards(str(stills)), []
        real = tars.read_tar
        monkeypatch.setattr(tars, "read_tar", lambda url: opened.append(url) or real(url))
        read = keys(image_processors(urls, 7, seed=0), 6)
        assert len(opened) > 20
        opened.clear()
        assert keys(image_processors(urls, 7, seed=0, keep_bytes=1 << 30), 6) == read
        assert sorted(opened) == urls
        # this fits, shards of two people do not
        one = sum(len(value) for sample in tars.samples_of(urls[3]) for value in sample.values())
        opened.clear()
        assert keys(image_processors(urls, 7, seed=0, keep_bytes=one), 6) == read
        counts = collections.Counter(opened)
        assert counts.pop(urls[3]) == 1
        assert min(counts.values()) > 4

    def test_augmentation_is_applied_by_the_pairs_own_chance(self, stills):
        drawn = []

        def note(example, generator):
            drawn.append((example.key, generator.initial_seed()))
            return example

        keys(image_processors(resolve_shards(str(stills)), 7, seed=0, pairs=2, augmentation=note), 8)
        assert len(set(seed for _, seed in drawn)) == len(drawn) >= 56


class TestBadShards:
    def damage(self, folder, kind: str) -> None:
        bad = folder / FOUR[1]
        data = bad.read_bytes()
        if kind == "cut":
            bad.write_bytes(data[: len(data) // 2 // 512 * 512 + 100])
        elif kind == "cut at a sample":
            with tarfile.open(bad) as tar:
                second = next(i for i in tar if i.name.startswith("fake-0-3") and i.name.endswith(".json"))
            bad.write_bytes(data[: second.offset])
        elif kind == "empty":
            bad.write_bytes(b"")
        elif kind == "no tar":
            bad.write_bytes(b"not a tar " * 2000)
        elif kind == "no sample":
            tarfile.open(bad, "w").close()
        elif kind == "missing":
            bad.unlink()
        else:
            with tarfile.open(bad) as tar:
                members = {i.name: tar.extractfile(i).read() for i in tar}
            for name in list(members):
                if kind == "bad picture" and "rgb" in name:
                    members[name] = b"garbage"
                if kind == "lacking members" and "skin" in name:
                    del members[name]
            with tarfile.open(bad, "w") as tar:
                for name, content in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    KINDS = ("cut", "cut at a sample", "empty", "no tar", "no sample", "missing", "bad picture", "lacking members")

    @pytest.mark.parametrize("kind", KINDS)
    def test_evaluation_stops_and_names_the_shard(self, copies, kind):
        urls = resolve_shards(str(copies))
        self.damage(copies, kind)
        with pytest.raises(ShardError, match=r"fakes-000001\.tar: .*data_prep verify") as error:
            keys(image_processors(urls, 2))
        assert "\n" not in str(error.value)
        assert " object at 0x" not in str(error.value)

    @pytest.mark.parametrize("kind", KINDS)
    def test_training_goes_on_with_one_warning(self, copies, kind, caplog):
        urls = resolve_shards(str(copies))
        self.damage(copies, kind)
        with caplog.at_level(logging.WARNING):
            seen = {key.split("-")[2] for key in keys(image_processors(urls, 4, seed=0), 20)}
        assert {"0", "1", "4", "5", "6"} <= seen
        if kind not in ("cut", "cut at a sample"):
            assert not seen & {"2", "3"}
        warnings = [r.message for r in caplog.records if "skipped in training" in r.message]
        assert len(warnings) == 1
        assert "fakes-000001.tar" in warnings[0]

    def test_a_reader_whose_share_is_bad_reads_elsewhere(self, copies):
        urls = resolve_shards(str(copies))[:2]
        self.damage(copies, "empty")
        for index in range(2):
            found = keys(image_processors(urls, 2, share=ReaderShard(index, 2), seed=0), 20)
            assert {key.split("-")[2] for key in found} == {"0", "1"}

    @pytest.mark.parametrize("kind", ["empty", "no sample", "bad picture", "missing"])
    def test_nothing_but_bad_shards_ends_with_an_error(self, copies, kind):
        urls = [str(copies / FOUR[1])]
        self.damage(copies, kind)
        with pytest.raises(ShardError, match="fakes-000001"):
            keys(image_processors(urls, 2, seed=0), 1)


def test_shares_are_checked():
    assert (ALONE.index, ALONE.count) == (0, 1)
    with pytest.raises(ValueError, match="within 0"):
        ReaderShard(2, 2)
