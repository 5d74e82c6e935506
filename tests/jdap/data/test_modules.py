import pickle
from types import SimpleNamespace

import fakes
import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.loops.progress import _BatchProgress
from torch import nn
from torch._utils import ExceptionWrapper

from jdap.batch import ClipBatch, ImageBatch
from jdap.data.modules import ClipDataModule, ImageDataModule
from jdap.data.shards import ShardError

PEOPLE, FRAMES = 5, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    fakes.write_fakes(folder / "stills", people=PEOPLE, frames=FRAMES, size_px=16, per_shard=2)
    fakes.write_fakes(folder / "clips", people=2, frames=10, chunks=2, size_px=16, fps=25.0)
    return folder


def image_module(folder, **options) -> ImageDataModule:
    stills = str(folder / "stills")
    return ImageDataModule(stills, stills, stills, **{"batch_size": 4, "size_px": 16, "epoch_steps": 3} | options)


def keys(loader) -> list[str]:
    return [key for batch in loader for key in batch.key]


class Brightness(L.LightningModule):
    """Learns the mean colour; notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(3))
        self.trained: list[str] = []
        self.validated: list[list[str]] = []

    def training_step(self, batch, batch_idx):
        assert isinstance(batch, ImageBatch)
        self.trained += batch.key
        return (batch.rgb.mean((0, 2, 3)) - self.mean).square().sum()

    def on_validation_epoch_start(self):
        self.validated.append([])

    def validation_step(self, batch, batch_idx):
        self.validated[-1] += batch.key

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, **options) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet | {"enable_checkpointing": False} | options)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_every_picture_once(folder, workers):
    module = image_module(folder, workers=workers)
    expected = sorted(f"fake-0-{p}-stills-0-000000/{f:04d}" for p in range(PEOPLE) for f in range(FRAMES))
    assert sorted(keys(module.val_dataloader())) == expected
    assert sorted(keys(module.test_dataloader())) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_have_their_length_and_go_on(folder, workers):
    loader = image_module(folder, workers=workers, epoch_steps=5).train_dataloader()
    assert len(loader) == 5
    epochs = [[batch.rgb for batch in loader] for _ in range(2)]
    assert [len(epoch) for epoch in epochs] == [5, 5]
    assert not any(torch.equal(a, b) for a in epochs[0] for b in epochs[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_training_is_decided_by_the_seed(folder, workers):
    runs = [
        [batch.rgb for batch in image_module(folder, workers=workers, seed=seed).train_dataloader()]
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


def test_max_steps_ends_a_fit_and_epochs_validate(folder, tmp_path):
    model = Brightness()
    trainer(tmp_path, max_steps=7, num_sanity_val_steps=0).fit(model, datamodule=image_module(folder))
    assert len(model.trained) == 7 * 4
    assert len(model.validated) == 2
    assert all(len(set(seen)) == len(seen) == PEOPLE * FRAMES for seen in model.validated)


def test_validation_by_steps_across_epochs(folder, tmp_path):
    model = Brightness()
    options = {"val_check_interval": 4, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    trainer(tmp_path, max_steps=8, **options).fit(model, datamodule=image_module(folder))
    assert len(model.validated) == 2


def test_a_fit_without_validation_shards(folder, tmp_path):
    module = ImageDataModule(str(folder / "stills"), batch_size=2, size_px=16, epoch_steps=2)
    model = Brightness()
    trainer(tmp_path, max_steps=3).fit(model, datamodule=module)
    assert model.validated == []
    assert len(model.trained) == 6


@pytest.mark.filterwarnings("error:.*__len__")
def test_the_exact_length_brings_no_warning(folder, tmp_path):
    trainer(tmp_path, max_steps=1).fit(Brightness(), datamodule=image_module(folder))


class Kept(L.Callback):
    """A checkpoint after each batch, as ModelCheckpoint writes them."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(self.folder / f"{len(pl_module.trained) // 4}.ckpt")


def run_of(folder, tmp_path, steps=None, path=None, callbacks=(), module=None, **options) -> list[str]:
    """The pictures that a run is trained on."""
    model = Brightness()
    plain = {"max_steps": steps or -1, "max_epochs": -1, "num_sanity_val_steps": 0}
    run = trainer(tmp_path, callbacks=list(callbacks), **plain | options)
    module = module or image_module(folder, epoch_steps=5, shuffle=4)
    run.fit(model, datamodule=module, ckpt_path=path, weights_only=path and True)
    return model.trained


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_next_batch(folder, tmp_path, workers):
    """From checkpoints in the middle of an epoch, at its end, at its beginning, and before a validation."""

    def module():
        return image_module(folder, workers=workers, epoch_steps=5, shuffle=4, pairs=2, batch_size=4)

    options = {"val_check_interval": 3, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    whole = run_of(folder, tmp_path, 13, callbacks=[Kept(tmp_path)], module=module(), **options)
    for step in (1, 3, 5, 6):
        rest = run_of(folder, tmp_path, 13, tmp_path / f"{step}.ckpt", module=module(), **options)
        assert rest == whole[4 * step :], step


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_that_are_cut_lose_no_batch(folder, tmp_path, workers):
    """Workers are ahead when an epoch is cut; what they had made is made again, and a run can go on from there."""
    whole = keys(image_module(folder, workers=workers, epoch_steps=20).train_dataloader())
    limit = {"limit_train_batches": 0.375}

    def module():
        return image_module(folder, workers=workers, epoch_steps=8)

    assert run_of(folder, tmp_path, 9, callbacks=[Kept(tmp_path)], module=module(), **limit) == whole[:36]
    rest = run_of(folder, tmp_path, 9, tmp_path / "4.ckpt", module=module(), **limit)
    assert rest == whole[16:36]


def test_epochs_alone_can_end_a_resumed_run(folder, tmp_path):
    """Without max_steps Lightning does not count a checkpoint at the end of an epoch as a restart."""
    whole = run_of(folder, tmp_path, callbacks=[Kept(tmp_path)], max_epochs=3)
    assert run_of(folder, tmp_path, path=tmp_path / "5.ckpt", max_epochs=3) == whole[20:]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"workers": 2}, "workers was 1, is 2"),
        ({"seed": 7}, "configured_seed was 0, is 7"),
    ],
)
def test_other_readers_start_anew_and_it_is_said(folder, tmp_path, change, says):
    whole = run_of(folder, tmp_path, 4, callbacks=[Kept(tmp_path)])
    with pytest.warns(UserWarning, match=f"anew: {says}"):
        rest = run_of(
            folder, tmp_path, 6, tmp_path / "2.ckpt", module=image_module(folder, epoch_steps=5, shuffle=4, **change)
        )
    assert len(rest) == 16
    assert rest[:8] != whole[8:]


