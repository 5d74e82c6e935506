"""What the studio knows of each pixel of its pictures besides depth and skin, and shading from it alone.

Everything is read at the pixels' centres, where depth is; the picture itself is filtered from samples around them
(:mod:`data_prep.studio.looks.picture`). So :meth:`Truth.shade` gives the light at the centres, which is
``linear_FSS3``, and not the picture.

Shapes: F frames, S x S pixels, D = 3 lamps at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.studio.looks import light

#: Lights of a picture beside the ambient one; a missing lamp has no power.
MAX_LAMPS = 3


@dataclass(frozen=True, eq=False)
class Truth:
    """Truth of F frames, float32 on the CPU unless noted; 0 where nothing is seen.

    * ``normal_FSS3``: unit normals that are shaded, camera space (x right, y down, z forward)
    * ``albedo_FSS3``: linear RGB, 0 … 1
    * ``part_FSS`` uint8: 1 + the index into :data:`data_prep.studio.looks.bust.BUST_PARTS`, 0 = nothing
    * ``gloss_FSS``, ``sharpness_FSS``, ``wrap_FSS``: as :func:`data_prep.studio.looks.light.shade` takes them
    * ``opened_FSSL`` (F, S, S, 1 + D): how much of the ambient light and of each lamp arrives, 0 … 1
    * ``to_eye_FSS3``: unit vectors to the camera
    * ``linear_FSS3``: the light that reaches the camera, linear RGB before exposure
    * ``label_FSS`` uint8: index into :data:`jdap.choices.PARSED` (:mod:`data_prep.studio.labels`); not in shards
    * ``ambient_F93``, ``lamps_FD3``, ``power_FD3``: the light, as :class:`data_prep.studio.looks.light.Lighting` has it
    * ``gain_F``: what exposure multiplies ``linear_FSS3`` with
    """

    normal_FSS3: Tensor
    albedo_FSS3: Tensor
    part_FSS: Tensor
    gloss_FSS: Tensor
    sharpness_FSS: Tensor
    wrap_FSS: Tensor
    opened_FSSL: Tensor
    to_eye_FSS3: Tensor
    linear_FSS3: Tensor
    label_FSS: Tensor
    ambient_F93: Tensor
    lamps_FD3: Tensor
    power_FD3: Tensor
    gain_F: Tensor

    def __post_init__(self) -> None:
        f, s = self.part_FSS.shape[:2]
        endings = {"FSS3": (f, s, s, 3), "FSS": (f, s, s), "FSSL": (f, s, s, 1 + MAX_LAMPS), "F93": (f, 9, 3)}
        endings |= {"FD3": (f, MAX_LAMPS, 3), "F": (f,)}
        for field in fields(self):
            value: Tensor = getattr(self, field.name)
            kind = torch.uint8 if field.name in ("part_FSS", "label_FSS") else torch.float32
            shape = endings[field.name.rpartition("_")[2]]
            if tuple(value.shape) != shape or value.dtype != kind:
                raise ValueError(f"Truth.{field.name} must be {shape} {kind}, got {tuple(value.shape)} {value.dtype}")

    @classmethod
    def of(cls, centres: dict[str, Tensor], lights: light.Lights, gain_F: Tensor) -> Truth:
        """From maps (F, S, S, …) by the names of the fields without their shapes, on any device."""
        maps = {
            field.name: centres[field.name.rpartition("_")[0]].cpu().contiguous()
            for field in fields(cls)
            if field.name.rpartition("_")[2].startswith("FSS")
        }
        missing = (0, 0, 0, MAX_LAMPS - lights.lamps_FD3.shape[1])
        return cls(
            **maps,
            ambient_F93=lights.ambient_F93.cpu(),
            lamps_FD3=F.pad(lights.lamps_FD3.cpu(), missing),
            power_FD3=F.pad(lights.power_FD3.cpu(), missing),
            gain_F=gain_F.float().cpu(),
        )

    @classmethod
    def join(cls, parts: Sequence[Truth]) -> Truth:
        """The frames of several, one after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __getitem__(self, which: slice) -> Truth:
        """Some of the frames."""
        return Truth(*(getattr(self, field.name)[which] for field in fields(self)))

    def maps(self) -> dict[str, np.ndarray]:
        """What shards store of it, by kind of :data:`jdap.shards.schema.TRUTH_MAPS`."""
        kinds = {"normal": self.normal_FSS3, "albedo": self.albedo_FSS3, "part": self.part_FSS}
        # What is interpolated and multiplied may round to a hair over 1, which files refuse.
        kinds |= {"wrap": self.wrap_FSS, "open": self.opened_FSSL.clamp_max(1)}
        return {kind: values.numpy() for kind, values in kinds.items()}

    def lights(self, name: str = "light", gain: str = "exposure_gain") -> dict[str, np.ndarray]:
        """Its light as :data:`jdap.shards.schema.ARRAYS` names it."""
        arrays = {f"{name}_ambient": self.ambient_F93, f"{name}_lamps": self.lamps_FD3, f"{name}_power": self.power_FD3}
        return {key: values.numpy() for key, values in (arrays | {gain: self.gain_F}).items()}

    def shade(self) -> Tensor:
        """(F, S, S, 3): ``linear_FSS3`` once more, from everything else."""
        return self._shaded(light.shade, "albedo_FSS3", "normal_FSS3", "to_eye_FSS3", "gloss_FSS", "sharpness_FSS")

    def diffuse(self) -> Tensor:
        """(F, S, S, 3): ``linear_FSS3`` without the sheen, from albedo, normals, wrap, openness and light."""
        return self.albedo_FSS3 * self._shaded(light.diffuse, "normal_FSS3")

    def _shaded(self, law: Any, *names: str) -> Tensor:
        seen = self.part_FSS > 0
        lights = light.Lights(self.ambient_F93, self.lamps_FD3, self.power_FD3)
        opened = self.opened_FSSL[seen]
        values = [getattr(self, name)[seen] for name in (*names, "wrap_FSS")]
        out = torch.zeros_like(self.albedo_FSS3)
        out[seen] = law(lights, seen.nonzero()[:, 0], *values, opened[:, 0], opened[:, 1:])
        return out
