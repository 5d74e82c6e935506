"""A small network beside the UNet that betters the RGB it draws by the reference, moved to where its head is.

The UNet looks its reference up, wherever in that the head is, and small weights find no detail that way. Once depth
says where the head goes, the reference itself can be moved there (:mod:`jdap.pose.likeness`): what was a question of
where becomes one of whether. This network answers it, at every step of sampling, and leaves depth and the UNet alone.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

#: What it is told of each pixel of a moved reference: whether it is of the face, and whether the reference shows that.
SEEN_CHANNELS = 2
#: Of log-SNR: frequencies a quarter apart tell all noise of a schedule apart.
_FREQUENCIES, _FREQUENCY, _TIME = 8, 0.25, 32
_GROUPS = 8
#: At first so little of the moved reference is taken over: a logit.
_CLOSED = -3.0


class NoisedBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity, the first one's answer scaled and shifted by how noisy it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_in, self.norm = nn.GroupNorm(_GROUPS, width), nn.GroupNorm(_GROUPS, width)
        self.conv_in, self.conv_out = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.noise = nn.Linear(_TIME, 2 * width)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, noise_BT: Tensor) -> Tensor:
        """(B, width, h, w) → the same shape."""
        scale, shift = self.noise(noise_BT)[..., None, None].chunk(2, 1)
        y = self.norm(self.conv_in(F.silu(self.norm_in(x))))
        return x + self.conv_out(F.silu(y * (1 + scale) + shift))


class LikenessNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Clean RGB latents as the UNet has them → the same with what the moved reference shows.

    The answer is the UNet's own, and a correction, and of the moved reference a share a cell. A network that has not
    trained answers the UNet's, but for a twentieth of what the reference shows of the face.

    Args:
        latent_channels: C.
        width, deep: channels at the latents' resolution, and at half of it.
        blocks: of those at half of it.
    """

    @register_to_config
    def __init__(self, latent_channels: int, width: int = 48, deep: int = 96, blocks: int = 2) -> None:
        super().__init__()
        self.noise = nn.Sequential(nn.Linear(2 * _FREQUENCIES, _TIME), nn.SiLU(), nn.Linear(_TIME, _TIME), nn.SiLU())
        self.first = nn.Conv2d(4 * latent_channels + SEEN_CHANNELS, width, 3, padding=1)
        self.before = NoisedBlock(width)
        self.down = nn.Conv2d(width, deep, 2, stride=2)
        self.middle = nn.ModuleList(NoisedBlock(deep) for _ in range(blocks))
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.after = nn.ModuleList(NoisedBlock(width) for _ in range(2))
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.last = nn.Conv2d(width, latent_channels + 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self,
        noisy_BChw: Tensor,
        clean_BChw: Tensor,
        moved_BChw: Tensor,
        seen_B2hw: Tensor,
        depth_BChw: Tensor,
        log_snr_B: Tensor,
    ) -> Tensor:
        """Clean RGB latents (B, C, h, w).

        Args:
            noisy_BChw, clean_BChw: RGB as the UNet saw it, and the clean RGB that follows from what it said.
            moved_BChw: latents of the moved reference.
            seen_B2hw: shares of each cell in [0, 1]: what is of the face, and what of that the reference shows.
            depth_BChw: the depth for which RGB is drawn.
            log_snr_B: how noisy the RGB is.
        """
        rates = _FREQUENCY * torch.arange(1, _FREQUENCIES + 1, device=log_snr_B.device)
        angles = log_snr_B[:, None] * rates
        noise = self.noise(torch.cat([angles.sin(), angles.cos()], 1).to(clean_BChw.dtype))
        x = self.first(torch.cat([noisy_BChw, clean_BChw, moved_BChw, seen_B2hw, depth_BChw], 1))
        x = self.before(x, noise)
        y = self.down(x)
        for block in self.middle:
            y = block(y, noise)
        x = self.join(torch.cat([x, F.pixel_shuffle(self.up(y), 2)], 1))
        for block in self.after:
            x = block(x, noise)
        change, taken = self.last(F.silu(self.norm(x))).split([clean_BChw.shape[1], 1], 1)
        share = torch.sigmoid(taken + _CLOSED) * seen_B2hw[:, 1:]
        return clean_BChw + change + share * (moved_BChw - clean_BChw)
