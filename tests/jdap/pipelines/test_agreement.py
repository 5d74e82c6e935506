"""Of several draws of a portrait, the one whose picture and depth belong together."""

import numpy as np
import pytest
import torch

from jdap.pipelines.agreement import choose_best, disagreement
from jdap.pipelines.pictures import Portrait


def relief() -> torch.Tensor:
    """Two heads before a far wall, (2, 1, 16, 16)."""
    at = torch.linspace(-1, 1, 16)
    bowl = at[:, None] ** 2 + at[None] ** 2
    depth = torch.stack([bowl, 0.5 * bowl - 0.4 * at[None]])
    return torch.where(bowl < 0.8, depth.clamp(-1, 0.85), torch.tensor(1.0))[:, None]


def test_scale_shift_and_background_do_not_count():
    depth = relief()
    seen = torch.where(
        depth < 0.9, 0.5 * depth - 0.3, torch.rand(depth.shape, generator=torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(disagreement(depth, seen), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_it_is_the_rmse_that_is_left_on_the_head():
    depth, head = relief(), relief() < 0.9
    seen = 0.7 * depth + 0.1 * torch.randn(depth.shape, generator=torch.Generator().manual_seed(1))
    for i, found in enumerate(disagreement(depth, seen).tolist()):
        x, y = seen[i][head[i]].double().numpy(), depth[i][head[i]].double().numpy()
        left = np.polyval(np.polyfit(x, y, 1), x) - y
        assert found == pytest.approx(float(np.sqrt(np.mean(left**2))))


def test_without_a_head_a_portrait_is_as_bad_as_can_be():
    depth = relief()
    depth[1] = 1.0
    worst = disagreement(depth, depth)
    assert worst[0] < 1e-6
    assert worst[1] == 2


def test_each_portrait_is_chosen_by_itself():
    draws = [Portrait(torch.full((3, 3, 4, 4), float(k)), torch.full((3, 1, 4, 4), 10.0 * k)) for k in range(3)]
    off = [torch.tensor(x) for x in ([0.3, 0.1, 0.2], [0.2, 0.3, 0.2], [0.1, 0.4, 0.5])]
    made = choose_best(draws, off)
    assert made.rgb[:, 0, 0, 0].tolist() == [2, 0, 0]
    assert made.depth[:, 0, 0, 0].tolist() == [20, 0, 0]
