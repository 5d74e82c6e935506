import json

import pytest
import torch
from networks import seeing_networks
from safetensors.torch import save_file
from tensor_files import tensors_of

from jdap.diffusion.ensemble import combine
from jdap.diffusion.schedule import LOG_SNR, NoiseSchedule
from jdap.models.image.face_layers import FaceLayers
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.loading import WeightsError
from jdap.pipelines.agreement import disagreement
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.grid import depth_picture, error_picture, labelled_grid
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.portrait_networks import RESCALE

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def pictures(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_a_saved_pipeline_answers_the_same(pipeline, folder):
    loaded = PortraitPipeline.from_pretrained(folder)
    assert (loaded.preset, loaded.size_px, loaded.schedule) == ("tiny", 32, pipeline.schedule)
    a, b = (p.generate(pictures(), steps=2, guidance=1.5, generator=seed()) for p in (pipeline, loaded))
    assert torch.equal(a.rgb, b.rgb)
    assert torch.equal(a.depth, b.depth)


@pytest.mark.parametrize("rotary", [False, True])
def test_positions_and_spacing_come_back(pipeline, tmp_path, rotary):
    joint, reference = seeing_networks()
    joint, reference = JointUNet(joint.unet, rotary), ReferenceNet(reference.unet, rotary)
    schedule = NoiseSchedule(spacing=LOG_SNR)
    made = PortraitPipeline(pipeline.codec, joint, reference, schedule, preset="tiny", size_px=32)
    made.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert loaded.unet.rotary == loaded.reference.rotary == rotary
    assert loaded.unet.sees_reference
    assert loaded.schedule == schedule
    a, b = (p.generate(pictures(), steps=3, generator=seed()) for p in (made, loaded))
    assert torch.equal(a.rgb, b.rgb)
    for name in ("unet", "reference"):
        config = tmp_path / "weights" / name / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"_rotary": not rotary}))
    other = PortraitPipeline.from_pretrained(tmp_path / "weights").generate(pictures(), steps=3, generator=seed())
    assert not torch.allclose(a.rgb, other.rgb, atol=1e-4)
    config = tmp_path / "weights" / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"timestep_spacing": "even"}))
    with pytest.raises(WeightsError, match="spacing must be"):
        PortraitPipeline.from_pretrained(tmp_path / "weights")


def test_shapes_and_ranges(pipeline):
    depth = pipeline.image_to_depth(pictures(3), steps=2, generator=seed()).depth
    assert depth.shape == (3, 1, 32, 32)
    made = pipeline.generate(pictures(3), steps=2, generator=seed())
    assert made.rgb.shape == (3, 3, 32, 32)
    assert made.depth.shape == (3, 1, 32, 32)
    for x in (depth, *made):
        assert x.amin() >= -1
        assert x.amax() <= 1


def test_an_ensemble_is_its_draws_combined(pipeline):
    generator = seed()
    asked = pictures(), pictures().flip(-1), pictures()
    one = [pipeline.image_to_depth(x, steps=2, generator=generator) for x in asked]
    one[1] = one[1]._replace(depth=one[1].depth.flip(-1))  # every second draw sees the mirrored picture
    assert one[0].uncertainty is None
    assert not torch.allclose(one[0].depth, one[1].depth, atol=1e-4)
    together = pipeline.image_to_depth(pictures(), steps=2, ensemble=3, generator=seed())
    depth, uncertainty = combine(torch.stack([x.depth for x in one]))
    assert torch.allclose(together.depth, depth.clamp(-1, 1), atol=1e-6)
    assert torch.allclose(together.uncertainty, uncertainty, atol=1e-6)
    assert together.uncertainty.shape == (2, 1, 32, 32)
    with pytest.raises(ValueError, match="at least 1"):
        pipeline.image_to_depth(pictures(), ensemble=0)


def test_depth_of_a_picture_asks_for_no_reference(pipeline):
    """It is what the UNet alone answers in one step, from noise, beside the clean picture."""
    x = pictures()
    found = pipeline.image_to_depth(x, generator=seed()).depth
    pipeline.reference = None
    assert torch.equal(pipeline.image_to_depth(x, generator=seed()).depth, found)
    with torch.no_grad():
        clean, generator = pipeline.codec.encode(x), seed()
        _, noise = (torch.randn(clean.shape, generator=generator) for _ in range(2))
        t = torch.zeros(2, dtype=torch.long)
        _, v = pipeline.unet(clean, noise, t, t + 999)
        depth = pipeline.codec.decode(-v).mean(1, keepdim=True).clamp(-1, 1)  # all is noise: x = −v
    torch.testing.assert_close(found, depth, atol=1e-5, rtol=1e-5)


