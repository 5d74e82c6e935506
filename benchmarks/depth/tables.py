"""The tables that come of depth scores: means, groups of pictures, paired differences, and every picture.

Intervals are 95 % percentile intervals of the bootstrap over people, NaN when there is one person only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.depth.method import TrainingMean
from benchmarks.depth.regions import REGIONS
from benchmarks.depth.scores import BEYOND, BOUNDARY_F1, NORMAL_DEG, UNTILTED, DepthScores, of_region
from jdap.metrics.bootstrap import holm, interval, resampled_means, sign_flip_p
from jdap.metrics.depth import DEPTH_MEASURES, METRIC, NORMALISED, SCALE_SHIFT, STRICT_DELTAS, UNIT_OF_FRAME

#: What every row has; in millimetres also how the surface lies.
ROW_MEASURES = (*DEPTH_MEASURES, *STRICT_DELTAS)
SURFACE = (NORMAL_DEG, BOUNDARY_F1)
#: Degrees of yaw to either side, from … to under.
YAW_BINS_DEG = ((0, 10), (10, 20), (20, 30), (30, 45), (45, 90))
BY_YAW, BY_REGION, BY_SOURCE = "yaw", "region", "source"
WHOLE_FACE = "face"
#: Whose unit and measure stand in groups: the same errors as relief and in millimetres.
_GROUPED = ((NORMALISED, "rmse"), (METRIC, "rmse"), (METRIC, NORMAL_DEG))
#: What methods are compared by, pair by pair.
_PAIRED = ((NORMALISED, "rmse"), (NORMALISED, "absrel"), (NORMALISED, "delta1"), (METRIC, "rmse"), (METRIC, NORMAL_DEG))


def rows(scores: DepthScores, seed: int) -> list[dict[str, Any]]:
    """The table: one row a frame, alignment and method, as ``depth.json`` holds it; there is one picture at least.

    ``n`` pictures; boundary F1 is over those that have an edge, ``boundary_f1_n``.
    """
    table = []
    for frame, alignment, name in scores.tables():
        row: dict[str, Any] = {"method": name, "frame": frame, "alignment": alignment, "n": len(scores.key)}
        for key in (*ROW_MEASURES, *(SURFACE if frame == METRIC else ())):
            found = report.mean_and_interval(scores.column(name, frame, key, alignment), scores.person_id, seed)
            row |= {key: found["mean"], f"{key}_ci": found["mean_ci"]}
            if key == BOUNDARY_F1:
                row["boundary_f1_n"] = found["n"]
        row["unit"] = UNIT_OF_FRAME[frame]
        row["rmse_share"] = float(scores.column(name, frame, "rmse_share", alignment).mean())
        row["negative_scale"] = float((scores.column(name, frame, "scale", alignment) < 0).mean())
        row |= _against_mean(scores, name, frame, alignment, seed)
        table.append(row)
    return table


def group_rows(scores: DepthScores, seed: int) -> list[dict[str, Any]]:
    """A row a group of pictures or pixels, method, frame and measure, aligned by scale and shift: ``n``, ``mean``,
    ``mean_ci``.

    Groups: pictures by ``yaw`` (degrees to either side) and by ``source``; pixels by ``region`` of the face (RMSE in mm
    after the alignment of the whole), where ``face`` is all of it, ``untilted`` all of it after the best tilt is taken
    out, too, and ``beyond the skin`` what else has exact depth. A group without a picture is left out.
    """
    yaw, source = np.abs(scores.yaw_deg), np.array(scores.source)
    groups = [(BY_YAW, f"{low}–{high}°", (yaw >= low) & (yaw < high)) for low, high in YAW_BINS_DEG]
    groups += [(BY_SOURCE, name, source == name) for name in dict.fromkeys(scores.source)]
    found = []
    for kind, name, member in groups:
        people = [person for person, here in zip(scores.person_id, member, strict=True) if here]
        for method in scores.values if people else ():
            for frame, key in _GROUPED:
                values = scores.column(method, frame, key)[member]
                row = {"group": kind, "of": name, "method": method, "frame": frame, "measure": key}
                row["unit"] = "°" if key == NORMAL_DEG else UNIT_OF_FRAME[frame]
                found.append(row | report.mean_and_interval(values, people, seed))
    for name in (WHOLE_FACE, *REGIONS, UNTILTED, BEYOND):
        for method, frames in scores.values.items():
            key = "rmse" if name == WHOLE_FACE else of_region(name)
            if key not in frames[METRIC][SCALE_SHIFT] or not np.isfinite(scores.column(method, METRIC, key)).any():
                continue
            row = {"group": BY_REGION, "of": name, "method": method, "frame": METRIC, "measure": "rmse", "unit": "mm"}
            found.append(row | report.mean_and_interval(scores.column(method, METRIC, key), scores.person_id, seed))
    return found


def paired_rows(scores: DepthScores, seed: int) -> list[dict[str, Any]]:
    """A row for each two methods, frame and measure: the mean of first − other, picture by picture, its interval, and
    p of a randomisation test over people; ``p_holm`` holds for all pairs of a measure together."""
    found = []
    for frame, key in _PAIRED:
        some: list[dict[str, Any]] = []
        for first, other in combinations(scores.values, 2):
            values = scores.column(first, frame, key) - scores.column(other, frame, key)
            row = {"first": first, "other": other, "frame": frame, "measure": key}
            row["unit"] = {NORMAL_DEG: "°", "rmse": UNIT_OF_FRAME[frame]}.get(key, "")
            row |= report.mean_and_interval(values, scores.person_id, seed)
            kept = np.isfinite(values)
            people = [person for person, k in zip(scores.person_id, kept, strict=True) if k]
            some.append(row | {"p": sign_flip_p(values[kept], people, seed=seed)})
        for row, p in zip(some, holm([row["p"] for row in some]), strict=True):
            found.append(row | {"p_holm": p})
    return found


def picture_rows(
    scores: DepthScores, left_out: Mapping[str, tuple[str, str]] | None = None
) -> Iterator[dict[str, Any]]:
    """A row a picture, frame, alignment and method, with all of its numbers, and one for each picture that is
    ``left_out`` (name → whose it is, and why)."""
    region_keys = [of_region(name) for name in (*REGIONS, UNTILTED, BEYOND)]
    names = (*ROW_MEASURES, *SURFACE, "scale", "rmse_share", *region_keys)
    for frame, alignment, method in scores.tables():
        values = scores.values[method][frame][alignment]
        for i, key in enumerate(scores.key):
            row: dict[str, Any] = {"picture": key, "person": scores.person_id[i], "source": scores.source[i]}
            row |= {"yaw_deg": _short(scores.yaw_deg[i]), "method": method, "frame": frame, "alignment": alignment}
            yield row | {name: _short(values[name][i]) if name in values else None for name in names} | {"reason": ""}
    for key, (person, reason) in (left_out or {}).items():
        empty = dict.fromkeys(("source", "yaw_deg", "method", "frame", "alignment", *names))
        yield {"picture": key, "person": person, **empty, "reason": reason}


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _against_mean(scores: DepthScores, name: str, frame: str, alignment: str, seed: int) -> dict[str, Any]:
    # How far RMSE lies under that of the training mean, as a share of it. Both means come from the same resampled
    # people, so what is hard for everybody does not widen the interval.
    mean = TrainingMean.name
    if name == mean or mean not in scores.values or alignment not in scores.values[mean][frame]:
        return {"rmse_below_mean": None, "rmse_below_mean_ci": None}
    pair = np.stack([scores.column(m, frame, "rmse", alignment) for m in (name, mean)], axis=1)
    ours, theirs = pair.mean(0)
    draws = resampled_means(pair, scores.person_id, seed=seed)
    one_person = len(set(scores.person_id)) < 2
    return {
        "rmse_below_mean": float(1 - ours / theirs),
        "rmse_below_mean_ci": [float("nan")] * 2 if one_person else list(interval(1 - draws[:, 0] / draws[:, 1])),
    }
