"""A SyncNet of the user's beside our readers: one that is written here, to which a face that brightens with the sound
is in sync."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import Node, write_network
from PIL import Image

from benchmarks.talking.judge import SyncJudge, filled
from data_prep.video.sync import face_windows, mfcc
from data_prep.video.syncnet import load_syncnet
from jdap.faces.crop import crop_frame
from jdap.faces.landmarker import Landmarker

FRAMES, LATE = 40, 3


def test_frames_without_a_face_lie_between_their_neighbours() -> None:
    points = np.random.default_rng(0).random((6, 4, 2))
    holed = points.copy()
    holed[[0, 3]] = np.nan
    found = filled(holed)
    assert found is not None
    np.testing.assert_allclose(found[[1, 2, 4, 5]], points[[1, 2, 4, 5]])
    np.testing.assert_allclose(found[3], (points[2] + points[4]) / 2)
    np.testing.assert_allclose(found[0], points[1])
    holed[1:3] = np.nan
    assert filled(holed) is None  # a face in a third of the frames
    assert filled(np.full((0, 4, 2), np.nan)) is None


def sound_of(gains: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise whose log energy follows the gains, one a picture."""
    return (np.exp(3 * gains.repeat(640) - 5) * rng.normal(size=640 * len(gains))).astype(np.float32)


def test_sound_that_belongs_to_a_face_is_found(assets: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    gains, others = rng.uniform(0.5, 1, (2, FRAMES))
    face = np.asarray(Image.open(assets / "portraits" / "000002.jpg").convert("L").resize((256, 256))) / 255
    rgb = torch.tensor(gains[:, None, None] * face).float()[:, None].expand(-1, 3, -1, -1) * 2 - 1
    with Landmarker() as landmarker:
        (found,) = landmarker.find((face[..., None].repeat(3, 2) * 255).astype(np.uint8))
        window = face_windows(found.landmarks_px_N3[None, :, :2])[0]
        bright = crop_frame((face[..., None].repeat(3, 2) * 255).astype(np.uint8), window, 224, black=True).mean()
        # heard = brightness that goes with the first cepstrum, which is 6 · gain + rest
        rest = mfcc(sound_of(np.ones(FRAMES), rng))[0].mean() - 6
        weight = np.zeros((13, 20, 5))
        weight[0] = np.kron(np.eye(5), np.full((4, 1), bright / 6 / 4))
        nodes = [
            Node("ReduceMean", ["lips"], "rows", {"axes": [4], "keepdims": 0}),
            Node("ReduceMean", ["rows"], "seen", {"axes": [1, 3], "keepdims": 0}),
            Node("Flatten", ["sound"], "flat"),
            Node("MatMul", ["flat", "weight"], "loud"),
            Node("Add", ["loud", "bias"], "heard"),
        ]
        network = write_network(
            tmp_path / "sync.onnx",
            nodes,
            {"lips": ("n", 3, 5, 224, 224), "sound": ("n", 1, 13, 20)},
            {"seen": ("n", 5), "heard": ("n", 5)},
            {"weight": weight.reshape(260, 5), "bias": np.full(5, -bright * rest / 6)},
        )
        judge = SyncJudge(load_syncnet(network), landmarker)
        own, other = sound_of(gains, rng), sound_of(others, rng)
        late = np.concatenate([sound_of(np.full(LATE, 0.75), rng), own])[: len(own)]
        for _ in range(2):
            judge.add(rgb, {name: torch.from_numpy(x) for name, x in (("own", own), ("late", late), ("other", other))})
        judge.add(torch.zeros(FRAMES, 3, 64, 64), {name: torch.from_numpy(own) for name in judge.values})
    rows = judge.rows([("own", "other"), ("own", "not there")], ["a", "b", "c"], seed=0)
    table = {(row["answer"], row["measure"]): row for row in rows}
    assert {answer for answer, _ in table} == {"own", "late", "other", "own − other"}
    assert {row["n"] for row in rows} == {2}  # the third clip shows no face
    assert table["own", "offset"]["mean"] == 0
    assert table["late", "offset"]["mean"] == LATE
    assert table["own", "LSE-D"]["mean"] < 0.4 * table["other", "LSE-D"]["mean"]
    assert table["own", "LSE-C"]["mean"] > 1.4 * table["other", "LSE-C"]["mean"]
    gap = table["own", "LSE-D"]["mean"] - table["other", "LSE-D"]["mean"]
    assert table["own − other", "LSE-D"]["mean"] == pytest.approx(gap)