def test_several_references_of_each_person(pipeline):
    x, two = pictures()[:, :1], torch.stack([pictures(), pictures().flip(3)], dim=1)
    one, both, turned = (
        pipeline.depth_to_image(x, reference=r, steps=2, generator=seed()) for r in (two[:, :1], two, two.flip(1))
    )
    assert torch.equal(one, pipeline.depth_to_image(x, reference=two[:, 0], steps=2, generator=seed()))
    assert torch.allclose(both, turned, atol=1e-5)
    assert not torch.allclose(both, one, atol=1e-5)
    made = [pipeline.generate(r, steps=2, guidance=1.5, generator=seed()) for r in (two[:, :1], two[:, 0], two)]
    assert made[2].rgb.shape == (2, 3, 32, 32)
    assert torch.equal(made[0].depth, made[1].depth)
    assert not torch.allclose(made[2].depth, made[1].depth, atol=1e-5)
    with pytest.raises(ValueError, match="references must be"):
        pipeline.generate(two * 2)


def test_one_step_weights_start_from_their_own_input_and_do_nothing_else(pipeline, tmp_path):
    x = pictures()
    noisy = pipeline.image_to_depth(x, generator=seed()).depth
    pipeline.one_step_start = "zeros"
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert loaded.one_step_start == "zeros"
    depth = loaded.image_to_depth(x, generator=seed()).depth
    assert torch.equal(depth, loaded.image_to_depth(x).depth)  # whatever the noise
    assert not torch.allclose(depth, noisy, atol=1e-3)
    known = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    for call in (
        lambda: loaded.image_to_depth(x, steps=2),
        lambda: loaded.image_to_depth(x, method="repaint"),
        lambda: loaded.image_to_depth(x, ensemble=2),
        lambda: loaded.generate(x),
        lambda: loaded.depth_to_image(depth),
        lambda: loaded.edit(x, depth, known, known, steps=1),
    ):
        with pytest.raises(ValueError, match="fine-tuned to depth in one step"):
            call()


def test_one_step_weights_may_start_from_noise(pipeline, tmp_path):
    x = pictures()
    plain = pipeline.image_to_depth(x, ensemble=2, generator=seed()).depth
    pipeline.one_step_start = "noise"
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert torch.equal(loaded.image_to_depth(x, ensemble=2, generator=seed()).depth, plain)


def test_weights_may_better_a_fitted_head(pipeline, tmp_path):
    x, face = pictures(), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    face[0, :, 8:24, 8:24] = True  # the second picture has none
    head = FittedDepth(torch.linspace(-1, 1, 32).expand(2, 1, 32, 32).clone(), face)
    with pytest.raises(ValueError, match="no layers that better a fitted head"):
        pipeline.image_to_depth(x, head=head)
    layers = FaceLayers.of(pipeline.unet)
    with torch.no_grad():
        for value in layers.parameters():
            value += 0.02
    pipeline.register_modules(face_layers=layers)
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")

    def depth(**how):
        return loaded.image_to_depth(x, generator=torch.Generator().manual_seed(1), **how).depth

    made, plain = depth(head=head), depth()
    torch.testing.assert_close(plain, pipeline.image_to_depth(x, generator=torch.Generator().manual_seed(1)).depth)
    assert torch.equal(made[1], plain[1])
    other = FittedDepth(head.relief.flip(3), face)
    middle = slice(12, 20)
    assert not torch.allclose(made[0, :, middle, middle], depth(head=other)[0, :, middle, middle], atol=1e-3)
    assert loaded.image_to_depth(x, head=head, ensemble=2).uncertainty is not None
    none = FittedDepth(head.relief, torch.zeros_like(face))
    assert torch.equal(depth(head=none), plain)
    for wrong, says in (
        (FittedDepth(head.relief[:1], face[:1]), "of the pictures' number and size"),
        (FittedDepth(2 * head.relief, face), "head must be"),
    ):
        with pytest.raises(ValueError, match=says):
            depth(head=wrong)


def test_an_unknown_start_is_refused(pipeline, folder):
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"one_step_start": "ones"}))
    with pytest.raises(WeightsError, match="one_step_start must be"):
        PortraitPipeline.from_pretrained(folder)


