"""The clip model: what it is when fresh, and what reaches which frame."""

import pytest
import torch
from diffusers.models.activations import GEGLU
from networks import C, latents, networks, seeing_networks
from torch import nn

from jdap.models.clip.audio_attention import AudioLayer, new_audio_attention
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.blocks import HalvedGEGLU
from jdap.models.clip.motion import new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.image.build import build

B, F, M, L, D = 2, 3, 2, 5, 12


def clip_unet(moved=True, heard=True, make=networks):
    """The small networks as a clip model; its fresh layers, which answer zero, are let loose if asked for."""
    joint, reference = make()
    torch.manual_seed(3)
    clip = ClipUNet(joint, new_motion(joint.unet), new_audio_attention(joint.unet, D))
    for name, parameter in clip.named_parameters():
        motion = moved and "motion_modules" in name and ".proj_out." in name
        if motion or (heard and name.startswith("audio.") and ".to_out." in name):
            nn.init.normal_(parameter, std=0.2)
    return joint.eval(), reference.eval(), clip.eval()


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    rgb, depth = torch.randn(2, B * F, C, 8, 8, generator=generator)
    t_rgb = torch.tensor([100, 700]).repeat_interleave(F)
    return rgb, depth, t_rgb, 999 - t_rgb


def before(seed=2):
    return MotionFrames(
        *torch.randn(2, B, M, C, 8, 8, generator=torch.Generator().manual_seed(seed)), torch.zeros(B).long()
    )


def tokens(frames=F, seed=4):
    return torch.randn(B, frames, L, D, generator=torch.Generator().manual_seed(seed))


def both(v):
    return torch.cat(v, dim=1)


@pytest.mark.parametrize("make", [networks, seeing_networks])
@torch.no_grad()
def test_a_fresh_clip_model_is_the_image_model_frame_by_frame(make):
    joint, reference, clip = clip_unet(moved=False, heard=False, make=make)
    features = reference(latents(B)[2])
    of_frames = {name: x.repeat_interleave(F, dim=0) for name, x in features.layers.items()}
    led = features._replace(layers=of_frames, latents=features.latents.repeat_interleave(F, dim=0))
    wanted = both(joint(*inputs(), joint.project_reference(led)))
    known = clip.project_reference(features)
    sound = clip.project_audio(tokens(M + F))
    found = both(clip(*inputs(), frames=F, motion=before(), reference=known, audio=sound))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both(clip.image_model()(*inputs())), both(joint(*inputs())), atol=0, rtol=0)


@pytest.mark.parametrize("side", [8, 7])  # half of it is 4: twice that, and not
@torch.no_grad()
def test_blocks_are_driven_as_diffusers_drives_them(side):
    _, _, clip = clip_unet()
    rgb, depth, t_rgb, t_depth = inputs()
    rgb, depth = (x[..., :side, :side] for x in (rgb, depth))
    unet = clip.unet
    z = torch.cat([rgb, depth], dim=1).unflatten(0, (B, F)).transpose(1, 2)
    cond = unet.time_proj(t_depth[::F])
    zero = torch.zeros(B * F, 1, unet.config["cross_attention_dim"])
    wanted = unet(z, t_rgb[::F], zero, timestep_cond=cond).sample.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(both(clip(rgb, depth, t_rgb, t_depth, frames=F)), wanted)


