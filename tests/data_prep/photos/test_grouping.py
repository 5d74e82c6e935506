"""Groups of embeddings are SciPy's, without its table of all pairs."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from data_prep.photos.grouping import group_embeddings


def crowd(people: int, each: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(people)
    centres = rng.normal(size=(people, 16)).repeat(each, 0)
    return (centres + spread * rng.normal(size=centres.shape)).astype(np.float32)


@pytest.mark.parametrize("within", [0.5, 2.0, 3.0, 4.0, 9.0])
@pytest.mark.parametrize("spread", [0.1, 0.6])
def test_groups_are_those_of_average_linkage(spread: float, within: float) -> None:
    embeddings = crowd(30, 7, spread)
    own = group_embeddings(embeddings, within)
    tree = linkage(pdist(embeddings.astype(np.float64), "sqeuclidean"), "average")
    scipys = fcluster(tree, within**2, "distance")
    assert np.array_equal(own[:, None] == own, scipys[:, None] == scipys)
    first = [own.tolist().index(k) for k in range(own.max() + 1)]
    assert first == sorted(first)


def test_people_are_found_whatever_their_order() -> None:
    embeddings, whose = crowd(40, 5, 0.1), np.arange(40).repeat(5)
    order = np.random.default_rng(1).permutation(len(whose))
    found = group_embeddings(embeddings[order], 2.0)
    assert np.array_equal(found[:, None] == found, whose[order][:, None] == whose[order])


def test_same_pictures_one_picture_and_none() -> None:
    assert group_embeddings(np.ones((5, 3), np.float32), 0.1).tolist() == [0] * 5
    assert group_embeddings(np.ones((1, 3), np.float32), 0.1).tolist() == [0]
    assert group_embeddings(np.zeros((0, 3), np.float32), 0.1).tolist() == []
