"""Pipelines of ablated networks: what they store, what they answer, and what they say they cannot."""

import json

import pytest
import torch

from jdap.models.image.separate import separated
from jdap.models.loading import WeightsError
from jdap.pipelines.pack import pack
from jdap.pipelines.portrait import PortraitPipeline


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def ablated(pipeline, *, joint=True, reference=True, shared_timestep=False) -> PortraitPipeline:
    return PortraitPipeline(
        pipeline.codec,
        pipeline.unet if joint else separated(pipeline.unet).eval(),
        pipeline.reference if reference else None,
        pipeline.schedule,
        preset="tiny",
        size_px=32,
        shared_timestep=shared_timestep,
    )


def test_without_a_reference_net_nobody_s_likeness_is_kept(pipeline, tmp_path):
    ablated(pipeline, reference=False).save_pretrained(tmp_path / "weights")
    assert not (tmp_path / "weights" / "reference").exists()
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert loaded.reference is None
    assert loaded.image_to_depth(pictures(), generator=seed()).depth.shape == (2, 1, 32, 32)
    made = loaded.generate(None, count=3, steps=2, generator=seed(), output_type="pt")
    assert made.rgb.shape == (3, 3, 32, 32)
    # the same draw as of the model in full without a reference: the UNets are the same
    full = pipeline.generate(None, count=3, steps=2, generator=seed(), output_type="pt")
    assert torch.equal(made.rgb, full.rgb)
    for call in (loaded.generate, lambda x: loaded.depth_to_image(x[:, :1], reference=x)):
        with pytest.raises(ValueError, match="no ReferenceNet"):
            call(pictures())
    pack(tmp_path / "weights", tmp_path / "packed", half=True)
    assert PortraitPipeline.from_pretrained(tmp_path / "packed").reference is None


def test_separate_networks_draw_rgb_and_then_its_depth(pipeline, tmp_path):
    separate = ablated(pipeline, joint=False)
    separate.save_pretrained(tmp_path / "weights")
    assert {p.name for p in (tmp_path / "weights" / "unet").iterdir()} == {"rgb", "depth"}
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    calls = []
    made = loaded.generate(
        pictures(), steps=3, generator=seed(), callback_on_step_end=lambda *step: calls.append(step[1:3]) or {}
    )
    assert calls == [(0, 999), (1, 666), (2, 332)] * 2
    assert torch.equal(made.rgb, separate.generate(pictures(), steps=3, generator=seed()).rgb)
    guided = loaded.generate(pictures(), steps=3, guidance=3.0, generator=seed())
    assert not torch.allclose(guided.rgb, made.rgb, atol=1e-4)
    # the depth is that of the picture: of its latents, before the decoder clamps them
    latents = []
    codec_decode = loaded.codec.decode
    loaded.codec.decode = lambda z: (latents.append(z), codec_decode(z))[1]
    loaded.generate(pictures(), steps=3, generator=seed())
    rgb, depth = latents[0].chunk(2)
    noise = torch.randn(2, *rgb.shape, generator=seed())[1]
    z = noise
    for time, following in zip((999, 666, 332), (666, 332, None), strict=True):
        t = torch.full((2,), time)
        with torch.no_grad():
            _, v = loaded.unet(rgb, z, torch.zeros_like(t), t)
        a, s = loaded.schedule.signal_noise(t, z)
        x, eps = a * z - s * v, a * v + s * z
        if following is None:
            z = x
        else:
            a, s = loaded.schedule.signal_noise(torch.full((2,), following), z)
            z = a * x + s * eps
    assert torch.allclose(depth, z, atol=1e-4)


def test_separate_networks_inpaint_rgb_and_then_depth(pipeline):
    separate, x = ablated(pipeline, joint=False), pictures()
    depth, known = x[:, :1], torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    known[..., :16, :] = True
    made = separate.edit(x, depth, known, known, steps=2, generator=seed())
    assert torch.equal(made.rgb[:, :, :16], x[:, :, :16])
    assert torch.equal(made.depth[:, :, :16], depth[:, :, :16])
    # RGB is blind to depth; depth is not to RGB
    other = separate.edit(x, -depth, known, known, steps=2, generator=seed())
    assert torch.equal(other.rgb, made.rgb)
    other = separate.edit(x.flip(1), depth, known, known, steps=2, generator=seed())
    assert not torch.allclose(other.depth[:, :, 16:], made.depth[:, :, 16:], atol=1e-4)
    with pytest.raises(ValueError, match="needs a joint one"):
        separate.depth_to_image(depth)
    with pytest.raises(ValueError, match="method must be clean"):
        separate.image_to_depth(x, method="repaint")


def test_a_shared_timestep_is_asked_by_inpainting(pipeline):
    shared, x = ablated(pipeline, shared_timestep=True), pictures()
    seen = []
    unet = shared.unet.forward
    shared.unet.forward = lambda z, d, t, u, **how: (seen.append((t, u)), unet(z, d, t, u, **how))[1]
    depth = shared.image_to_depth(x, steps=3, generator=seed()).depth
    assert len(seen) == 3
    assert all(torch.equal(t, u) for t, u in seen)
    assert torch.equal(depth, pipeline.image_to_depth(x, steps=3, method="repaint", generator=seed()).depth)
    with pytest.raises(ValueError, match="method must be repaint"):
        shared.image_to_depth(x, steps=3, method="clean")
    with pytest.raises(ValueError, match="leave best_of 1"):  # in one step they see nothing of a picture
        shared.generate(x, steps=2, best_of=2)


def test_the_index_says_what_was_ablated(pipeline, tmp_path):
    ablated(pipeline, shared_timestep=True).save_pretrained(tmp_path / "weights")
    assert PortraitPipeline.from_pretrained(tmp_path / "weights").shared_timestep
    ablated(pipeline, reference=False).save_pretrained(tmp_path / "nobody")
    index = json.loads((tmp_path / "nobody" / "model_index.json").read_text())
    assert (index["reference"], index["shared_timestep"]) == ([None, None], False)


def test_a_lost_reference_is_no_ablation(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "weights")
    (tmp_path / "weights" / "reference").rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="reference"):
        PortraitPipeline.from_pretrained(tmp_path / "weights")
