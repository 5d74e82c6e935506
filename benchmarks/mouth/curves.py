"""Curves of mouths and what they are worth: read off frames by several readers, and compared with the true ones.

Shapes: F frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import report
from jdap.faces.landmarker import Landmarker
from jdap.metrics.lips import amplitude_ratio, best_lag, correlation
from jdap.metrics.mouth import DEPTH, RGB, MouthReader

FROM_LANDMARKS = "landmarks"
#: mediapipe's landmarks: the middle of the inner edge of the upper and the lower lip, the outer corners of the eyes.
MIDDLE_OF_LIPS, EYE_CORNERS = (13, 14), (33, 263)
#: Pictures are enlarged to this side before faces are looked for in them.
SEARCH_PX = 512
#: Of a clip in which a face is found in a smaller share of frames than this, landmarks give no curve.
FOUND = 0.5
#: measure -> whether higher is better; None: neither
CURVE_MEASURES = {"correlation": True, "best": True, "lag": None, "amplitude": None}


@dataclass
class Curves:
    """Clips' curves by arm and reader, beside the true ones, in the order of the clips.

    ``read[arm][reader]`` is a list of (F,) float tensors. ``others[arm]`` are the true curves of an arm that is to
    follow others than the clips' own.
    """

    key: list[str] = field(default_factory=list)
    person_id: list[str] = field(default_factory=list)
    true: list[Tensor] = field(default_factory=list)
    read: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    others: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, arm: str, curves: dict[str, Tensor], true: Tensor | None = None) -> None:
        """Note the curves of the clip that was added last, and the true one where it is not the clip's own."""
        for reader, curve in curves.items():
            self.read.setdefault(arm, {}).setdefault(reader, []).append(curve)
        if true is not None:
            self.others.setdefault(arm, []).append(true)

    def values(self, arm: str, reader: str) -> dict[str, np.ndarray]:
        """Each of :data:`CURVE_MEASURES` (clips,), NaN where a clip has no such number."""
        found: dict[str, list[float]] = {name: [] for name in CURVE_MEASURES}
        for made, true in zip(self.read[arm][reader], self.others.get(arm, self.true), strict=True):
            pair = made[None], true[None]
            lag, best = best_lag(*pair)
            numbers = (correlation(*pair), best, lag.double(), amplitude_ratio(*pair))
            for name, value in zip(CURVE_MEASURES, numbers, strict=True):
                found[name].append(float("nan") if best.isnan() else float(value))
        return {name: np.array(values) for name, values in found.items()}


def read_all(
    readers: dict[str, MouthReader], landmarker: Landmarker | None, rgb_F3HW: Tensor, depth_F1HW: Tensor | None
) -> dict[str, Tensor]:
    """The curves (F,) that each reader reads of one clip, on the CPU.

    ``rgb`` and ``depth`` in millimetres as :class:`MouthReader` gives them, ``landmarks`` as shares of the distance of
    the eyes, NaN where no face is found. Without depth, or without a landmarker, that reader is left out.
    """
    found = {RGB: readers[RGB](rgb_F3HW[None])[0].cpu()}
    if depth_F1HW is not None:
        found[DEPTH] = readers[DEPTH](depth_F1HW[None])[0].cpu()
    if landmarker is not None:
        found[FROM_LANDMARKS] = landmark_opening(landmarker, rgb_F3HW)
    return found


def landmark_opening(landmarker: Landmarker, rgb_F3HW: Tensor) -> Tensor:
    """Distance of the inner lips over that of the eyes' outer corners (F,), NaN where no face is found.

    All NaN where faces are found in less than :data:`FOUND` of the frames: what is left would be no curve.
    """
    large = F.interpolate(rgb_F3HW.float().cpu(), (SEARCH_PX, SEARCH_PX), mode="bicubic").clamp(-1, 1)
    opening = torch.full((len(large),), torch.nan)
    for i, pixels in enumerate(((large + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()):
        if faces := landmarker.detect(pixels):
            points = faces[0].landmarks_px_N3[:, :2]
            lips, eyes = (np.linalg.norm(points[a] - points[b]) for a, b in (MIDDLE_OF_LIPS, EYE_CORNERS))
            opening[i] = float(lips / eyes)
    return opening if opening.isfinite().double().mean() >= FOUND else torch.full_like(opening, torch.nan)


def rows(curves: Curves, pairs: Sequence[tuple[str, str]] = (), seed: int = 0) -> list[dict[str, Any]]:
    """A row an arm, reader and measure: the mean over clips, and its 95 % bootstrap interval over people.

    For ``pairs`` of arms the mean of the differences, first − second, clip by clip. Clips without a number (in either)
    are left out; ``n`` says how many are in a row. ``found``: the share of frames that the reader could read.
    """
    table = []
    found = {(arm, reader): curves.values(arm, reader) for arm, readers in curves.read.items() for reader in readers}
    columns = [(arm, reader, values, curves.read[arm][reader]) for (arm, reader), values in found.items()]
    for first, second in pairs:
        for reader in curves.read.get(first, {}):
            if (second, reader) in found:
                one, other = found[first, reader], found[second, reader]
                columns.append((f"{first} − {second}", reader, {n: one[n] - other[n] for n in CURVE_MEASURES}, []))
    for arm, reader, values, read in columns:
        for name, numbers in values.items():
            row = {"arm": arm, "reader": reader, "measure": name}
            row |= report.mean_and_interval(numbers, curves.person_id, seed)
            found_share = float(torch.cat(read).isfinite().double().mean()) if read else None
            table.append(row | {"higher_is_better": CURVE_MEASURES[name], "found": found_share})
    return table