def test_a_batch_that_an_exception_came_into_is_drawn_again(folder, tmp_path):
    """As when ModelCheckpoint saves on an exception: nothing was learnt from the fourth batch."""
    whole = run_of(folder, tmp_path, 7)

    class Fails(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if len(pl_module.trained) == 12:
                raise RuntimeError("out of memory")

        def on_exception(self, trainer, pl_module, exception):
            trainer.save_checkpoint(tmp_path / "failed.ckpt")

    with pytest.raises(RuntimeError, match="out of memory"):
        run_of(folder, tmp_path, 7, callbacks=[Fails()])
    assert run_of(folder, tmp_path, 7, tmp_path / "failed.ckpt") == whole[12:]


def test_other_shards_start_anew(folder, tmp_path):
    run_of(folder, tmp_path, 2, callbacks=[Kept(tmp_path)])
    further = ImageDataModule([str(folder / "stills"), str(folder / "clips")], batch_size=4, size_px=16)
    with pytest.warns(UserWarning, match="anew: shards was"):
        run_of(folder, tmp_path, 3, tmp_path / "2.ckpt", module=further)


def placed(rank, world):
    """What a data module asks of a trainer that has not begun yet, on one rank of many."""
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=_BatchProgress()))
    count = {"global_step": 0, "accumulate_grad_batches": 1, "limit_train_batches": 1.0}
    return SimpleNamespace(global_rank=rank, world_size=world, fit_loop=loop, **count)


def test_ranks_see_every_picture_once_between_them(folder):
    module, seen = image_module(folder), []
    for rank in range(3):
        module.trainer = placed(rank, 3)
        seen.append(keys(module.val_dataloader()))
    assert sorted(key for some in seen for key in some) == sorted(keys(image_module(folder).val_dataloader()))
    assert all(seen)
    trained = []
    for rank in range(2):
        module.trainer = placed(rank, 2)
        trained.append(keys(module.train_dataloader()))
    assert trained[0] != trained[1]


