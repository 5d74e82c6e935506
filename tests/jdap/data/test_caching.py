"""Latents that were cached, against latents that are encoded in the loop."""

import dataclasses
import io
import json
import logging
import shutil
import tarfile

import pytest
import torch
from fakes import write_fakes
from networks import small_codec
from settings import make_stage
from stable_diffusion import small_image_encoder
from training import trainer

from data_prep.folders.verify import verify
from jdap import depth
from jdap.__main__ import main
from jdap.batch import ImageBatch, LatentBatch
from jdap.callbacks.mean_depth import MeanDepth
from jdap.data import draw
from jdap.data.caching import CacheError, cache
from jdap.data.curriculum import Source
from jdap.data.modules import ImageDataModule
from jdap.data.tars import samples_of
from jdap.data.transforms import augment
from jdap.models.codec import fingerprint, load_codec
from jdap.shards.latents import decode_members
from jdap.shards.reader import read_tar
from jdap.shards.urls import ShardError
from jdap.stages.codec import CodecStage
from jdap.stages.image import ImageStage

pytestmark = pytest.mark.usefixtures("small_networks")

PEOPLE, FRAMES, SIZE = 4, 2, 32


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_fakes(folder / "studio", people=PEOPLE, frames=FRAMES, size_px=SIZE, per_shard=2)
    write_fakes(
        folder / "fitted", people=2, frames=FRAMES, size_px=SIZE, first_person=9, depth_source="fitted", confidence=True
    )
    return folder


def a_codec(folder, seed=0) -> str:
    torch.manual_seed(seed)
    codec = small_codec()
    codec.latent_mean.normal_()
    codec.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return a_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def cached(shards, codec, tmp_path_factory):
    """Mirrored too, of both sets."""
    folder = tmp_path_factory.mktemp("latents")
    for name in ("studio", "fitted"):
        cache(str(shards / name), codec, folder / name, mirrored=True, batch_size=7)
    return folder


def module(train, **options) -> ImageDataModule:
    plain = {"batch_size": 4, "size_px": SIZE, "epoch_steps": 6, "jitter": 0.0}
    return ImageDataModule(train, **plain | options)


def stage(codec, **settings) -> ImageStage:
    torch.manual_seed(0)
    return make_stage(ImageStage, codec=codec, size_px=SIZE, **settings)


def of(folder, *names) -> dict[str, Source]:
    return {name: Source(str(folder / name)) for name in names}


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_what_the_loop_would_encode(shards, cached, codec, workers):
    """The same draws from either kind of shards, so batches can be held against each other, one by one."""
    model = stage(codec, outside_skin=0.25)
    names = ("studio", "fitted")
    pictures = module(of(shards, *names), flip=False, workers=workers).train_dataloader()
    latents = module(of(cached, *names), flip=False, workers=workers).train_dataloader()
    for one, other in zip(pictures, latents, strict=True):
        assert isinstance(one, ImageBatch)
        assert isinstance(other, LatentBatch)
        assert one.key == other.key
        assert one.source == other.source
        assert torch.equal(one.range_mm, other.range_mm)
        for encoded, stored in zip(model.encode(one), model.encode(other), strict=True):
            for mine, its in zip(*((x if isinstance(x, tuple) else (x,)) for x in (encoded, stored)), strict=True):
                assert torch.allclose(mine, its, atol=2e-3)
    assert {"studio", "fitted"} == set(other.depth_source)


def test_mirrored_latents_are_those_of_the_mirrored_picture(shards, cached, codec):
    encoder = load_codec(codec)
    batch = next(iter(module(of(shards, "studio"), flip=False, batch_size=8).train_dataloader()))
    sides = {}
    for key, rgb, z in zip(batch.key, batch.rgb, batch.depth, strict=True):
        with torch.no_grad():
            both = [
                encoder.encode(torch.stack([x, depth.to_codec(y)])) for x, y in ((rgb, z), (rgb.flip(-1), z.flip(-1)))
            ]
        sides[key] = both
    found = {False: 0, True: 0}
    for other in module(of(cached, "studio"), flip=True, epoch_steps=10).train_dataloader():
        for i, key in enumerate(other.key):
            if key not in sides:
                continue
            stored = torch.stack([other.rgb[i], other.depth[i]]).float()
            errors = [float((stored - latents).abs().max()) for latents in sides[key]]
            assert min(errors) < 2e-3 < 10 * max(errors)
            found[errors[1] < errors[0]] += 1
    assert min(found.values()) > 3


