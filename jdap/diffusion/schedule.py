"""One noise schedule, stored with the weights, shared by training and sampling.

With signal a_t = sqrt(alpha_bar_t) and noise s_t = sqrt(1 − alpha_bar_t), a noisy latent is z_t = a_t x + s_t eps, and
the network predicts v_t = a_t eps − s_t x (Salimans & Ho, arXiv 2202.00512), from which x = a_t z_t − s_t v_t and
eps = s_t z_t + a_t v_t. Betas are rescaled to zero terminal signal (Lin et al., arXiv 2305.08891): at the last timestep
a latent is noise and nothing else, so sampling starts where training ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

#: How sampling spaces its steps: evenly in the timestep, or in the logarithm of the signal-to-noise ratio.
TRAILING, LOG_SNR = "trailing", "log_snr"
#: The range of the latter: from the first step after pure noise to the last before the clean latents.
LOG_SNR_RANGE = (-5.0, 3.0)


@dataclass(frozen=True)
class NoiseSchedule:
    """A ``scaled_linear`` schedule of ``timesteps`` steps with zero terminal signal and v-prediction.

    ``spacing`` is :data:`TRAILING`, as in Stable Diffusion, or :data:`LOG_SNR`, for networks that were trained evenly
    over the logarithm of the signal-to-noise ratio.
    """

    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    spacing: str = TRAILING

    def __post_init__(self) -> None:
        if self.spacing not in (TRAILING, LOG_SNR):
            raise ValueError(f"spacing must be {TRAILING} or {LOG_SNR}, got {self.spacing!r}")

    def scheduler(self) -> DDIMScheduler:
        """The same schedule as diffusers' scheduler: the form in which a weights folder stores it.

        Its ``timestep_spacing`` is :attr:`spacing`; diffusers' own loops know ``trailing``, and refuse the other.
        """
        return DDIMScheduler(
            num_train_timesteps=self.timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="scaled_linear",
            rescale_betas_zero_snr=True,
            prediction_type="v_prediction",
            timestep_spacing=self.spacing,
            clip_sample=False,
            set_alpha_to_one=True,
        )

    @classmethod
    def from_scheduler(cls, scheduler: DDIMScheduler) -> NoiseSchedule:
        """The schedule of a stored scheduler. Raises ValueError where it is not one of ours."""
        config = scheduler.config
        schedule = cls(
            config["num_train_timesteps"], config["beta_start"], config["beta_end"], config["timestep_spacing"]
        )
        ours = schedule.scheduler().config
        wrong = [k for k in _FIXED if config.get(k) != ours[k]]
        if wrong:
            raise ValueError(f"not JDAP's noise schedule: {', '.join(f'{k}={config.get(k)!r}' for k in wrong)}")
        return schedule

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(T,) float32 on the CPU: the share of signal power at each timestep; exactly 0 at the last."""
        return self.scheduler().alphas_cumprod

    @cached_property
    def log_snr(self) -> np.ndarray:
        """(T,) float64: ln(alpha_bar / (1 − alpha_bar)) of each timestep, falling; −inf at the last."""
        alpha_bar = self.alpha_bar.double().numpy()
        with np.errstate(divide="ignore"):
            return np.log(alpha_bar) - np.log1p(-alpha_bar)

    def at_log_snr(self, log_snr_B: Tensor) -> Tensor:
        """The timesteps (B,) int64 whose signal-to-noise ratios come next, none noisier than asked for."""
        found = np.searchsorted(-self.log_snr, -log_snr_B.double().numpy(), side="right") - 1
        return torch.from_numpy(found.clip(0, self.timesteps - 1))

    def signal_noise(self, t_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(a_t, s_t) for timesteps (B,), shaped to multiply ``like`` (B, ...)."""
        alpha_bar = _on(self, t_B.device)[t_B].reshape(-1, *[1] * (like.ndim - 1))
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)

    def snr(self, t_B: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_bar / (1 − alpha_bar) of timesteps (B,)."""
        alpha_bar = _on(self, t_B.device)[t_B]
        return alpha_bar / (1 - alpha_bar)

    def spaced(self, steps: int) -> list[int]:
        """``steps`` timesteps from the last down; one step is [T − 1]. Raises ValueError outside 1 … T.

        Trailing ones are evenly spaced; by the signal-to-noise ratio the first is the last timestep, pure noise, and
        the others are spaced over :data:`LOG_SNR_RANGE`. Where that would meet a timestep twice they are spaced evenly.
        """
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"steps must be within 1 … {self.timesteps}, got {steps}")
        if self.spacing == LOG_SNR and steps > 1:
            low, high = LOG_SNR_RANGE
            middle = torch.linspace(low, high, steps)[:-1] + (high - low) / (steps - 1) / 2
            times = [self.timesteps - 1, *self.at_log_snr(middle).tolist()]
            if all(a > b for a, b in pairwise(times)):
                return times
        return [round(self.timesteps * (1 - i / steps)) - 1 for i in range(steps)]


@lru_cache(maxsize=16)
def _on(schedule: NoiseSchedule, device: torch.device) -> Tensor:
    """The table on a device, copied there once: from a CPU's memory each copy would wait for a GPU."""
    return schedule.alpha_bar.to(device)


_FIXED = (
    "beta_schedule",
    "rescale_betas_zero_snr",
    "prediction_type",
)


def min_snr_weight(snr_B: Tensor, gamma: float) -> Tensor:
    """Weight min(SNR + 1, gamma) / (SNR + 1) of a v-prediction loss.

    The form of Min-SNR (arXiv 2303.09556) that stays 1 at zero SNR, where the usual min(SNR, gamma) / (SNR + 1) would
    switch the last timestep off: the one that one-step prediction stands on.
    """
    return torch.clamp(snr_B + 1, max=gamma) / (snr_B + 1)