def test_no_sampler_is_injected(folder, tmp_path):
    module, model = image_module(folder, workers=0), Brightness()
    run = trainer(tmp_path, max_steps=1)
    run.fit(model, datamodule=module)
    loader = run.train_dataloader
    assert loader.batch_sampler is None
    assert not isinstance(loader.sampler, torch.utils.data.DistributedSampler)


def test_typed_batches_move_whole(folder):
    module = image_module(folder)
    batch = next(iter(module.val_dataloader()))
    calls = []
    watched = type("Watched", (ImageBatch,), {"to": lambda self, device: calls.append(device)})
    module.transfer_batch_to_device(watched(**vars(batch)), torch.device("cpu"), 0)
    assert calls == [torch.device("cpu")]
    moved = module.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert isinstance(moved, ImageBatch)
    assert moved.key == batch.key


@pytest.mark.gpu
def test_typed_batches_move_to_a_gpu(folder):
    module = image_module(folder)
    batch = next(iter(module.val_dataloader()))
    moved = module.transfer_batch_to_device(batch, torch.device("cuda", 0), 0)
    assert {t.device.type for t in vars(moved).values() if isinstance(t, torch.Tensor)} == {"cuda"}


def test_the_dataset_travels_to_spawned_workers_even_after_reading(folder):
    loader = image_module(folder).train_dataloader()
    before = keys(loader)
    copy = pickle.loads(pickle.dumps(loader.dataset))
    assert [key for batch, _ in copy for key in batch.key] == before


def test_a_bad_shard_in_evaluation_is_one_line(folder, tmp_path):
    good = (folder / "stills/fakes-000000.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(good[: len(good) // 2])
    with pytest.raises(ShardError, match=r"bad\.tar: .*verify") as error:
        keys(ImageDataModule(val=str(tmp_path), size_px=16).val_dataloader())
    assert "\n" not in str(error.value)


def test_a_workers_error_is_one_line_too():
    # What a DataLoader does with a worker's error, without the ten seconds that it takes to end such workers.
    try:
        raise ShardError("x.tar: cut short; check: it") from OSError("at: byte 3")
    except ShardError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(ShardError) as error:
        wrapped.reraise()
    assert str(error.value) == "x.tar: cut short; check: it"


def test_missing_shards_are_told_when_the_loader_is_made(tmp_path):
    with pytest.raises(ShardError, match="nowhere"):
        ImageDataModule(str(tmp_path / "nowhere")).train_dataloader()
    with pytest.raises(ShardError, match="no shards were named"):
        ImageDataModule().train_dataloader()
    assert ImageDataModule().val_dataloader() == []


class TestClips:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_clips(self, folder, workers):
        clips = str(folder / "clips")
        module = ClipDataModule(clips, clips, batch_size=2, frames=8, size_px=32, workers=workers, epoch_steps=3)
        batches = list(module.train_dataloader())
        assert len(batches) == 3
        assert all(isinstance(b, ClipBatch) and b.rgb.shape == (2, 8, 3, 32, 32) for b in batches)
        assert all(b.has_audio.all() and b.audio.shape == (2, 5120) for b in batches)
        found = keys(module.val_dataloader())
        assert len(found) == len(set(found)) == 4

    def test_they_move_whole(self, folder):
        module = ClipDataModule(val=str(folder / "clips"), frames=8, size_px=16)
        batch = next(iter(module.val_dataloader()))
        moved = module.transfer_batch_to_device(batch, torch.device("cpu"), 0)
        assert isinstance(moved, ClipBatch)
        assert moved.key == batch.key


class TestCommandLine:
    @pytest.fixture
    def parser(self):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(ImageDataModule, "data")
        return parser

    def test_every_parameter_is_documented(self, parser):
        text = parser.format_help()
        assert "mirror half of the training pictures" in text
        assert "shipped:shards/train" in text

    def test_lists_and_values(self, parser, folder):
        args = parser.parse_args([f'--data.train=["{folder}/stills"]', "--data.jitter=0.2", "--data.size_px=null"])
        module = ImageDataModule(**vars(args.data))
        assert module.size_px is None
        assert module.train == [f"{folder}/stills"]

    @pytest.mark.parametrize("bad", ["batch_size=0", "jitter=2", "workers=-1", "size_px=1.5", "flip=perhaps"])
    def test_values_out_of_range_are_refused(self, parser, bad):
        with pytest.raises(Exception, match=bad.split("=")[0]):
            parser.parse_args([f"--data.{bad}"])
