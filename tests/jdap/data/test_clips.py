"""Windows of clips, whole clips, and what they refuse. That sound and picture stay together: test_data_sync.py."""

import collections

import fakes
import lightning as L
import numpy as np
import pytest
import torch
import webdataset as wds
from networks import write_codec
from reading import keys

from jdap.batch import ClipBatch
from jdap.data import draw
from jdap.data.caching import cache
from jdap.data.clips import choose_windows, clip_processors, read_clips
from jdap.data.curriculum import Source
from jdap.data.modules import ClipDataModule
from jdap.data.shards import ReaderShard, ShardError, resolve_shards
from jdap.shards.schema import Record
from jdap.shards.writer import ShardWriter


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of two chunks of 10 frames, and stills of two people."""
    folder = tmp_path_factory.mktemp("clips")
    fakes.write_fakes(folder / "c", people=2, frames=10, chunks=2, size_px=16, fps=25.0)
    fakes.write_fakes(folder / "s", people=2, frames=3, size_px=16, first_person=2)
    return folder


def record(frames: int, fps: float = 25.0) -> Record:
    return Record("clip", "person", "studio", frames, 16, fps)


@pytest.mark.parametrize(("frames", "stride"), [(8, 1), (4, 2), (3, 3), (12, 1), (1, 1)])
def test_windows_start_anywhere_and_their_reference_is_far_away(frames, stride):
    there, length = 12, (frames - 1) * stride + 1
    starts = collections.Counter()
    for i in range(400):
        ((reference, window),) = choose_windows(record(there), draw.seeded(i), frames, stride)
        first = window[0]
        assert list(window) == [first + k * stride for k in range(frames)]
        middle = first + (length - 1) / 2
        assert 0 <= first <= there - length
        assert 0 <= reference < there
        assert abs(reference - middle) >= min(there / 2, max(middle, there - 1 - middle))
        assert length == there or not first <= reference < first + length
        starts[first] += 1
    # Uniform: each count is within five standard deviations.
    expected = 400 / (there - length + 1)
    assert set(starts) == set(range(there - length + 1))
    assert max(abs(n - expected) for n in starts.values()) < 5 * expected**0.5


def test_several_windows_are_spread_and_each_is_uniform():
    seen = [collections.Counter() for _ in range(3)]
    for i in range(600):
        firsts = [window[0] for _, window in choose_windows(record(19), draw.seeded(i), 8, windows=3)]
        low, middle, high = sorted(firsts)
        assert middle - low == high - middle == 4  # 12 starts, 3 windows
        for n, first in enumerate(firsts):
            seen[n][first] += 1
    for counts in seen:
        assert set(counts) == set(range(12))
        assert max(abs(n - 50) for n in counts.values()) < 5 * 50**0.5


def test_evaluation_has_one_fixed_window():
    assert choose_windows(record(12), None, 8, windows=3) == [(11, range(8))]
    assert choose_windows(record(12), None, 4, 3) == [(11, range(0, 10, 3))]


class TestClips:
    def test_windows(self, clips):
        stages = clip_processors(resolve_shards(str(clips / "c")), 3, frames=8)
        batches = list(wds.DataPipeline(*stages))
        assert [len(b) for b in batches] == [3, 1]
        assert all(isinstance(b, ClipBatch) for b in batches)
        assert batches[0].rgb.shape == (3, 8, 3, 16, 16)
        assert batches[0].audio.shape == (3, 5120)
        assert sorted(k for b in batches for k in b.key) == [
            f"fake-0-{p}-clip-0000{c}0/0000" for p in range(2) for c in ("0", "1")
        ]

    def test_training_windows_vary(self, clips):
        found = keys(clip_processors(resolve_shards(str(clips / "c")), 2, frames=6, seed=0, shuffle=4), 20)
        assert {key.split("/")[1] for key in found} == {f"{i:04d}" for i in range(5)}

    def test_stills_are_left_out(self, clips):
        urls = resolve_shards([str(clips / "c"), str(clips / "s")])
        assert len(keys(clip_processors(urls, 2, frames=8))) == 4
        with pytest.raises(ShardError, match="none of 1 shards"):
            keys(clip_processors(resolve_shards(str(clips / "s")), 2, frames=8))
        with pytest.raises(ShardError, match="none of 1 shards"):
            keys(clip_processors(resolve_shards(str(clips / "s")), 2, frames=8, seed=0), 1)

    def test_short_clips_and_other_rates_are_refused(self, clips):
        urls = resolve_shards(str(clips / "c"))
        with pytest.raises(ShardError, match=r"10 frames at 25.0 fps, asked for 11 at 25.0"):
            keys(clip_processors(urls, 2, frames=11))
        with pytest.raises(ShardError, match=r"asked for 8 at 30.0"):
            keys(clip_processors(urls, 2, frames=8, fps=30.0))

    def test_every_clip_is_seen_once_by_all_readers(self, clips):
        urls = resolve_shards(str(clips / "c"))
        shares = [keys(clip_processors(urls, 1, frames=8, share=ReaderShard(i, 3))) for i in range(3)]
        assert len({key for share in shares for key in share}) == sum(map(len, shares)) == 4


class TestStride:
    def test_frames_and_sound_keep_their_time(self, clips):
        urls = resolve_shards(str(clips / "c"))
        (every,) = wds.DataPipeline(*clip_processors(urls, 4, frames=9, audio_margin=2))
        (other,) = wds.DataPipeline(*clip_processors(urls, 4, frames=5, stride=2, audio_margin=1))
        assert (every.fps, other.fps) == (25.0, 12.5)
        assert (every.audio_margin, other.audio_margin) == (2, 1)
        assert every.audio.shape == (4, 13 * 640)
        assert other.audio.shape == (4, 7 * 1280)
        for name in ("rgb", "depth_mm", "skin", "camera_px", "pose", "mouth_px"):
            assert torch.equal(getattr(other, name), getattr(every, name)[:, ::2])
        # Both start two frames' time of 25 fps before the first frame.
        assert torch.equal(other.audio[:, : 13 * 640], every.audio)

    def test_a_clip_that_is_too_short_for_it_is_refused(self, clips):
        urls = resolve_shards(str(clips / "c"))
        with pytest.raises(ShardError, match=r"10 frames at 25.0 fps, asked for 11 at 25.0"):
            keys(clip_processors(urls, 2, frames=6, stride=2))


class TestManyWindows:
    def test_a_turn_draws_so_many_of_each(self, clips):
        urls = resolve_shards(str(clips / "c"))
        found = keys(clip_processors(urls, 4, frames=6, windows=3, seed=0, shuffle=12), 3)
        assert collections.Counter(key.split("/")[0] for key in found) == dict.fromkeys(
            [f"fake-0-{p}-clip-0000{c}0" for p in range(2) for c in "01"], 3
        )
        # Six frames of ten start at 5 places.
        assert {key.split("/")[1] for key in found} <= {f"{i:04d}" for i in range(5)}

    def test_each_has_a_chance_of_its_own(self, clips):
        module = ClipDataModule(str(clips / "c"), frames=10, windows=4, batch_size=4, size_px=16, shuffle=0)
        batch = next(iter(module.train_dataloader()))
        # The one window that there is of ten frames, four times, flipped and coloured by four draws.
        assert len(set(batch.key)) == 1
        assert len({clip.sum().item() for clip in batch.rgb}) == 4


class TestWholeClips:
    def test_samples_are_joined_in_order(self, clips):
        found = list(read_clips(str(clips / "c"), audio_margin=3))
        assert [b.person_id for b in found] == [("fake-0-0",), ("fake-0-1",)]
        for index, batch in enumerate(found):
            parts = [fakes.sample(index=index, frames=10, size_px=16, fps=25.0, chunk=c) for c in range(2)]
            assert batch.rgb.shape == (1, 20, 3, 16, 16)
            pose = np.concatenate([p.arrays["translation_mm"] for p in parts])
            np.testing.assert_array_equal(batch.pose[0, :, 3:].numpy(), pose)
            exact = np.rint(np.concatenate([p.depth_mm_FHW for p in parts]) * 10).astype(np.float32) / 10
            np.testing.assert_array_equal(batch.depth_mm[0, :, 0].numpy(), exact)
            opening = [n for p in parts for n in p.record.scores["lip_opening_mm"]]
            np.testing.assert_allclose(batch.lip_opening_mm[0].numpy(), opening, rtol=1e-6)
            sound = np.concatenate([np.zeros(1920), *(p.audio for p in parts), np.zeros(1920)])
            np.testing.assert_allclose(batch.audio[0].numpy(), sound, atol=2 / 32767)
            assert torch.equal(batch.reference_rgb[0], batch.rgb[0, -1])

    def test_they_can_be_cut_and_thinned(self, clips):
        whole, thin = (next(read_clips(str(clips / "c"), stride=n)) for n in (1, 3))
        cut = next(read_clips(str(clips / "c"), frames=12, size_px=8))
        assert thin.rgb.shape[1] == 7
        assert torch.equal(thin.rgb, whole.rgb[:, ::3])
        assert cut.rgb.shape == (1, 12, 3, 8, 8)

    def test_a_gap_begins_another_clip(self, tmp_path):
        with ShardWriter(tmp_path, "gap") as writer:
            for chunk in (0, 1, 3):
                writer.write(fakes.sample(frames=3, size_px=8, fps=25.0, chunk=chunk))
        assert [b.rgb.shape[1] for b in read_clips(str(tmp_path))] == [6, 3]

    def test_samples_that_lie_apart_are_refused(self, tmp_path):
        with ShardWriter(tmp_path, "apart") as writer:
            for index, chunk in ((0, 0), (1, 0), (0, 1)):
                writer.write(fakes.sample(index=index, frames=3, size_px=8, fps=25.0, chunk=chunk))
        with pytest.raises(ShardError, match=r"apart-000000\.tar: .*fake-0-0-clip"):
            list(read_clips(str(tmp_path)))

    def test_a_part_without_sound_is_silent(self, tmp_path):
        with ShardWriter(tmp_path, "quiet") as writer:
            for chunk in (0, 1):
                writer.write(fakes.sample(frames=3, size_px=8, fps=25.0, chunk=chunk, sound=chunk == 1))
        (batch,) = read_clips(str(tmp_path))
        assert batch.has_audio.tolist() == [True]
        assert batch.audio[0, :1920].abs().max() == 0
        assert batch.audio[0, 1920:].abs().max() > 0.01


class Listener(L.LightningModule):
    """Learns one number; notes the clips that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple] = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch.key, batch.source, batch.rgb.sum().item(), batch.audio.sum().item()))
        return (batch.rgb.mean() - self.level).square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class TestMixed:
    @pytest.fixture(scope="class")
    def sets(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("mixed")
        fakes.write_fakes(folder / "studio", people=3, frames=10, size_px=16, fps=25.0)
        fakes.write_fakes(
            folder / "fitted", 2, 12, 24, 25.0, first_person=10, sound=False, depth_source="fitted", mean_head=False
        )
        return {
            "studio": {"shards": str(folder / "studio"), "weight": 1.0},
            "fitted": {"shards": str(folder / "fitted"), "weight": 2.0, "confidence": 0.25},
        }

    def module(self, sets, **options) -> ClipDataModule:
        sources = {name: Source(**values) for name, values in sets.items()}
        settings = {"batch_size": 4, "frames": 8, "size_px": 16, "epoch_steps": 6, "audio_margin": 2}
        return ClipDataModule(sources, **settings | options)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_with_and_without_sound_in_one_batch(self, sets, workers):
        batches = list(self.module(sets, workers=workers).train_dataloader())
        assert len(batches) == 6
        mixed = 0
        for batch in batches:
            mixed += len(set(batch.source)) == 2
            assert batch.audio.shape == (4, 12 * 640)
            for i, source in enumerate(batch.source):
                studio = source == "studio"
                assert batch.has_audio[i].item() == studio
                assert (batch.audio[i].abs().max() > 0.01).item() == studio
                assert batch.lip_opening_mm[i].isfinite().all().item() == studio
                assert batch.confidence[i].unique().tolist() == [1.0 if studio else 0.25]
                assert batch.depth_source[i] == source
        assert mixed >= 2

    def test_training_alone_is_louder_or_quieter(self, sets):
        def loudness(module) -> dict[str, torch.Tensor]:
            module.specs["val"] = sets["studio"]["shards"]
            return {
                split: next(iter(getattr(module, f"{split}_dataloader")())).audio.abs().amax(1)
                for split in ("train", "val")
            }

        alone = {"studio": sets["studio"]}
        plain, louder = loudness(self.module(alone)), loudness(self.module(alone, gain_db=3.0))
        assert torch.equal(plain["val"], louder["val"])
        heard = plain["train"] > 0
        assert not torch.isclose(plain["train"], louder["train"])[heard].any()
        assert (louder["train"] / plain["train"])[heard].log10().abs().max() <= 3.01 / 20

    @pytest.fixture(scope="class")
    def latents(self, sets, tmp_path_factory):
        """The same sets as latents."""
        folder = tmp_path_factory.mktemp("latents")
        codec = write_codec(folder / "codec")
        for name, source in sets.items():
            cache(source["shards"], codec, folder / name, 16, mirrored=True, clips=True)
        return {name: source | {"shards": str(folder / name)} for name, source in sets.items()}

    @pytest.mark.parametrize(("kind", "workers"), [("sets", 0), ("sets", 2), ("latents", 0), ("latents", 2)])
    def test_a_resumed_run_goes_on_with_the_next_clips(self, kind, request, tmp_path, workers):
        sets = request.getfixturevalue(kind)

        def run(steps, path=None) -> list[tuple]:
            model = Listener()
            fit = L.Trainer(
                default_root_dir=tmp_path, accelerator="cpu", logger=False, max_steps=steps, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            fit.fit(
                model,
                datamodule=self.module(sets, workers=workers, windows=3, shuffle=5, epoch_steps=4),
                ckpt_path=path,
                weights_only=path and True,
            )
            fit.save_checkpoint(tmp_path / f"{steps}.ckpt")
            return model.seen

        whole, first = run(9), run(3)
        assert first == whole[:3]
        assert run(9, tmp_path / "3.ckpt") == whole[3:]
        assert len(set(whole)) == 9

    def test_one_with_latents_is_refused_by_name(self, sets, latents):
        wrong = sets | {"cached": latents["fitted"]}
        with pytest.raises(ShardError, match=r"is a picture, .* of cached is latents: train on either"):
            list(self.module(wrong).train_dataloader())
