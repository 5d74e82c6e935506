"""The ReferenceNet's way into the joint UNet: one test an agreement, on a small pair of networks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from networks import C, latents, networks, seeing_networks, timesteps

from jdap.models.image.attention import PlainAttention
from jdap.stages.parts.networks import freeze_unasked


def self_attention(joint):
    """The joint UNet's spatial self-attention layers, by the name that the features carry."""
    named = joint.unet.named_modules()
    return {f"{n}.processor": m for n, m in named if isinstance(m, Attention) and n.endswith(".attn1")}


def trained(joint, reference):
    both = torch.nn.ModuleDict({"joint": joint, "reference": reference})
    return [(n, p) for n, p in both.named_parameters() if p.requires_grad]


def gradients(checkpointing=False, batches=1, keep=None, references=1, make=networks):
    """Outputs, and the gradients of the sum of squares over a batch of 4, in ``batches`` parts."""
    joint, reference = make()
    joint.train(), reference.train()
    if checkpointing:
        joint.unet.enable_gradient_checkpointing()
        reference.unet.enable_gradient_checkpointing()
    rgb, depth, ref = latents(4)
    t_rgb, t_depth = timesteps(4)
    if references > 1:
        ref = torch.stack([ref.roll(r, dims=0) for r in range(references)], dim=1)
    keep = torch.tensor([True, False, True, True]) if keep is None else keep
    outputs = []
    for part in torch.arange(4).chunk(batches):
        known = joint.project_reference(reference(ref[part]))
        out = torch.cat(joint(rgb[part], depth[part], t_rgb[part], t_depth[part], known, keep[part]), dim=1)
        out.square().sum().backward()
        outputs.append(out.detach())
    return torch.cat(outputs), {n: p.grad for n, p in trained(joint, reference)}


def assert_same(a, b):
    """Outputs and every gradient, relative to the size of each."""
    torch.testing.assert_close(a[0], b[0], atol=1e-5, rtol=1e-5)
    assert a[1].keys() == b[1].keys()
    for name, grad in a[1].items():
        assert (grad is None) == (b[1][name] is None), name
        if grad is None:
            continue
        torch.testing.assert_close(grad, b[1][name], atol=2e-5 * (1e-3 + grad.abs().max().item()), rtol=1e-4)


@torch.no_grad()
def test_every_self_attention_is_softmax_over_its_own_and_the_references_hidden_states():
    """An independent computation, with the layers' weights and no code of ours."""
    joint, reference = networks()
    rgb, depth, ref = latents()
    features = reference(ref).layers
    layers = self_attention(joint)
    assert set(features) == set(layers)
    calls = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, args, out, name=name: calls.update({name: (args[0], out)}))
    joint(rgb, depth, *timesteps(), joint.project_reference(reference(ref)), torch.tensor([True, False]))
    for name, layer in layers.items():
        hidden, out = calls[name]
        for i, kept in enumerate((True, False)):
            context = torch.cat([hidden[i], features[name][i]]) if kept else hidden[i]
            q, k, v = (
                F.linear(x, project.weight).reshape(len(x), layer.heads, -1)
                for x, project in ((hidden[i], layer.to_q), (context, layer.to_k), (context, layer.to_v))
            )
            scores = torch.einsum("nhd,mhd->hnm", q, k) / q.shape[-1] ** 0.5
            mixed = torch.einsum("hnm,mhd->nhd", scores.softmax(dim=-1), v).flatten(1)
            expected = F.linear(mixed, layer.to_out[0].weight, layer.to_out[0].bias)
            torch.testing.assert_close(out[i], expected, atol=1e-5, rtol=1e-4)


def freeze_unasked_of(make):
    """The same networks as a stage trains them."""

    def made():
        pair = make()
        for network in pair:
            freeze_unasked(network)
        return pair

    return made


def self_attention_inputs(unet) -> dict[str, torch.Tensor]:
    """By the processors' names; there once the network has run."""
    seen: dict[str, torch.Tensor] = {}
    for name, layer in unet.named_modules():
        if name.endswith(".attn1"):
            layer.register_forward_hook(lambda _, args, out, name=name: seen.update({f"{name}.processor": args[0]}))
    return seen