@torch.no_grad()
def test_guidance_is_without_and_beyond_the_reference(pipeline):
    z, t = torch.randn(2, pipeline.codec.latent_channels, 4, 4), torch.tensor([999, 500])
    reference = torch.stack([pictures(), pictures().flip(3)], dim=1)
    latents = torch.stack([pipeline.codec.encode(x) for x in reference])
    free = pipeline.unet(z, z, t, t)
    led = pipeline.unet(z, z, t, t, pipeline.unet.project_reference(pipeline.reference(latents)))
    for scale in (1, 2.5):
        for v, v0, v1 in zip(pipeline.network(reference, scale, 2)(z, z, t, t), free, led, strict=True):
            guided = v0 + scale * (v1 - v0)
            back = torch.stack([x.std() / y.std() for x, y in zip(v1, guided, strict=True)])[:, None, None, None]
            wanted = guided if scale == 1 else guided * (RESCALE * back + 1 - RESCALE)
            torch.testing.assert_close(v, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(led[1], free[1], atol=1e-3)


def test_pictures_out_of_range_are_refused(pipeline):
    with pytest.raises(ValueError, match=r"in \[-1, 1\]"):
        pipeline.image_to_depth(pictures() * 100)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        pipeline.generate(pictures()[0])


def test_saving_replaces_a_folder_whole(pipeline, folder):
    (folder / "stale.txt").write_text("old")
    pipeline.save_pretrained(folder, extras=lambda f: (f / "extra.json").write_text("{}"))
    assert (folder / "extra.json").is_file()
    assert not (folder / "stale.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["weights"]


@pytest.mark.parametrize("part", ["unet", "reference", "codec"])
def test_a_missing_tensor_is_named(folder, part, capfd):
    file = folder / part / WEIGHTS
    tensors = tensors_of(file)
    gone = sorted(tensors)[0]
    del tensors[gone]
    save_file(tensors, file)
    with pytest.raises(ValueError, match=f"{part}.*{gone}"):
        PortraitPipeline.from_pretrained(folder)


def test_an_unexpected_tensor_is_named(folder):
    file = folder / "unet" / WEIGHTS
    save_file({**tensors_of(file), "stranger": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="stranger"):
        PortraitPipeline.from_pretrained(folder)


def test_a_truncated_file_is_named(folder):
    file = folder / "reference" / WEIGHTS
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="reference"):
        PortraitPipeline.from_pretrained(folder)


def test_a_pickle_is_not_read(folder):
    file = folder / "unet" / WEIGHTS
    torch.save(tensors_of(file), folder / "unet" / "diffusion_pytorch_model.bin")
    file.unlink()
    with pytest.raises(WeightsError, match="only safetensors"):
        PortraitPipeline.from_pretrained(folder)


@pytest.mark.parametrize("key", ["_class_name", "_depth_convention", "preset", "unet"])
def test_an_index_that_says_something_else_is_refused(folder, key):
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    del index[key]
    file.write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=key):
        PortraitPipeline.from_pretrained(folder)


def test_no_folder_is_told_with_the_remedy(tmp_path):
    with pytest.raises(WeightsError, match="make train-image"):
        PortraitPipeline.from_pretrained(tmp_path / "nothing")


def test_grids_show_what_they_say():
    depth = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    near, middle, far = depth_picture(depth)[0, :, 0].unbind(-1)
    assert near.sum() > middle.sum() > far.sum()
    error = error_picture(depth, torch.zeros_like(depth), depth > 0)[0, :, 0]
    assert error[:, 0].tolist() == [-1, -1, -1]  # outside of the mask
    assert error[:, 2].tolist() == [1, 1, 1]
    image = labelled_grid([torch.ones(2, 3, 16, 16), -torch.ones(2, 3, 16, 16)], ["one", "two"])
    assert image.size == (32, 32 + 14)
    assert image.getpixel((8, 40)) == (255, 255, 255)
    assert image.getpixel((24, 40)) == (0, 0, 0)
    with pytest.raises(ValueError, match="labels"):
        labelled_grid([torch.ones(2, 3, 16, 16)], [])


def test_the_best_of_several_draws_is_kept(pipeline):
    references, steps = pictures(), []

    def count(_, number, timestep, seen):
        steps.append(number)
        return {}

    how = {"steps": 4, "depth_first": 0.5}
    one = pipeline.generate(references, generator=seed(), callback_on_step_end=count, **how)
    assert steps == [0, 1, 2, 3]
    again = seed()
    draws = [pipeline.generate(references, generator=again, **how) for _ in range(3)]
    assert torch.equal(draws[0].rgb, one.rgb)
    steps.clear()
    best = pipeline.generate(references, generator=seed(), best_of=3, callback_on_step_end=count, **how)
    assert steps == list(range(12))
    assert pipeline.num_timesteps == 12
    off = []
    for draw in draws:
        found = pipeline.image_to_depth(draw.rgb, generator=torch.Generator().manual_seed(0)).depth
        off.append(disagreement(draw.depth, found))
    for i, k in enumerate(torch.stack(off).argmin(0).tolist()):
        assert torch.equal(best.rgb[i], draws[k].rgb[i])
        assert torch.equal(best.depth[i], draws[k].depth[i])
    with pytest.raises(ValueError, match="best_of must be at least 1"):
        pipeline.generate(references, best_of=0)