@torch.no_grad()
def test_frames_see_each_other_and_what_came_before_and_other_clips_do_not():
    _, _, clip = clip_unet()
    rgb, depth, *t = inputs()
    plain = both(clip(rgb, depth, *t, frames=F, motion=before()))
    other = rgb.clone()
    other[0] += 1
    moved = (both(clip(other, depth, *t, frames=F, motion=before())) - plain).abs().amax((1, 2, 3)).unflatten(0, (B, F))
    assert (moved[0] > 1e-4).all()
    assert (moved[1] == 0).all()
    known = before()
    known.rgb[0, 0] += 1
    moved = (both(clip(rgb, depth, *t, frames=F, motion=known)) - plain).abs().amax((1, 2, 3)).unflatten(0, (B, F))
    assert (moved[0] > 1e-4).all()
    assert (moved[1] == 0).all()
    null = MotionFrames.null(known.rgb, 1000)
    assert (null.t == 999).all()
    assert not null.rgb.any()
    assert (both(clip(rgb, depth, *t, frames=F, motion=null)) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_motion_frames_have_a_timestep_of_their_own():
    _, _, clip = clip_unet()
    rgb, depth, *t = inputs()
    known = before()
    same = known._replace(t=torch.full((B,), 500))
    assert (
        both(clip(rgb, depth, *t, frames=F, motion=known)) - both(clip(rgb, depth, *t, frames=F, motion=same))
    ).any()


def still_networks():
    """Networks whose finest level sees each frame by itself."""
    return seeing_networks(plain_levels=1)


@pytest.mark.parametrize("make", [networks, still_networks])
@torch.no_grad()
def test_an_anchor_is_a_frame_without_depth_that_goes_where_its_reference_goes(make):
    _, _, clip = clip_unet(make=make)
    given, ref = inputs(), latents(B)[2]
    anchored = both(clip(*given, frames=F, motion=before(), anchor=Anchor(ref, 999)))
    # by hand: one more frame before the others
    rgb, depth, t_rgb, t_depth = given
    known = before()

    def framed(first, known, rest):
        return torch.cat([first[:, None], known, rest.unflatten(0, (B, F))], 1).flatten(0, 1)

    zero = torch.zeros(B, dtype=torch.long)
    times = [framed(t0, known.t[:, None].expand(-1, M), t) for t0, t in ((zero, t_rgb), (zero + 999, t_depth))]
    z_rgb, z_depth = framed(ref, known.rgb, rgb), framed(torch.zeros_like(ref), known.depth, depth)
    wanted = both(clip(z_rgb, z_depth, *times, frames=1 + M + F)).unflatten(0, (B, 1 + M + F))[:, 1 + M :].flatten(0, 1)
    torch.testing.assert_close(anchored, wanted, atol=1e-5, rtol=1e-5)
    # dropped with the reference, it is nothing, whatever it was
    keep = torch.tensor([True, False])
    dropped = both(clip(*given, frames=F, motion=before(), anchor=Anchor(ref, 999), keep_reference_B=keep))
    other = ref.clone()
    other[1] += 1
    again = both(clip(*given, frames=F, motion=before(), anchor=Anchor(other, 999), keep_reference_B=keep))
    torch.testing.assert_close(dropped, again, atol=0, rtol=0)
    torch.testing.assert_close(dropped[:F], anchored[:F], atol=1e-5, rtol=1e-5)
    assert (dropped[F:] - anchored[F:]).abs().max() > 1e-3
    # in guidance, too; and sound has a place for it
    audio = clip.project_audio(tokens(M + F), anchored=True)
    how = {"frames": F, "motion": before(), "anchor": Anchor(ref, 999)}
    twice = both(clip(*(torch.cat([x, x]) for x in given), **how, reference_from=B, audio=audio, audio_from=B))
    torch.testing.assert_close(twice[B * F :], both(clip(*given, **how, audio=audio)), atol=1e-5, rtol=1e-5)
    free = both(clip(*given, **how, keep_reference_B=torch.tensor([False, False])))
    torch.testing.assert_close(twice[: B * F], free, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_each_frame_hears_its_own_sound_and_nothing_where_it_is_dropped():
    _, _, clip = clip_unet(moved=False)
    given = inputs()
    deaf = both(clip(*given, frames=F))
    heard = both(clip(*given, frames=F, audio=clip.project_audio(tokens())))
    assert ((heard - deaf).abs().amax((1, 2, 3)) > 1e-4).all()
    other = tokens()
    other[1, 2] += 1
    changed = (both(clip(*given, frames=F, audio=clip.project_audio(other))) - heard).abs().amax((1, 2, 3))
    assert changed[5] > 1e-4
    assert (changed[:5] == 0).all()
    keep = torch.tensor([False, True])
    kept = both(clip(*given, frames=F, audio=clip.project_audio(tokens()), keep_audio_B=keep))
    torch.testing.assert_close(kept[:F], deaf[:F], atol=0, rtol=0)
    torch.testing.assert_close(kept[F:], heard[F:], atol=0, rtol=0)
    louder = both(clip(*given, frames=F, audio=clip.project_audio(tokens()), audio_scale=0.0))
    torch.testing.assert_close(louder, deaf, atol=0, rtol=0)


@pytest.mark.parametrize("make", [networks, seeing_networks])
@torch.no_grad()
def test_guidance_asks_for_all_branches_in_one_batch(make):
    _, reference, clip = clip_unet(make=make)
    known = clip.project_reference(reference(latents(B)[2]))
    sound = clip.project_audio(tokens(M + F))
    given, how = inputs(), {"frames": F, "motion": before()}
    image_tokens = torch.randn(B, 4, clip.unet.config["cross_attention_dim"])
    how["tokens_BLD"] = image_tokens
    wanted = [
        both(clip(*given, **how)),
        both(clip(*given, **how, reference=known)),
        both(clip(*given, **how, reference=known, audio=sound)),
    ]
    three = [torch.cat([x] * 3) for x in given]
    found = both(clip(*three, **how, reference=known, reference_from=B, audio=sound, audio_from=2 * B))
    torch.testing.assert_close(found, torch.cat(wanted), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [networks, seeing_networks])
@torch.no_grad()
def test_a_reference_is_dropped_for_all_frames_of_its_clip(make):
    _, reference, clip = clip_unet(make=make)
    known = clip.project_reference(reference(latents(B)[2]))
    keep = torch.tensor([True, False])
    found = both(clip(*inputs(), frames=F, reference=known, keep_reference_B=keep))
    led, alone = both(clip(*inputs(), frames=F, reference=known)), both(clip(*inputs(), frames=F))
    torch.testing.assert_close(found[:F], led[:F], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[F:], alone[F:], atol=1e-5, rtol=1e-5)
    assert (led - alone).abs().max() > 1e-3


def gradients(checkpointing):
    _, reference, clip = clip_unet()
    clip.train()
    clip.checkpointing = checkpointing
    known = clip.project_reference(reference(latents(B)[2]))
    out = both(clip(*inputs(), frames=F, motion=before(), reference=known, audio=clip.project_audio(tokens(M + F))))
    out.square().sum().backward()
    return out.detach(), {name: p.grad for name, p in clip.named_parameters()}


def test_only_motion_and_sound_train_and_checkpointing_changes_nothing():
    (out, grads), (again, others) = gradients(False), gradients(True)
    torch.testing.assert_close(out, again)
    trained = {name for name, grad in grads.items() if grad is not None}
    assert trained == {name for name in grads if "motion_modules" in name or name.startswith("audio.")}
    for name in trained:
        torch.testing.assert_close(grads[name], others[name], atol=1e-4 * grads[name].abs().max().item(), rtol=1e-4)


def test_two_products_are_the_one_that_diffusers_cuts_in_two():
    torch.manual_seed(0)
    whole = GEGLU(6, 8)
    halved, x = HalvedGEGLU(whole.proj), torch.randn(5, 6, requires_grad=True)
    answers = [layer(x) for layer in (whole, halved)]
    torch.testing.assert_close(*answers)
    at = (x, whole.proj.weight, whole.proj.bias)
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), at) for y in answers), strict=True):
        torch.testing.assert_close(one, other)


