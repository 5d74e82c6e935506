import numpy as np
import pytest
import torch

from jdap.metrics.identity import distance, separation


def test_separation_is_the_share_of_pairs_in_order():
    generator = torch.Generator().manual_seed(0)
    people = [f"p{i // 3}" for i in range(15)]
    centres = torch.randn(5, 4, generator=generator).repeat_interleave(3, 0)
    embeddings = centres + 0.8 * torch.randn(15, 4, generator=generator)
    found = separation(embeddings, people)
    distances = {(i, j): float((embeddings[i] - embeddings[j]).norm()) for i in range(15) for j in range(i)}
    same = [d for (i, j), d in distances.items() if people[i] == people[j]]
    different = [d for (i, j), d in distances.items() if people[i] != people[j]]
    wins = [s < d for s in same for d in different]
    assert 0.5 < found["auc"] < 1
    assert found["auc"] == pytest.approx(np.mean(wins), abs=1e-9)
    assert found["same"] == pytest.approx(np.mean(same), rel=1e-5)
    spread = np.sqrt((np.var(same) + np.var(different)) / 2)
    assert found["d_prime"] == pytest.approx((np.mean(different) - np.mean(same)) / spread, rel=1e-5)


def test_separation_at_its_ends():
    apart = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    assert separation(apart, ["a", "a", "b", "b"])["auc"] == 1
    assert separation(apart, ["a", "b", "a", "b"])["auc"] < 0.5
    assert separation(torch.zeros(4, 2), ["a", "a", "b", "b"])["auc"] == 0.5
    assert np.isnan(separation(apart, ["a", "b", "c", "d"])["auc"])


def test_distances_are_euclidean():
    assert distance(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])).tolist() == [5, 0]
