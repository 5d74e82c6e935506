"""Latents of clips that were cached, against latents that are encoded in the loop."""

import io
import tarfile

import pytest
import torch
from fakes import sample, write_fakes
from networks import write_codec

from data_prep.folders.verify import verify
from jdap.batch import ClipBatch, ClipLatentBatch
from jdap.data import draw
from jdap.data.caching import cache
from jdap.data.clips import read_clips
from jdap.data.curriculum import Source
from jdap.data.modules import ClipDataModule, ImageDataModule
from jdap.data.pose import mouth_px
from jdap.data.tars import samples_of
from jdap.data.transforms import augment, flip
from jdap.depth import normalise
from jdap.models.codec import fingerprint, load_codec
from jdap.shards.latents import decode_members
from jdap.shards.reader import read_tar
from jdap.shards.urls import ShardError, resolve_shards
from jdap.shards.writer import ShardWriter
from jdap.stages.parts.latents import latents_of

pytestmark = pytest.mark.usefixtures("small_networks")

FRAMES, SIZE = 8, 32
BESIDE = ("camera_px", "pose", "mouth_px", "lip_opening_mm", "audio", "has_audio")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Clips with sound, and clips without it whose depth was fitted."""
    folder = tmp_path_factory.mktemp("pictures")
    write_fakes(folder / "studio", people=3, frames=FRAMES, size_px=SIZE, fps=25.0)
    how = {"sound": False, "depth_source": "fitted", "confidence": True, "mean_head": False}
    write_fakes(folder / "fitted", people=2, frames=FRAMES, size_px=SIZE, fps=25.0, first_person=9, **how)
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return write_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def cached(shards, codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    for name in ("studio", "fitted"):
        cache(str(shards / name), codec, folder / name, clips=True, batch_size=7)
    return folder


def module(train, **options) -> ClipDataModule:
    plain = {"batch_size": 4, "frames": FRAMES, "size_px": SIZE, "epoch_steps": 6, "audio_margin": 2}
    return ClipDataModule(train, **plain | {"flip": False, "jitter": 0.0} | options)


def of(folder) -> dict[str, Source]:
    """Both sets as named sources, one of them twice as often."""
    return {"studio": Source(str(folder / "studio"), 2.0), "fitted": Source(str(folder / "fitted"))}


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_what_the_loop_would_encode(shards, cached, codec, workers):
    """Windows as long as their samples, so that they have the same range of depth."""
    encoder = load_codec(codec)
    mark, seen = fingerprint(encoder), set()
    how = {"windows": 2, "shuffle": 5, "workers": workers}
    for one, other in zip(*(module(of(x), **how).train_dataloader() for x in (shards, cached)), strict=True):
        assert isinstance(one, ClipBatch)
        assert isinstance(other, ClipLatentBatch)
        for name in ("key", "source", "person_id", "depth_source", "fps", "audio_margin"):
            assert getattr(one, name) == getattr(other, name)
        for name in (*BESIDE, "range_mm"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)
        for encoded, stored in zip(*(latents_of(encoder, b, mark, "") for b in (one, other)), strict=True):
            torch.testing.assert_close(encoded, stored, rtol=0, atol=2e-3)
        seen |= set(other.source)
    assert seen == {"studio", "fitted"}


def test_windows_are_those_of_the_pictures_and_a_sample_has_one_range(shards, cached):
    how = {"frames": 3, "stride": 2, "windows": 3, "shuffle": 4, "epoch_steps": 12, "audio_margin": 1}
    wholes = {b.key[0].split("/")[0]: b for s in ("studio", "fitted") for b in read_clips(str(shards / s))}
    for one, other in zip(*(module(of(x), **how).train_dataloader() for x in (shards, cached)), strict=True):
        assert one.key == other.key
        for name in BESIDE:
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)
        for key, range_mm in zip(other.key, other.range_mm, strict=True):
            assert torch.equal(range_mm, wholes[key.split("/")[0]].range_mm[0])


@pytest.mark.slow
def test_what_moves_with_flip_and_zoom_is_kept(shards, codec, tmp_path):
    path = sorted((shards / "studio").glob("*.tar"))[0]
    cache(str(path), codec, tmp_path, variants=2, mirrored=True, jitter=0.3, zoom=0.3, seed=5, clips=True)
    members = next(samples_of(str(path)))
    record = draw.read_record(members)
    whole = draw.decode(draw.pick(members, record, 0, range(FRAMES)), 0)
    chance = draw.seeded("cache", 5, record.key, 1)
    moved = augment(whole, chance, flip_=False, jitter=0.3, zoom=0.3)
    wanted = [whole, flip(whole), moved, flip(moved)]
    found = set()
    batches = module(str(tmp_path), flip=True, jitter=0.3, zoom=0.3, epoch_steps=20).train_dataloader()
    for batch in batches:
        for i, key in enumerate(batch.key):
            if not key.startswith(record.key):
                continue
            errors = [float((batch.camera_px[i] - one.camera_px_F3).abs().max()) for one in wanted]
            v = min(range(4), key=errors.__getitem__)
            found.add(v)
            assert errors[v] == 0
            assert torch.equal(batch.pose[i], wanted[v].pose_F6)
            assert torch.equal(batch.mouth_px[i], mouth_px(wanted[v].pose_F6, wanted[v].camera_px_F3))
            assert torch.equal(batch.audio[i, 1280:-1280], whole.audio)  # two frames of silence on both sides
            with torch.no_grad():
                seen = [wanted[v].rgb_F3HW, *references(members, v)]
                latents = load_codec(codec).encode(torch.cat(seen) * 2 - 1)
            torch.testing.assert_close(batch.rgb[i].float(), latents[:FRAMES], rtol=0, atol=2e-3)
            assert min((batch.reference[i].float() - x).abs().max() for x in latents[FRAMES:]) < 2e-3
    assert found == {0, 1, 2, 3}


def references(members, v):
    """Every frame as the reference of version ``v``, (1, 3, H, W): coloured as it is, and whole."""
    record = draw.read_record(members)
    for i in range(FRAMES):
        one = draw.decode(draw.pick(members, record, i, [i]))
        one = augment(one, draw.seeded("cache", 5, record.key, 1), flip_=False, jitter=0.3, zoom=0.3) if v > 1 else one
        yield (flip(one) if v % 2 else one).reference_3HW[None]


def test_sound_may_be_louder_or_quieter(cached):
    plain, louder = (
        next(iter(module(str(cached / "studio"), gain_db=g).train_dataloader())).audio.abs().amax(1) for g in (0.0, 3.0)
    )
    change_db = 20 * (louder / plain).log10()
    assert (change_db.abs() > 0.01).all()
    assert change_db.abs().max() <= 3.01


def test_a_range_of_the_sample_is_nearly_that_of_the_window():
    """On the studio's clips that ship: depth of the face as cached latents and as pictures have it, 16 of 32 frames."""
    differences = []
    for clip in (b for url in resolve_shards("shipped:talking/val") for b in read_clips(url)):
        frames = clip.rgb.shape[1]
        for start in (0, frames - 16):
            depth_mm, skin = clip.depth_mm[0, start : start + 16], clip.skin[0, start : start + 16]
            window = torch.quantile(depth_mm[skin], torch.tensor([0.02, 0.98]))
            both = [normalise(depth_mm[None], r)[0][skin] for r in (window[None], clip.range_mm)]
            differences.append(float((both[0] - both[1]).square().mean().sqrt()))
    assert len(differences) == 6
    assert max(differences) < 0.05