def test_variants_have_the_colour_that_the_seed_draws(shards, codec, tmp_path):
    (path, *_), wrong = cache(str(shards / "studio"), codec, tmp_path, variants=3, jitter=0.3, zoom=0.2, seed=5)
    assert not wrong
    record, frames = read(path)[0]
    first = frames[0]
    assert first.rgb_VChw.shape == (3, 3, SIZE // 8, SIZE // 8)
    # the first is the picture as it is; a reference is never cropped, so it differs from the target where that was
    assert torch.equal(first.rgb_VChw[0], first.reference_VChw[0])
    assert not torch.equal(first.rgb_VChw[1], first.reference_VChw[1])
    # the colour of a reference is what (seed, sample, variant) give, whatever is cropped
    sample = next(samples_of(str(shards / "studio" / "fakes-000000.tar")))
    example = draw.decode(draw.pick(sample, draw.read_record(sample), 0, [0]))
    chance = draw.seeded("cache", 5, record.key, 2)
    recoloured = augment(example, chance, flip_=False, jitter=0.3).reference_3HW * 2 - 1
    with torch.no_grad():
        expected = load_codec(codec).encode(recoloured[None])[0]
    assert torch.allclose(first.reference_VChw[2].float(), expected, atol=2e-3)
    # in training all of them come, reference and target in the same version
    seen = {v for b in module(str(tmp_path), epoch_steps=20).train_dataloader() for v in versions(b, path)}
    assert seen == {0, 1, 2}


def read(path) -> list:
    return [decode_members(members) for _, members in read_tar(path)]


def versions(batch: LatentBatch, path) -> list[int]:
    """Which version each sample of a batch is, where its shard is ``path``; both frames must agree."""
    frames = {f"{record.key}/{i:04d}": f for record, all_ in read(path) for i, f in enumerate(all_)}
    references = [f.reference_VChw for f in frames.values()]
    found = []
    for key, rgb, reference in zip(batch.key, batch.rgb, batch.reference, strict=True):
        if key in frames:
            (v,) = [v for v in range(3) if torch.equal(frames[key].rgb_VChw[v], rgb)]
            assert any(torch.equal(r[v], reference) for r in references)
            found.append(v)
    return found


def test_a_run_on_latents_trains_and_keeps_the_mean_depth(shards, cached, codec, tmp_path):
    model, mean = stage(codec, learning_rate=1e-3), MeanDepth()
    before = [p.clone() for p in model.unet.parameters()]
    data = module(of(cached, "studio", "fitted"))
    data.specs["val"] = str(shards / "studio")
    trainer(tmp_path, 3, mean, limit_val_batches=1).fit(model, data)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.unet.parameters(), strict=True))
    # the mean over every picture and its mirror image, by the batches of evaluation
    batches = [
        b for n in ("studio", "fitted") for b in ImageDataModule(val=str(shards / n), size_px=SIZE).val_dataloader()
    ]
    expected = MeanDepth()
    for batch in batches:
        for one in (
            batch,
            dataclasses.replace(
                batch, depth=batch.depth.flip(-1), depth_mm=batch.depth_mm.flip(-1), skin=batch.skin.flip(-1)
            ),
        ):
            expected.on_train_batch_end(None, None, None, one, 0)
    assert torch.allclose(mean.mean(), expected.mean(), atol=1e-6)


def test_another_codecs_latents_are_refused(cached, codec, tmp_path):
    batch = next(iter(module(of(cached, "studio")).train_dataloader()))
    other = stage(a_codec(tmp_path, seed=1))
    with pytest.raises(ValueError, match=r"latents of codec \w{12}, and model.codec .* cache-latents"):
        other.encode(batch)
    stage(codec).encode(batch)


def test_a_fingerprint_is_of_what_makes_latents(codec):
    one = load_codec(codec)
    mark = fingerprint(one)
    with torch.no_grad():
        one.decoder[0].weight += 1
        assert fingerprint(one) == mark
        one.latent_std += 1e-6
        assert fingerprint(one) != mark


def test_an_interrupted_run_goes_on_and_another_is_refused(shards, codec, tmp_path):
    done, _ = cache(str(shards / "studio"), codec, tmp_path)
    first, second = done
    whole = second.read_bytes()
    second.with_suffix(".json").unlink()  # as a run leaves it that was stopped between shard and sidecar
    (tmp_path / "latents-000001.tar.part").write_bytes(b"half")
    before = first.stat().st_mtime_ns
    assert cache(str(shards / "studio"), codec, tmp_path, batch_size=3)[0] == done
    assert first.stat().st_mtime_ns == before
    assert second.read_bytes() == whole
    assert verify(tmp_path) == []
    with pytest.raises(CacheError, match="another latents: name another folder"):
        cache(str(shards / "studio"), codec, tmp_path, mirrored=True)
    shutil.copytree(shards / "studio", tmp_path / "fewer")
    sorted((tmp_path / "fewer").glob("*.tar"))[-1].unlink()
    with pytest.raises(CacheError, match=r"latents-000001.tar: what it was made of is not among the 1 shards"):
        cache(str(tmp_path / "fewer"), codec, tmp_path)
    second.unlink()
    with pytest.raises(CacheError, match="made with another from"):
        cache(str(shards / "fitted"), codec, tmp_path)


