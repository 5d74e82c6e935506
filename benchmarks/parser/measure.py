"""How good a parser is on held-out studio people: IoU a class, and milliseconds a crop.

Shapes: N pictures, S x S pixels, C classes.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from benchmarks.parser.people import Labelled
from jdap.choices import PARSED
from jdap.faces.parser_net import SIDE_PX
from jdap.faces.parsing import AT_ONCE, Parser
from jdap.io.threads import threads_kept, use_threads
from jdap.metrics.bootstrap import interval, resampled_means

#: Runs over a batch that are timed; what counts is their median.
TIMED = 9


def iou_rows(parser: Parser, people: Labelled, seed: int = 0) -> list[dict[str, Any]]:
    """A row a class, each picture another person: ``iou`` of all pixels together, its 95 % interval over people,
    ``pictures`` that have the class, and its share of all pixels; at the end the mean of the classes. A class that no
    picture has gets NaN, and is not in the mean."""
    parts = [(_counts(parser, people, slice(i, i + AT_ONCE))) for i in range(0, len(people), AT_ONCE)]
    counts_N2C = np.concatenate(parts).astype(np.float64)
    groups = [str(i) for i in range(len(people))]
    drawn = resampled_means(counts_N2C, groups, seed=seed)
    mean, many = _iou(counts_N2C.mean(0)), _iou(drawn)
    rows: list[dict[str, Any]] = []
    there: list[bool] = []
    for i, name in enumerate(PARSED):
        has = int((people.label_NSS == i).any((1, 2)).sum())
        there.append(has > 0)
        if not has:
            mean[i], many[:, i] = np.nan, np.nan
        share = float((people.label_NSS == i).mean())
        rows.append({"class": name, "iou": float(mean[i]), "iou_ci": list(interval(many[:, i])), "pictures": has})
        rows[-1]["share"] = share
    whole: dict[str, Any] = {
        "class": "mean",
        "iou": float(mean[there].mean()),
        "iou_ci": list(interval(many[:, there].mean(1))),
    }
    return [*rows, whole | {"pictures": len(people), "share": 1.0}]


def _counts(parser: Parser, people: Labelled, part: slice) -> np.ndarray:
    """(n, 2, C): pixels in both, and in either, of each picture and class."""
    said, true = parser.shares(people.rgb_NSS3[part]).argmax(1), people.label_NSS[part]
    pairs = [((said == i) & (true == i), (said == i) | (true == i)) for i in range(len(PARSED))]
    return np.stack([[both.sum((1, 2)), either.sum((1, 2))] for both, either in pairs], -1).transpose(1, 0, 2)


def _iou(counts_2C: np.ndarray) -> np.ndarray:
    return counts_2C[..., 0, :] / np.maximum(counts_2C[..., 1, :], 1e-9)


def milliseconds(parser: Parser) -> dict[str, float]:
    """Processor milliseconds a crop of 128², of batches of 16 on one thread: median, least and most of nine."""
    crops = np.random.default_rng(0).integers(0, 256, (AT_ONCE, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    spent = []
    with threads_kept():
        use_threads(1)
        parser.shares(crops)
        for _ in range(TIMED):
            began = time.process_time()
            parser.shares(crops)
            spent.append((time.process_time() - began) / AT_ONCE * 1e3)
    return {"median": statistics.median(spent), "least": min(spent), "most": max(spent)}
