"""What lips do, read from sound, and read from latents: further losses that teach to hear, and to move lips by it.

Shapes: B clips, F frames, L tokens of D channels a frame, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from jdap.diffusion.denoiser import Pair

#: The unit of the loss: about the standard deviation of what lips do in speech.
LIP_SCALE_MM = 5.0


class LipLoss(nn.Linear):
    """A linear layer that reads the lips' opening, in units of :data:`LIP_SCALE_MM`, from each token of sound alone.

    Each of a frame's tokens is read by the same layer: what attention takes from the tokens is a mean of them, through
    one matrix, so what is spread over several of them would be lost on it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 1)

    def loss(self, tokens_BFLD: Tensor, lips_mm_BF: Tensor, has_audio_B: Tensor) -> Tensor:
        """Mean squared error over frames whose opening is known (not NaN) in clips with sound; 0 without any."""
        read_BFL = self(tokens_BFLD)[..., 0].float()
        counts_BF = lips_mm_BF.isfinite() & has_audio_B[:, None]
        wanted_BF = torch.where(counts_BF, lips_mm_BF, 0.0) / LIP_SCALE_MM
        error_BF = (read_BFL - wanted_BF[..., None]).square().mean(dim=-1)
        return (error_BF * counts_BF).sum() / counts_BF.sum().clamp_min(1)


#: Cells, on a side, of the square around the mouth that is read; its half side, in radii of the mouth; and the most
#: noise that it learns to read through, for what is predicted is never quite clean.
PATCH_CELLS, PATCH_RADII, PATCH_NOISE = 12, 2.0, 0.3


class SeenLips(nn.Module):
    """A small network that reads the lips' opening, in units of :data:`LIP_SCALE_MM`, from both halves' latents.

    The mouth is some cells of a thousand, so the squared error of the latents hardly asks that it move with the sound.
    This asks for just that (as the lip-sync expert of arXiv 2008.10010 does, with a curve that is known). It learns on
    true latents alone; what is predicted is judged by it as it stands.
    """

    def __init__(self, latent_channels: int, width: int = 32) -> None:
        super().__init__()
        side = PATCH_CELLS // 2
        self.layers = nn.Sequential(
            nn.Conv2d(2 * latent_channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(width * side * side, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, 1),
        )

    def forward(self, patches_N: Tensor) -> Tensor:
        """(N, 2C, cells, cells) of :func:`mouth_patches` → (N,)."""
        return self.layers(patches_N)[:, 0]

    def reading_loss(self, true_BF: Tensor, noise_BF: Tensor, lips_mm_BF: Tensor) -> Tensor:
        """Mean squared error on true patches (B, F, 2C, cells, cells), over frames whose opening is known.

        ``noise_BF`` of that shape is added, from none in the first frame to :data:`PATCH_NOISE` in the last.
        """
        level = torch.linspace(0, PATCH_NOISE, true_BF.shape[1], device=true_BF.device)[:, None, None, None]
        read_BF = self((true_BF + level * noise_BF).flatten(0, 1)).unflatten(0, lips_mm_BF.shape)
        known_BF = lips_mm_BF.isfinite()
        error_BF = (read_BF - torch.where(known_BF, lips_mm_BF, 0.0) / LIP_SCALE_MM).square()
        return (error_BF * known_BF).sum() / known_BF.sum().clamp_min(1)

    def judging_loss(self, drawn_BF: Tensor, true_BF: Tensor, counts_BF: Tensor) -> Tensor:
        """Mean squared difference between what is read in predicted and in true patches, where ``counts_BF`` (bool).

        The network itself gets no gradient: it must not learn to read what is drawn as what is true.
        """
        fixed = {name: x.detach() for name, x in self.named_parameters()}
        read, wanted = (functional_call(self, fixed, (x.flatten(0, 1),)) for x in (drawn_BF, true_BF.detach()))
        error_BF = (read - wanted).square().unflatten(0, counts_BF.shape)
        return (error_BF * counts_BF).sum() / counts_BF.sum().clamp_min(1)


def mouth_patches(latents: Pair, mouth_px: Tensor, factor: int) -> Tensor:
    """Both halves' latents (B, F, C, h, w) around the mouth, as large as it is: (B, F, 2C, cells, cells), float32.

    ``mouth_px`` (B, F, 3) holds the mouth's centre x, y and radius in pixels of the picture, ``factor`` pixels a cell.
    """
    both = torch.cat([latents.rgb, latents.depth], dim=2).flatten(0, 1).float()
    x, y, radius = mouth_px.flatten(0, 1).unbind(-1)
    along = torch.linspace(-PATCH_RADII, PATCH_RADII, PATCH_CELLS, device=both.device)
    # grid_sample's -1 and 1 are the picture's edges
    at_x, at_y = (2 * (c[:, None] + radius[:, None] * along) / (both.shape[-1] * factor) - 1 for c in (x, y))
    grid = torch.stack(
        [at_x[:, None, :].expand(-1, PATCH_CELLS, -1), at_y[:, :, None].expand(-1, -1, PATCH_CELLS)], dim=-1
    )
    taken = F.grid_sample(both, grid.to(both.dtype), padding_mode="border", align_corners=False)
    return taken.unflatten(0, mouth_px.shape[:2])
