import pytest
import torch

from jdap.diffusion.denoiser import Pair
from jdap.stages.parts.lip_loss import LIP_SCALE_MM, PATCH_CELLS, PATCH_RADII, SeenLips, mouth_patches


def test_patches_lie_on_the_mouth_and_grow_with_it():
    # each cell holds its own place in pixels, so a patch must hold the places that it was asked for
    factor, cells = 4, 32
    centres = (torch.arange(cells) + 0.5) * factor
    rgb = torch.stack([centres[None, :].expand(cells, -1), centres[:, None].expand(-1, cells)])[None, None]
    mouth_px = torch.tensor([[[60.0, 70.0, 8.0]]])
    (patch,) = mouth_patches(Pair(rgb, rgb + 1), mouth_px, factor)[0]
    along = torch.linspace(-PATCH_RADII, PATCH_RADII, PATCH_CELLS) * 8
    torch.testing.assert_close(patch[0], (60 + along)[None, :].expand(PATCH_CELLS, -1))
    torch.testing.assert_close(patch[1], (70 + along)[:, None].expand(-1, PATCH_CELLS))
    torch.testing.assert_close(patch[2:], patch[:2] + 1)


def test_the_reader_learns_an_opening_and_leaves_out_what_is_not_known():
    torch.manual_seed(0)
    reader = SeenLips(3)
    optimizer = torch.optim.AdamW(reader.parameters(), 2e-3)
    for _ in range(150):
        lips_mm, noise = torch.rand(4, 8) * 10, torch.randn(4, 8, 6, PATCH_CELLS, PATCH_CELLS)
        true = 0.1 * torch.randn_like(noise)
        true[..., 5:7, :] += (lips_mm / LIP_SCALE_MM)[..., None, None, None]
        loss = reader.reading_loss(true, noise, lips_mm)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05  # the variance is 1/3
    lips_mm[0] = torch.nan
    known = reader.reading_loss(true, noise, lips_mm)
    assert known.item() == pytest.approx(reader.reading_loss(true[1:], noise[1:], lips_mm[1:]).item(), rel=1e-5)
    counts = torch.ones(4, 8, dtype=torch.bool)
    assert reader.judging_loss(true, true, counts) == 0
    assert reader.judging_loss(true.flip(1), true, counts) > 0.1
    assert reader.judging_loss(true.flip(1), true, ~counts) == 0