def test_workers_write_the_same_bytes(shards, codec, tmp_path):
    files = [cache(str(shards / "studio"), codec, tmp_path / str(n), workers=n)[0] for n in (0, 2)]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_bad_pictures_are_left_out_and_bad_shards_told(shards, codec, tmp_path, caplog):
    for path in (shards / "studio").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with tarfile.open(tmp_path / "fakes-000000.tar") as tar:
        members = {i.name: tar.extractfile(i).read() for i in tar}
    with tarfile.open(tmp_path / "fakes-000000.tar", "w") as tar:
        for name, data in members.items():
            data = b"garbage" if name.startswith("fake-0-1-") and "rgb.0001" in name else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    cut = (tmp_path / "fakes-000001.tar").read_bytes()
    (tmp_path / "fakes-000001.tar").write_bytes(cut[: len(cut) // 2])
    with caplog.at_level(logging.WARNING):
        done, wrong = cache(str(tmp_path), codec, tmp_path / "out")
    assert [record.person_id for record, _ in read(done[0])] == ["fake-0-0"]
    assert json.loads(done[0].with_suffix(".json").read_bytes())["rejected"] == {"cannot be decoded": 1}
    assert "rgb.0001.jpg" in caplog.text
    assert len(done) == len(wrong) == 1
    assert "fakes-000001.tar" in wrong[0]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"latents-000000.{x}" for x in ("json", "safetensors", "tar")
    ]


class TestWhereTheyDoNotBelong:
    def test_evaluation_needs_pictures(self, cached):
        with pytest.raises(ShardError, match=r"latents.* only training reads"):
            list(ImageDataModule(val=str(cached / "studio")).val_dataloader())

    def test_another_size(self, cached):
        with pytest.raises(ShardError, match=r"32 pixels.*64: .*cache-latents --size"):
            next(iter(module(str(cached / "studio"), size_px=64).train_dataloader()))

    def test_pictures_and_latents_make_no_batch(self, shards, cached):
        sources = {"a": Source(str(shards / "studio")), "b": Source(str(cached / "fitted"))}
        with pytest.raises(ShardError, match=r"source a .* b is latents"):
            list(module(sources).train_dataloader())

    def test_the_codec_stage(self, cached):
        with pytest.raises(ValueError, match="trains on pictures"):
            make_stage(CodecStage, encoder_widths=(16,), decoder_widths=(16,)).training_step(
                next(iter(module(str(cached / "studio")).train_dataloader())), 0
            )

    def test_augmentation_that_is_not_there_is_told_once(self, shards, codec, cached, caplog):
        with caplog.at_level(logging.WARNING):
            list(module(str(cached / "studio"), jitter=0.1, zoom=0.2, flip=True).train_dataloader())
        (line,) = [r.message for r in caplog.records if "were cached without" in r.message]
        assert "without jitter 0.1, zoom 0.2, which" in line

    def test_latents_of_latents(self, cached, codec, tmp_path):
        assert "holds latents already" in cache(str(cached / "fitted"), codec, tmp_path)[1][0]


def test_the_command(shards, codec, tmp_path, capsys):
    argv = ["cache-latents", "--shards", str(shards / "studio"), "--codec", codec, "--out", str(tmp_path)]
    assert main([*argv, "--flip", "--device", "cpu"]) == 0
    assert "2 shards of latents" in capsys.readouterr().out
    assert main([*argv, "--device", "cpu"]) == 2
    assert main([*argv, "--device", "cpu", "--variants", "0"]) == 2
    assert "--variants must be at least 1" in capsys.readouterr().err


def test_what_verify_says_of_damaged_latents(shards, codec, tmp_path):
    (path,) = cache(str(shards / "fitted"), codec, tmp_path)[0]
    record, frames = read(path)[0]
    assert frames[0].confidence_V1hw is not None
    with tarfile.open(path) as tar:
        members = {i.name: tar.extractfile(i).read() for i in tar}
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            data = data[:-8] if "latents.0001" in name else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    problems = [str(p) for p in verify(tmp_path)]
    assert any(record.key in p and "latents.0001.safetensors: latents cannot be read" in p for p in problems)


def test_image_tokens_need_pictures(cached, codec, tmp_path):
    small_image_encoder().save_pretrained(tmp_path / "encoder")
    stage = make_stage(ImageStage, codec=codec, size_px=SIZE, widths=[32, 32], image_encoder=str(tmp_path / "encoder"))
    batch = next(iter(module(of(cached, "studio")).train_dataloader()))
    with pytest.raises(ValueError, match="image tokens"):
        stage.training_step(batch, 0)


def test_people_are_not_chosen_of_latents(cached):
    """Their mean depth was written for all of them."""
    with pytest.raises(ShardError, match=r"source 'few': .*holds latents"):
        ImageDataModule({"few": Source(str(cached / "studio"), people=1)}, size_px=32).check()
