"""Whether two pictures show the same person: distances between the embeddings of :mod:`jdap.faces.embedding`.

On drawn people distances mean something else than on photographs, so whoever reports them says how well they part
people there (:func:`separation`) and gives the distances of true pictures beside.

Shapes: B pictures, E numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def distance(one_BE: Tensor, other_BE: Tensor) -> Tensor:
    """Euclidean distances (B,) of embeddings (B, E) to as many others."""
    return (one_BE - other_BE).norm(dim=-1)


def separation(embeddings_BE: Tensor, people: Sequence[str]) -> dict[str, float]:
    """How well distances tell people apart, over all pairs of pictures of B pictures with their ``people``' names.

    ``auc``: the chance that two pictures of one person are nearer than two of different people (0.5: none).
    ``d_prime``: the means' distance in units of the root mean variance. ``same``, ``different``: mean distances.
    NaN where there are no pairs of a kind.
    """
    pairs = torch.cdist(embeddings_BE.double(), embeddings_BE.double()).numpy()
    name = np.asarray(people)
    first, second = np.triu_indices(len(name), 1)
    found, one = pairs[first, second], name[first] == name[second]
    same, different = np.sort(found[one]), found[~one]
    if not len(same) or not len(different):
        return dict.fromkeys(("auc", "d_prime", "same", "different"), float("nan"))
    # Mann-Whitney: for each pair of different people the pairs of one person that are nearer, ties by half.
    nearer = (np.searchsorted(same, different, "left") + np.searchsorted(same, different, "right")) / 2
    spread = np.sqrt((same.var() + different.var()) / 2)
    return {
        "auc": float(nearer.mean() / len(same)),
        "d_prime": float((different.mean() - same.mean()) / spread) if spread > 0 else float("nan"),
        "same": float(same.mean()),
        "different": float(different.mean()),
    }