def assert_same_features(features, seen) -> None:
    assert features.keys() == seen.keys()
    for name, feature in features.items():
        torch.testing.assert_close(feature, seen[name], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_are_the_inputs_of_a_plain_unets_self_attention():
    """What the ReferenceNet leaves out comes after them, so they are those of the same UNet run whole."""
    _, reference = networks()
    _, _, ref = latents()
    plain = type(reference.unet).from_config(reference.unet.config)
    plain.load_state_dict(reference.unet.state_dict())
    seen = self_attention_inputs(plain)
    plain(ref, 0, torch.zeros(2, 1, 64))
    features = reference(ref).layers
    assert_same_features(features, seen)
    seen.clear()
    tokens = torch.randn(2, 3, 64)
    plain(ref, 0, tokens)
    told = reference(ref, tokens).layers
    assert_same_features(told, seen)
    assert any(not torch.allclose(told[name], features[name], atol=1e-3) for name in features)


def plain_first_level():
    return seeing_networks(plain_levels=1)


@pytest.mark.parametrize("make", [networks, seeing_networks, plain_first_level])
@pytest.mark.parametrize("references", [1, 2])
def test_checkpointing_changes_neither_outputs_nor_gradients(references, make):
    changed = gradients(checkpointing=True, references=references, make=make)
    assert_same(changed, gradients(references=references, make=make))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_add_up_over_parts_of_a_batch(checkpointing):
    assert_same(gradients(checkpointing, batches=2), gradients())


def test_two_forward_passes_may_be_open_at_once():
    """A bank in the modules would mix them up: both are run before either is differentiated."""
    joint, reference = networks()
    rgb, depth, ref = latents(4)
    t_rgb, t_depth = timesteps(4)
    losses = []
    for part in torch.arange(4).chunk(2):
        known = joint.project_reference(reference(ref[part]))
        out = torch.cat(joint(rgb[part], depth[part], t_rgb[part], t_depth[part], known), dim=1)
        losses.append(out.square().sum())
    for loss in reversed(losses):
        loss.backward()
    whole = gradients(keep=torch.ones(4, dtype=torch.bool))
    assert_same((whole[0], {n: p.grad for n, p in trained(joint, reference)}), whole)


@pytest.mark.parametrize("keep", [[True, True, True, True], [True, False, True, True], [False] * 4])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("make", [networks, plain_first_level])
def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one_would_have(make, checkpointing, keep):
    freeze = freeze_unasked_of(make)
    _, grads = gradients(checkpointing, keep=torch.tensor(keep), make=freeze)
    assert [name for name, grad in grads.items() if grad is None] == []
    joint, reference = freeze()
    frozen = [p for p in reference.parameters() if not p.requires_grad]
    assert frozen
    for parameter in frozen:
        parameter.requires_grad_(True)
    rgb, depth, ref = latents()
    sum(x.sum() for x in joint(rgb, depth, *timesteps(), joint.project_reference(reference(ref)))).backward()
    assert all(p.grad is None for p in frozen)


def test_the_reference_learns_only_from_samples_that_see_it():
    _, none = gradients(keep=torch.zeros(4, dtype=torch.bool))
    _, some = gradients()
    # the queries, keys and values of the cross-attention have no say in anything where it has no tokens
    silent = (".norm2.", ".attn2.to_q.", ".attn2.to_k.", ".attn2.to_v.", ".attn2.to_out.0.weight")
    asked = [n for n in some if "attentions" not in n or not any(s in n for s in silent)]
    assert {n for n in some if some[n] is None} == set(some) - set(asked)
    reference = [n for n in asked if n.startswith("reference.")]
    assert all(none[n].abs().max() == 0 for n in reference)
    assert [n for n in reference if some[n].abs().max() == 0] == []


@torch.no_grad()
def test_a_dropped_sample_is_a_sample_without_a_reference():
    joint, reference = networks()
    rgb, depth, ref = latents(3)
    known = joint.project_reference(reference(ref))

    def draw(known=None, keep=None):
        return torch.cat(joint(rgb, depth, *timesteps(3), known, keep), dim=1)

    without, everyone = draw(), draw(known)
    assert not torch.allclose(without, everyone, atol=1e-3)
    mixed = draw(known, torch.tensor([False, True, False]))
    torch.testing.assert_close(mixed[[0, 2]], without[[0, 2]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], everyone[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(draw(known, torch.zeros(3, dtype=torch.bool)), without, atol=1e-5, rtol=1e-5)
    assert torch.equal(draw(known, torch.ones(3, dtype=torch.bool)), everyone)


@pytest.mark.parametrize("keep", [None, [True, False]])
@torch.no_grad()
def test_the_first_samples_may_have_no_reference_at_all(keep):
    joint, reference = networks()
    rgb, depth, ref = latents(3)
    keep = None if keep is None else torch.tensor(keep)
    t_rgb, t_depth = timesteps(3)
    known = joint.project_reference(reference(ref[1:]))
    both = torch.cat(joint(rgb, depth, t_rgb, t_depth, known, keep, reference_from=1), dim=1)
    alone = torch.cat(joint(rgb[:1], depth[:1], t_rgb[:1], t_depth[:1]), dim=1)
    led = torch.cat(joint(rgb[1:], depth[1:], t_rgb[1:], t_depth[1:], known, keep), dim=1)
    torch.testing.assert_close(both, torch.cat([alone, led]), atol=1e-5, rtol=1e-5)
    # nor any tokens, which zero tokens are, however many
    tokens = torch.cat([torch.zeros(1, 3, 64), torch.randn(2, 3, 64)])
    told = torch.cat(joint(rgb, depth, t_rgb, t_depth, known, keep, tokens, reference_from=1), dim=1)
    torch.testing.assert_close(told[:1], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(told[1:], led, atol=1e-3)


@torch.no_grad()
def test_projecting_once_is_projecting_at_every_step():
    joint, reference = networks()
    rgb, depth, ref = latents()
    once = joint.project_reference(reference(ref))
    copies = {name: tuple(x.clone() for x in pair) for name, pair in once.layers.items()}
    for step in range(3):
        t = torch.full((2,), 900 - 300 * step)
        drawn = joint(rgb, depth, t, t, once)
        again = joint(rgb, depth, t, t, joint.project_reference(reference(ref)))
        assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
        rgb, depth = drawn
    assert all(torch.equal(a, b) for n in copies for a, b in zip(once.layers[n], copies[n], strict=True))


@torch.no_grad()
def test_several_references():
    joint, reference = networks()
    rgb, depth, first = latents()
    second = latents(seed=2)[2]

    def draw(*references):
        known = joint.project_reference(reference(torch.stack(references, dim=1)))
        return torch.cat(joint(rgb, depth, *timesteps(), known), dim=1)

    plain = torch.cat(joint(rgb, depth, *timesteps(), joint.project_reference(reference(first))), dim=1)
    assert torch.equal(draw(first), plain)
    # attention over twice the same tokens is attention over them once, but for the weight of one's own
    both = draw(first, second)
    torch.testing.assert_close(draw(second, first), both, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both, plain, atol=1e-4)
    features = reference(torch.stack([first, second], dim=1))
    assert features.pictures == 2
    assert torch.equal(features.latents, first)
    for name, one in reference(first).layers.items():
        two = reference(second).layers[name]
        torch.testing.assert_close(features.layers[name], torch.cat([one, two], dim=1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_several_references_share_their_persons_tokens():
    _, reference = networks()
    first, second = latents()[2], latents(seed=2)[2]
    tokens = torch.randn(2, 3, 64)
    features = reference(torch.stack([first, second], dim=1), tokens).layers
    for name, feature in features.items():
        apart = torch.cat([reference(x, tokens).layers[name] for x in (first, second)], dim=1)
        torch.testing.assert_close(feature, apart, atol=1e-5, rtol=1e-5)


def test_latents_of_another_form_are_refused():
    _, reference = networks()
    with pytest.raises(ValueError, match=r"\(R, P, C, h, w\)"):
        reference(torch.zeros(C, 8, 8))


class RotaryAttention(PlainAttention):
    rotary = True


@pytest.mark.parametrize("make", [networks, seeing_networks, plain_first_level])
@torch.no_grad()
def test_running_only_as_far_as_the_last_self_attention_is_running_the_whole_unet(make):
    """diffusers' own ``forward`` on a copy, whose layers' inputs are recorded."""
    _, reference = make()
    whole, ref = copy.deepcopy(reference.unet), latents()[2]
    plain = RotaryAttention() if reference.rotary else PlainAttention()
    whole.set_attn_processor({n: plain if ".attn1." in n else PlainAttention() for n in whole.attn_processors})
    seen = self_attention_inputs(whole)
    whole(ref, 0, torch.zeros(2, 0, 64))
    assert_same_features(reference(ref).layers, seen)


@torch.no_grad()
def test_the_references_latents_are_seen_where_the_reference_is():
    joint, reference = seeing_networks()
    rgb, depth, ref = latents(4)
    known = joint.project_reference(reference(ref[:2]))
    t = timesteps(4)
    # the second person is dropped; two targets each
    led = torch.cat(joint(rgb, depth, *t, known, torch.tensor([True, False]), targets=2), dim=1)
    free = torch.cat(joint(rgb, depth, *t), dim=1)
    torch.testing.assert_close(led[2:], free[2:], atol=1e-5, rtol=1e-5)
    assert (led[:2] - free[:2]).abs().amax((1, 2, 3)).min() > 1e-3
    # latents alone: with the same features they change the answer, and only of those who see them
    other = known._replace(latents=known.latents + 1)
    moved = torch.cat(joint(rgb, depth, *t, other, torch.tensor([True, False]), targets=2), dim=1) - led
    assert (moved[:2].abs().amax((1, 2, 3)) > 1e-4).all()
    assert not moved[2:].any()


@pytest.mark.parametrize("make", [networks, seeing_networks])
@torch.no_grad()
def test_several_targets_of_a_reference_are_the_reference_several_times(make):
    joint, reference = make()
    rgb, depth, ref = latents(6)
    keep, t = torch.tensor([True, False]), timesteps(6)
    shared = joint(rgb, depth, *t, joint.project_reference(reference(ref[:2])), keep, targets=3)
    repeated = joint.project_reference(reference(ref[:2].repeat_interleave(3, dim=0)))
    each = joint(rgb, depth, *t, repeated, keep.repeat_interleave(3))
    for one, other in zip(shared, each, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