def test_more_frames_than_positions_are_refused():
    _, _, clip = clip_unet()
    many = [x[:1].repeat(40, *[1] * (x.ndim - 1)) for x in inputs()]
    with pytest.raises(ValueError, match=r"40 frames .* 32"):
        clip(*many, frames=40)


def test_parts_of_different_models_are_refused():
    joint, _ = networks()
    wide, _ = build("tiny", C)
    with pytest.raises(ValueError, match="motion modules of widths"):
        ClipUNet(joint, new_motion(wide.unet), None)
    with pytest.raises(ValueError, match="the layers of sound"):
        ClipUNet(joint, new_motion(joint.unet), new_audio_attention(wide.unet, D))
    deaf = ClipUNet(joint, new_motion(joint.unet), None)
    with pytest.raises(ValueError, match="deaf"):
        deaf.project_audio(tokens())


@torch.no_grad()
def test_a_layer_of_sound_is_attention_times_a_gate_of_the_position():
    torch.manual_seed(0)
    layer = AudioLayer(16, D, heads=2)
    nn.init.normal_(layer.to_out.weight)
    hidden, heard = torch.randn(3, 7, 16), torch.randn(3, L, D)
    q, k, v = layer.to_q(hidden), layer.to_k(heard), layer.to_v(heard)
    heads = [slice(0, 8), slice(8, 16)]
    found = torch.cat([(q[..., h] @ k[..., h].mT / 8**0.5).softmax(-1) @ v[..., h] for h in heads], dim=-1)
    wanted = (found * (hidden @ layer.to_gate.weight.T + layer.to_gate.bias)) @ layer.to_out.weight.T
    torch.testing.assert_close(layer(hidden, layer.project(heard)), wanted, atol=1e-4, rtol=1e-4)
