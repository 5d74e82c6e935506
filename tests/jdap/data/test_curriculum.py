import collections
import itertools

import fakes
import lightning as L
import pytest
import torch
import webdataset as wds
from torch import nn

from jdap.data.curriculum import Mix, Source, used
from jdap.data.modules import ClipDataModule, ImageDataModule
from jdap.data.position import Progress
from jdap.data.shards import ReaderShard, ShardError, image_processors, resolve_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Studio: seven people in four shards. Fitted: two in one shard."""
    folder = tmp_path_factory.mktemp("sources")
    fakes.write_fakes(folder / "studio", people=7, frames=2, size_px=16, per_shard=2)
    fakes.write_fakes(folder / "fitted", people=2, frames=2, size_px=16, first_person=10, depth_source="fitted")
    return folder


def image_module(folder, studio=1.0, fitted=1.0, confidence=None, **options) -> ImageDataModule:
    sources = {
        "studio": Source(str(folder / "studio"), studio),
        "wild": Source(str(folder / "fitted"), fitted, confidence),
    }
    return ImageDataModule(sources, **{"batch_size": 2, "size_px": 16, "epoch_steps": 5, "shuffle": 4} | options)


class TestWeights:
    def test_a_schedule_is_linear_between_its_steps_and_constant_outside(self):
        source = Source("x", [(10, 0.0), (20, 2.0), (40, 1.0)])
        at = {0: 0, 10: 0, 15: 1, 19: 1.8, 20: 2, 30: 1.5, 40: 1, 1000: 1}
        assert {step: source.weight_at(step) for step in at} == pytest.approx(at)
        assert Source("x", 0.25).weight_at(7) == 0.25

    def test_sources_that_never_have_weight_are_not_used(self):
        sources = {"a": Source("x", 0.0), "b": Source("y"), "c": Source("z", [(0, 0.0), (9, 0.0)])}
        assert list(used(sources)) == ["b"]

    @pytest.mark.parametrize(
        ("sources", "says"),
        [
            ({}, "names no source"),
            ({"a": Source("x", -1.0)}, "source 'a': weight must be finite and at least 0"),
            ({"a": Source("x", float("nan"))}, "source 'a': weight must be finite"),
            ({"a": Source("x", [])}, r"source 'a': the steps of weight \[\]"),
            ({"a": Source("x", [(5, 1.0), (5, 2.0)])}, "source 'a': the steps .* must rise"),
            ({"a": Source("x", [(-1, 1.0)])}, "source 'a': the steps .* must rise"),
            ({"a": Source("x", 1.0, 1.5)}, r"source 'a': confidence must lie in \[0, 1\], got 1.5"),
            ({"a b": Source("x")}, "source 'a b': a name is"),
            ({"a": Source("x", [(0, 1.0), (5, 0.0)]), "b": Source("y", [(5, 0.0), (9, 1.0)])}, "at step 5: a, b"),
        ],
    )
    def test_mistakes_name_the_source(self, sources, says):
        with pytest.raises(ValueError, match=says) as error:
            ImageDataModule(sources)
        assert "\n" not in str(error.value)


class TestMixing:
    def draws(self, sources, count, step=lambda: 0, seed="0") -> list[str]:
        streams = {name: [lambda name=name: itertools.repeat(name)] for name in sources}
        return list(itertools.islice(Mix(sources, streams, step, seed, Progress.of(sources))(), count))

    def test_shares_are_the_weights(self):
        drawn = self.draws({"a": Source("x", 3.0), "b": Source("y", 1.0)}, 4000)
        # 4 standard deviations of a binomial share
        assert collections.Counter(drawn)["a"] / 4000 == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 4000) ** 0.5)

    def test_they_follow_the_step(self):
        clock = itertools.count()
        drawn = self.draws({"a": Source("x", [(0, 1.0), (2000, 0.0)]), "b": Source("y")}, 2000, lambda: next(clock))
        for first in range(0, 2000, 500):
            weights = [1 - step / 2000 for step in range(first, first + 500)]
            expected = sum(w / (w + 1) for w in weights) / 500
            assert drawn[first : first + 500].count("a") / 500 == pytest.approx(expected, abs=4 * 0.5 / 500**0.5)

    def test_the_seed_decides(self):
        sources = {"a": Source("x"), "b": Source("y")}
        assert self.draws(sources, 50) == self.draws(sources, 50)
        assert self.draws(sources, 50) != self.draws(sources, 50, seed="1")

    def test_it_does_not_matter_how_many_samples_a_source_holds(self, folder):
        batches = itertools.islice(image_module(folder, batch_size=50).train_dataloader(), 5)
        count = collections.Counter(source for batch in batches for source in batch.source)
        assert count["wild"] / 250 == pytest.approx(0.5, abs=4 * 0.5 / 250**0.5)

    def test_readers_share_each_source_without_overlap(self, folder):
        """Two of studio's four shards each; of the one fitted shard every other sample."""
        urls = {n: Source(resolve_shards(str(folder / n))) for n in ("studio", "fitted")}
        people = []
        for index in range(2):
            stages = image_processors(urls, 8, share=ReaderShard(index, 2), seed=0, shuffle=4)
            batches = itertools.islice(wds.DataPipeline(*stages), 4)
            people.append([set(), set()])
            for batch in batches:
                for person, source in zip(batch.person_id, batch.source, strict=True):
                    people[-1][source == "fitted"].add(person)
        first, second = people
        # Shards are dealt anew each turn, so over turns everyone meets everything; a turn has no overlap.
        assert first[0] | second[0] == {f"fake-0-{i}" for i in range(7)}
        one_turn = []
        for index in range(2):
            stages = image_processors({"fitted": urls["fitted"]}, 1, share=ReaderShard(index, 2), seed=0)
            one_turn.append(next(iter(wds.DataPipeline(*stages))).person_id)
        assert set(one_turn[0]).isdisjoint(one_turn[1])

    @pytest.mark.parametrize("count", [3, 5])
    def test_a_source_smaller_than_the_number_of_readers_still_gives_to_everyone(self, folder, count):
        urls = {"fitted": Source(resolve_shards(str(folder / "fitted")))}
        for index in range(count):
            stages = image_processors(urls, 2, share=ReaderShard(index, count), seed=0)
            assert len(list(itertools.islice(wds.DataPipeline(*stages), 3))) == 3


