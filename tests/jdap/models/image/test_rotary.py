"""Positions in attention, against complex numbers in NumPy that share no code with them."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from networks import latents, seeing_networks, timesteps

from jdap.models.image.rotary import turned

HEADS, SIDE, D = 3, 4, 24


def by_hand(x_ND, heads, pictures=1):
    """Channel i and channel i + d/2 of a head are one complex number, which turns by e^(i angle)."""
    x = np.asarray(x_ND, dtype=np.float64)
    count, d = len(x) // pictures, x.shape[1] // heads
    side = round(count**0.5)
    speeds = 2 * np.pi * 0.25 * 32 ** (np.arange(d // 4) / (d // 4 - 1))  # a quarter of a turn … eight turns a side
    out = np.empty_like(x)
    for n in range(len(x)):
        row, column = divmod(n % count, side)
        angle = np.concatenate([(column + 0.5) / side * speeds, (row + 0.5) / side * speeds])
        for h in range(heads):
            first, second = x[n, h * d : h * d + d // 2], x[n, h * d + d // 2 : (h + 1) * d]
            z = (first + 1j * second) * np.exp(1j * angle)
            out[n, h * d : (h + 1) * d] = np.concatenate([z.real, z.imag])
    return torch.from_numpy(out)


@pytest.mark.parametrize("pictures", [1, 3])
def test_tokens_are_turned_by_where_their_cells_are(pictures):
    x = torch.randn(2, pictures * SIDE**2, D)
    found = turned(x, HEADS, pictures)
    for one, got in zip(x, found, strict=True):
        torch.testing.assert_close(got.double(), by_hand(one, HEADS, pictures), atol=1e-5, rtol=1e-5)


def test_a_score_depends_on_what_two_cells_hold_and_on_the_offset_alone():
    q, k = torch.randn(2, 1, 1, D, dtype=torch.float64)
    everywhere = [turned(x.expand(1, SIDE**2, D), HEADS)[0].reshape(SIDE, SIDE, D) for x in (q, k)]
    scores = torch.einsum("abd,xyd->abxy", *everywhere)
    by_offset: dict[tuple[int, int], list[float]] = {}
    for place in np.ndindex(*scores.shape):
        row, column, other_row, other_column = place
        by_offset.setdefault((other_row - row, other_column - column), []).append(float(scores[place]))
    for values in by_offset.values():
        assert values == pytest.approx([values[0]] * len(values), rel=1e-9, abs=1e-9)
    firsts = sorted(values[0] for values in by_offset.values())
    assert min(np.diff(firsts)) > 0  # and it does depend on it, along both axes and in both directions


def test_lengths_stay_and_the_same_place_of_two_pictures_meets():
    x = torch.randn(1, 2 * SIDE**2, D)
    found = turned(x, HEADS, 2)
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))
    first, second = found.chunk(2, dim=1)
    torch.testing.assert_close(second, turned(x[:, SIDE**2 :], HEADS))
    torch.testing.assert_close((first * second).sum(-1), (x[:, : SIDE**2] * x[:, SIDE**2 :]).sum(-1))


@pytest.mark.parametrize(("tokens", "channels"), [(12, 24), (16, 18)])
def test_oblong_pictures_and_odd_heads_are_refused(tokens, channels):
    with pytest.raises(ValueError, match="multiple of 4"):
        turned(torch.zeros(1, tokens, channels), HEADS)


def test_tables_made_for_sampling_serve_training():
    with torch.inference_mode():
        turned(torch.zeros(1, 25, 8), 2)
    x = torch.randn(1, 25, 8, requires_grad=True)
    turned(x, 2).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


@pytest.mark.parametrize("pictures", [1, 2])
@torch.no_grad()
def test_every_self_attention_is_softmax_of_turned_queries_and_keys(pictures):
    """The layers' own weights, one or two pictures of the person, and no code of ours."""
    joint, reference = seeing_networks()
    rgb, depth, ref = latents()
    ref = ref if pictures == 1 else torch.stack([ref, ref.flip(0)], dim=1)
    features, calls = reference(ref), {}
    layers = {f"{n}.processor": m for n, m in joint.unet.named_modules() if isinstance(m, Attention) and ".attn1" in n}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, args, out, name=name: calls.update({name: (args[0], out)}))
    joint(rgb, depth, *timesteps(), joint.project_reference(features))
    assert layers
    for name, layer in layers.items():
        hidden, out = (x.double() for x in calls[name])
        w = {part: getattr(layer, part).weight.double() for part in ("to_q", "to_k", "to_v")}
        heads, others = layer.heads, features.layers[name].double()
        for i in range(2):
            q = by_hand(hidden[i] @ w["to_q"].T, heads)
            own = by_hand(hidden[i] @ w["to_k"].T, heads)
            keys = torch.cat([own, by_hand(others[i] @ w["to_k"].T, heads, pictures)])
            values = torch.cat([hidden[i], others[i]]) @ w["to_v"].T
            q, k, v = (x.unflatten(1, (heads, -1)) for x in (q, keys, values))
            scores = torch.einsum("nhd,mhd->hnm", q, k) / q.shape[-1] ** 0.5
            mixed = torch.einsum("hnm,mhd->nhd", scores.softmax(dim=-1), v).flatten(1)
            expected = mixed @ layer.to_out[0].weight.double().T + layer.to_out[0].bias.double()
            torch.testing.assert_close(out[i], expected, atol=1e-5, rtol=1e-4)
