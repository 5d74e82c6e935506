import sys

import numpy as np
import pytest
import torch
from PIL import Image

from jdap.faces.embedding import FaceEmbedder, IdentityError
from jdap.faces.landmarker import Landmarker
from jdap.metrics.identity import separation


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
