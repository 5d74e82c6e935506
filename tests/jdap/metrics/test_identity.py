import sys

import numpy as np
import pytest
import torch
from PIL import Image

from jdap.faces.landmarker import Landmarker
from jdap.metrics.identity import FaceEmbedder, IdentityError, distance, separation


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


def test_without_dlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(IdentityError, match=r"pip install 'jdap\[identity\]'"):
        FaceEmbedder()


def test_a_person_is_nearer_to_oneself_than_to_others(assets):
    """Photographs, each beside a smaller, darker, mirrored copy of itself."""
    pytest.importorskip("dlib", reason="the extra jdap[identity]")
    pictures, landmarks = [], []
    with Landmarker() as landmarker:
        for name in ("000002.jpg", "000006.jpg", "000033.jpg"):
            whole = Image.open(assets / "portraits" / name).convert("RGB")
            for copy in (whole, whole.resize((160, 160)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
                pixels = np.asarray(copy.resize((256, 256)))
                if copy is not whole:
                    pixels = (pixels * 0.7).astype(np.uint8)
                landmarks.append(landmarker.find(pixels)[0].landmarks_px_N3[:, :2])
                pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1)
    embeddings = FaceEmbedder()(torch.stack(pictures), np.stack(landmarks))
    assert embeddings.shape == (6, 128)
    found = separation(embeddings, ["a", "a", "b", "b", "c", "c"])
    assert found["auc"] == 1
    assert found["same"] < 0.45
    assert found["different"] > 0.6
