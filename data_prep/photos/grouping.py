"""Groups of embeddings that lie near each other: agglomerative clustering by average linkage, in flat memory.

SciPy's linkage holds the distances of all pairs, 10 GB of 50,000 pictures. Here the distance of two groups is the mean
squared distance between their members, which follows from each group's mean and variance. So memory grows with the
number of pictures, and time (of nearest-neighbour chains) with its square.

Shapes: F pictures, E numbers of an embedding.
"""

from __future__ import annotations

import numpy as np


def group_embeddings(embeddings_FE: np.ndarray, within: float) -> np.ndarray:
    """(F,) int64: the group of each of F embeddings (F, E), numbered in the order of their first members.

    Two groups are joined while the root mean squared distance between their members is at most ``within``, the nearest
    first: what SciPy's ``linkage(pdist(x, "sqeuclidean"), "average")``, cut at ``within`` squared, has.
    """
    groups = _Groups(np.asarray(embeddings_FE, np.float32))
    chain: list[int] = []
    start = 0
    while True:
        if not chain:
            start = next((k for k in range(start, len(groups.alive)) if groups.alive[k]), len(groups.alive))
            if start == len(groups.alive):
                break
            chain = [start]
        nearest, distance = groups.nearest(chain[-1], chain[-2] if len(chain) > 1 else None)
        if distance > within**2:
            # Nobody's nearest is ever farther off than it is now: this group is done.
            groups.alive[chain.pop()] = False
        elif nearest in chain:  # the one before, but for rounding
            groups.join(chain.pop(), chain.pop())
        else:
            chain.append(nearest)
    _, first, label_F = np.unique(groups.roots(), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[label_F]


class _Groups:
    """Means, mean squared distances to them, and sizes; ``alive``: those that may still be joined."""

    def __init__(self, embeddings_FE: np.ndarray) -> None:
        self.mean_FE = embeddings_FE.copy()
        self.square_F = np.einsum("fe,fe->f", embeddings_FE, embeddings_FE)
        self.spread_F = np.zeros_like(self.square_F)
        self.size_F = np.ones_like(self.square_F)
        self.alive = np.ones(len(embeddings_FE), bool)
        self.parent = np.arange(len(embeddings_FE))

    def nearest(self, one: int, first: int | None) -> tuple[int, float]:
        """The nearest of the others that are alive and its squared distance; of several ``first``, or chains go round.
        Infinity where there is no other."""
        squared_F = self.square_F + self.spread_F - 2 * (self.mean_FE @ self.mean_FE[one])
        squared_F[~self.alive] = np.inf
        squared_F[one] = np.inf
        found = int(squared_F.argmin())
        if first is not None and squared_F[first] <= squared_F[found]:
            found = first
        return found, float(squared_F[found] + self.square_F[one] + self.spread_F[one])

    def join(self, one: int, other: int) -> None:
        """Put a group into another, which has the lower number afterwards."""
        into, gone = min(one, other), max(one, other)
        size = self.size_F[into] + self.size_F[gone]
        share = self.size_F[gone] / size
        apart_E = self.mean_FE[gone] - self.mean_FE[into]
        between = share * (1 - share) * float(apart_E @ apart_E)
        self.spread_F[into] += share * (self.spread_F[gone] - self.spread_F[into]) + between
        self.mean_FE[into] += share * apart_E
        self.square_F[into] = self.mean_FE[into] @ self.mean_FE[into]
        self.size_F[into], self.parent[gone], self.alive[gone] = size, into, False

    def roots(self) -> np.ndarray:
        """(F,) the group that each picture came into."""
        root_F = self.parent
        while not np.array_equal(deeper := root_F[root_F], root_F):
            root_F = deeper
        return root_F
