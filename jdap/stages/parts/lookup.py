"""Does the network look its reference up? The error of its guess at the RGB, by what it is shown as the reference.

At a few timesteps, with both halves noisy, it is asked for the clean RGB latents while it sees the person's own
reference, another person's, none, or the answer itself. A network that looks up has *itself* far below *none*, and
*own* between the two; one that does not has all four alike.

Shapes: B pictures, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from jdap.batch import other_people
from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import StepSlice, draw_noise
from jdap.pipelines.portrait import PortraitPipeline

#: Where the error is measured, of the schedule's 1,000 timesteps, and what is shown.
TIMESTEPS = (300, 500, 700, 900)
SHOWN = ("own", "other", "none", "itself")


class ReferenceLookup(nn.Module):
    """Mean squared errors of the clean RGB latents, over the first ``pictures`` that it is given.

    Args:
        pictures: how many pictures are enough.
    """

    def __init__(self, pictures: int = 48) -> None:
        super().__init__()
        self.pictures, self._seen = pictures, 0
        self.errors = nn.ModuleDict({f"{shown}_{t}": MeanMetric() for t in TIMESTEPS for shown in SHOWN})

    @torch.no_grad()
    def update(
        self,
        pipeline: PortraitPipeline,
        clean: Pair,
        reference_BChw: Tensor,
        person_id: Sequence[str],
        batch_idx: int,
    ) -> None:
        """Add a batch of pictures with a reference each. Those with nobody else in the batch have no *other*."""
        count = min(len(clean.rgb), self.pictures - self._seen)
        if count < 1 or pipeline.reference is None:
            return
        self._seen += count
        denoiser, unet = pipeline.denoiser, pipeline.unet
        others, lonely_B = other_people(person_id[:count])
        clean, own = Pair(*(x[:count] for x in clean)), reference_BChw[:count]
        shown = {"own": own, "other": own[others], "none": None, "itself": clean.rgb}
        seen = {name: None if x is None else unet.project_reference(pipeline.reference(x)) for name, x in shown.items()}
        noise = draw_noise(clean, 0, StepSlice.of(batch_idx, count))
        for timestep in TIMESTEPS:
            t = Pair(*(torch.full((count,), timestep, device=own.device) for _ in range(2)))
            noisy = denoiser.add_noise(clean, noise, t)
            for name, reference in seen.items():
                v = Pair(*partial(unet, reference=reference)(*noisy, *t))
                error_B = (denoiser.clean(noisy, v, t).rgb - clean.rgb).square().mean((1, 2, 3))
                metric: Any = self.errors[f"{name}_{timestep}"]
                metric.update(error_B[~lonely_B] if name == "other" else error_B)

    def compute(self) -> dict[str, Tensor]:
        """``lookup/own_300`` … ``lookup/itself_900``, those that were measured, over the pictures of all processes."""
        # every process has to ask, also one that saw none: the sums are added up
        metrics: dict[str, Any] = dict(self.errors.items())
        found = {f"lookup/{name}": error.compute() for name, error in metrics.items()}
        return {name: error for name, error in found.items() if not error.isnan()}

    def reset(self) -> None:
        """Start anew."""
        self._seen = 0
        with torch.inference_mode(False):  # states that were made in it may not be changed in a training's validation
            metrics: list[Any] = list(self.errors.values())
            for error in metrics:
                error.reset()