def test_stills_are_left_out_and_all_is_as_the_contract_says(shards, cached, codec, tmp_path):
    assert verify(cached) == []
    for name, how in (("stills", [0.0]), ("both", [25.0, 0.0])):
        with ShardWriter(tmp_path / name, "fakes") as writer:
            for fps in how:
                writer.write(sample(frames=3, size_px=SIZE, fps=fps))
    done, wrong = cache([str(tmp_path / "stills"), str(tmp_path / "both")], codec, tmp_path / "out", clips=True)
    assert "holds no usable clip" in wrong[0]
    assert [key for path in done for key, _ in read_tar(path)] == ["fake-0-0-clip-000000"]
    (path, *_) = sorted((cached / "studio").glob("*.tar"))
    record, frames = decode_members(dict(read_tar(path))[f"fake-0-0-clip-{0:06d}"])
    assert len(frames) == record.frames == FRAMES
    assert not path.with_suffix(".safetensors").exists()  # the sums of another normalised depth
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    with tarfile.open(path) as tar, tarfile.open(spoilt / "latents.tar", "w") as out:
        for info in tar:
            data = tar.extractfile(info).read()
            data = b"no sound" if info.name.endswith("audio.wav") else data
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    assert any("audio.wav cannot be read" in str(defect) for defect in verify(spoilt))


class TestWhereTheyDoNotBelong:
    def test_the_image_stage(self, cached):
        with pytest.raises(ShardError, match=r"latents for the temporal stage.*without --clips"):
            next(iter(ImageDataModule(str(cached / "studio"), size_px=SIZE).train_dataloader()))

    def test_latents_for_the_image_stage(self, shards, codec, tmp_path):
        cache(str(shards / "fitted"), codec, tmp_path)
        with pytest.raises(ShardError, match=r"latents-000000.tar: .* for the image stage.*with --clips"):
            next(iter(module(str(tmp_path)).train_dataloader()))

    def test_evaluation(self, cached):
        with pytest.raises(ShardError, match=r"latents.* only training reads"):
            list(module(None, val=str(cached / "studio")).val_dataloader())

    def test_pictures_beside_them(self, shards, cached):
        mixed = {"a": Source(str(shards / "studio")), "b": Source(str(cached / "fitted"))}
        with pytest.raises(ShardError, match=r"source a .* b is latents"):
            list(module(mixed).train_dataloader())

    def test_latents_of_another_codec_beside_them(self, shards, cached, tmp_path):
        cache(str(shards / "fitted"), write_codec(tmp_path / "codec", seed=1), tmp_path / "latents", clips=True)
        mixed = {"a": Source(str(tmp_path / "latents")), "b": Source(str(cached / "studio"))}
        with pytest.raises(ShardError, match="make no batch"):
            list(module(mixed).train_dataloader())