class TestBadSources:
    def test_one_that_is_not_there_is_named(self, folder):
        sources = {"studio": Source(str(folder / "studio")), "wild": Source(str(folder / "nowhere"))}
        with pytest.raises(ShardError, match=r"source 'wild': .*nowhere") as error:
            ImageDataModule(sources).train_dataloader()
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("damage", [b"", b"no tar at all"])
    def test_one_that_cannot_be_read_is_named_before_the_first_step(self, folder, tmp_path, damage):
        (tmp_path / "a.tar").write_bytes(damage)
        sources = {"studio": Source(str(folder / "studio")), "wild": Source(str(tmp_path), [(0, 0.0), (9000, 1.0)])}
        with pytest.raises(ShardError, match=r"source 'wild': .*a\.tar") as error:
            next(iter(ImageDataModule(sources, size_px=16).train_dataloader()))
        assert "\n" not in str(error.value)


class TestConfidence:
    def test_it_is_the_sources_setting_or_that_of_its_kind_of_depth(self, folder):
        for setting, wild in ((None, 0.5), (0.125, 0.125)):
            batch = next(iter(image_module(folder, confidence=setting, batch_size=16).train_dataloader()))
            assert set(batch.source) == {"studio", "wild"}
            for source, confidence in zip(batch.source, batch.confidence, strict=True):
                assert (confidence == (1.0 if source == "studio" else wild)).all()

    def test_a_sample_without_named_sources_is_called_after_its_depth(self, folder):
        module = ImageDataModule([str(folder / n) for n in ("studio", "fitted")], batch_size=16, size_px=16)
        batch = next(iter(module.train_dataloader()))
        assert batch.source == batch.depth_source
        assert set(batch.source) == {"studio", "fitted"}

    @pytest.mark.parametrize("make", [ImageDataModule, ClipDataModule])
    def test_a_stored_map_goes_before_the_setting_and_through_the_geometry(self, make, tmp_path):
        fps, frames = (25.0, {"frames": 8}) if make is ClipDataModule else (0.0, {})
        fakes.write_fakes(tmp_path, people=2, frames=8, size_px=16, fps=fps, depth_source="fitted", confidence=True)
        sources = {"wild": Source(str(tmp_path), confidence=0.25)}
        ramp = torch.linspace(0, 1, 16)
        plain = next(iter(make(sources, batch_size=2, size_px=16, flip=False, **frames).train_dataloader()))
        assert plain.confidence.shape == plain.depth_mm.shape
        torch.testing.assert_close(plain.confidence, ramp.expand_as(plain.confidence), atol=1 / 255, rtol=0)
        half = next(iter(make(sources, batch_size=2, size_px=8, flip=False, **frames).train_dataloader()))
        torch.testing.assert_close(half.confidence, ramp[1::2].expand_as(half.confidence), atol=1 / 255, rtol=0)
        flipped = make(sources, batch_size=2, size_px=16, **frames).train_dataloader()
        rows = torch.cat([batch.confidence.flatten(0, -2) for batch in itertools.islice(flipped, 8)])
        rising = (rows.diff(dim=-1) >= 0).all(-1)
        assert 0 < rising.sum() < len(rows)
        assert (rows[~rising].diff(dim=-1) <= 0).all()


class Clocked(L.LightningModule):
    """Learns nothing; notes the optimiser step and the sources of each batch that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, set[str]]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.trainer.global_step, set(batch.source)))
        return self.weight.square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


#: By turns one source alone: at step k the source is known, so that a batch tells the step that it was drawn for.
TURNS = [float(step % 3 == 0) for step in range(40)]
STUDIO, WILD = ([(i, abs(on - w)) for i, w in enumerate(TURNS)] for on in (0.0, 1.0))


class TestSteps:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("accumulate", [1, 2])
    @pytest.mark.parametrize("limit", [None, 4])
    def test_weights_are_those_of_the_optimisers_step(self, folder, tmp_path, workers, accumulate, limit):
        """Over epochs that are cut, whose last step accumulates less, with prefetching workers, and after resuming."""

        def fit(steps, path=None):
            model = Clocked()
            trainer = L.Trainer(
                max_steps=steps,
                max_epochs=-1,
                accelerator="cpu",
                accumulate_grad_batches=accumulate,
                limit_train_batches=limit,
                default_root_dir=tmp_path,
                **dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False),
            )
            module = image_module(folder, STUDIO, WILD, workers=workers)
            trainer.fit(model, datamodule=module, ckpt_path=path, weights_only=path and True)
            return trainer, model.seen

        trainer, seen = fit(9)
        trainer.save_checkpoint(tmp_path / "here.ckpt")
        _, more = fit(17, tmp_path / "here.ckpt")
        assert {step for step, _ in seen} == set(range(9))
        assert {step for step, _ in more} == set(range(9, 17))
        for step, sources in seen + more:
            assert sources == {"studio" if TURNS[step] else "wild"}, step

    def test_every_worker_draws_by_its_own_seed(self, folder):
        runs = [
            [batch.key for batch in image_module(folder, workers=2, seed=seed).train_dataloader()] for seed in (1, 1, 2)
        ]
        assert runs[0] == runs[1] != runs[2]
