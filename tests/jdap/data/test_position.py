"""A stream that starts somewhere is the rest of the one that started at the beginning."""

import fakes
import pytest
import webdataset as wds

from jdap.data import tars
from jdap.data.clips import clip_processors
from jdap.data.curriculum import Source
from jdap.data.position import Progress, StreamPosition
from jdap.data.shards import ReaderShard, image_processors, resolve_shards, source_names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven people in four shards, two in one, and clips."""
    folder = tmp_path_factory.mktemp("position")
    fakes.write_fakes(folder / "many", people=7, frames=3, size_px=16, per_shard=2)
    fakes.write_fakes(folder / "few", people=2, frames=2, size_px=16, first_person=10)
    fakes.write_fakes(folder / "clips", people=2, frames=10, chunks=2, size_px=16, fps=25.0)
    return folder


def stream(shards, row=None, make=image_processors, **options):
    progress = Progress.of(source_names(shards), row)
    return iter(wds.DataPipeline(*make(shards, seed=3, progress=progress, **options))), progress


def told(batch) -> tuple:
    return batch.key, batch.source, batch.rgb.sum().item(), batch.reference_rgb.sum().item()


def goes_on(shards, count=18, every=1, **options) -> None:
    """From wherever it is taken up."""
    whole, rows = [], []
    batches, progress = stream(shards, **options)
    for _ in range(count):
        rows.append(progress.row())
        batch = next(batches)
        whole.append(told(batch))
    assert len({keys for keys, *_ in whole}) > 3
    for k in range(0, count, every):
        batches, progress = stream(shards, rows[k], **options)
        assert progress.row() == rows[k]
        for n, batch in zip(range(k, min(count, k + 6)), batches, strict=False):
            assert told(batch) == whole[n], (k, n)
            assert progress.row() == (rows[n + 1] if n + 1 < count else progress.row())


@pytest.mark.parametrize("shuffle", [0, 3, 100])
@pytest.mark.parametrize("pairs", [1, 3])
def test_one_set_of_shards(folder, shuffle, pairs):
    goes_on(resolve_shards(str(folder / "many")), batch_size=2, shuffle=shuffle, pairs=pairs, every=5)


@pytest.mark.parametrize(("index", "count"), [(1, 2), (5, 6), (8, 9)])
def test_a_reader_of_many(folder, index, count):
    """With shards of its own, and where they are too few so that samples are shared out."""
    goes_on(resolve_shards(str(folder / "many")), batch_size=2, shuffle=3, share=ReaderShard(index, count), every=5)


def test_named_sources(folder):
    """One of them is drawn from the tenth batch on only."""
    now = [0]
    sources = {
        "many": Source(resolve_shards(str(folder / "many")), 1.0),
        "few": Source(resolve_shards(str(folder / "few")), [(9, 0.0), (10, 1.0)]),
    }
    whole, rows = [], []
    batches, progress = stream(sources, batch_size=3, shuffle=4, step=lambda: now[0])
    for n in range(24):
        now[0] = n
        rows.append(progress.row())
        whole.append(next(batches).key)
    assert rows[9][1:] != rows[0][1:]
    for k in (0, 3, 8, 9, 10, 15, 21):
        batches, progress = stream(sources, rows[k], batch_size=3, shuffle=4, step=lambda: now[0])
        for n in range(k, min(24, k + 6)):
            now[0] = n
            assert next(batches).key == whole[n], (k, n)


@pytest.mark.parametrize(("stride", "windows", "shuffle"), [(1, 1, 3), (2, 3, 5), (1, 3, 0)])
def test_clips(folder, stride, windows, shuffle):
    urls, options = resolve_shards(str(folder / "clips")), {"stride": stride, "windows": windows, "shuffle": shuffle}
    goes_on(urls, make=clip_processors, batch_size=1, frames=4, audio_margin=1, every=4, **options)


def test_a_reader_whose_shards_are_bad_goes_on_reading_everything(folder, tmp_path):
    for path in (folder / "many").glob("fakes-00000[01].tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "fakes-000001.tar").write_bytes(b"")
    urls = resolve_shards(str(tmp_path))
    for index in range(2):
        goes_on(urls, batch_size=1, shuffle=3, share=ReaderShard(index, 2), every=4, count=16)


def test_a_turn_gives_everything_once(folder):
    """Blocks do not reach over turns, so that 7 people are 7 different ones."""
    batches, _ = stream(resolve_shards(str(folder / "many")), batch_size=7, shuffle=5)
    for _ in range(5):
        assert len(set(next(batches).person_id)) == 7


def test_what_is_read_again_is_a_block_and_nothing_is_decoded(folder, monkeypatch):
    """Of the shards before the block none is opened."""
    urls = resolve_shards(str(folder / "many"))
    batches, progress = stream(urls, batch_size=1, shuffle=2)
    for _ in range(6):
        next(batches)
    row, opened = progress.row(), []
    real = tars.read_tar
    monkeypatch.setattr(tars, "read_tar", lambda url: opened.append(url) or real(url))
    again, _ = stream(urls, row, batch_size=1, shuffle=2)
    assert next(again).key == next(batches).key
    assert len(opened) <= 3  # the block's, and the next one's, of five in a turn and a half


def test_rows_are_places_and_back():
    progress = Progress(5, {"a": StreamPosition(1, 2, 3, 4, 5, 1, 7), "b": StreamPosition(9)})
    assert Progress.of(["a", "b"], progress.row()) == progress
    progress.held["b"] = StreamPosition()
    assert Progress.of(["a", "b"], progress.row()).places["b"] == StreamPosition()
