"""Fitted depth drawn again, against a shard whose maps differ from it by what the test put there."""

import tarfile
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch

from benchmarks import BenchmarkError
from benchmarks.cost.redraw import redraw_rows
from data_prep.fit.render import HeadRenderer
from data_prep.head.files import load_face_model
from jdap.shards.schema import FITTED
from jdap.shards.writer import ShardWriter

FRAMES, SIZE = 2, 48


@pytest.fixture(scope="module")
def fitted(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A shard of a head that turns, and the share of its skin's pixels that are wrong; one depth is 7 mm off."""
    face = load_face_model(None)
    draw = np.random.default_rng(0)
    arrays = {
        "identity": np.repeat(draw.normal(size=(1, len(face.model.identity_KV3))), FRAMES, 0),
        "expression": draw.uniform(0, 0.3, (FRAMES, len(face.model.expression_EV3))),
        "rotation": np.array([[0, 0.1, 0], [0, 0.3, 0]]),
        "translation_mm": np.tile([0.0, 0, 600], (FRAMES, 1)),
        "camera_px": np.tile([1.9 * SIZE, SIZE / 2, SIZE / 2], (FRAMES, 1)),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    pose = [tensors[name] for name in ("expression", "rotation", "translation_mm", "camera_px")]
    maps = HeadRenderer(face.model, face.correspondence).render(tensors["identity"][0], *pose, SIZE)
    depth_mm, skin = maps.depth_mm_FHW.copy(), maps.skin_FHW.copy()
    first = tuple(np.argwhere(skin)[0])
    depth_mm[first] += 7
    for at in np.argwhere(skin)[-3:]:
        skin[tuple(at)] = False
    own = fakes.sample(frames=FRAMES, size_px=SIZE, depth_source=FITTED, mean_head=False)
    folder = tmp_path_factory.mktemp("fitted")
    with ShardWriter(folder, "fitted") as writer:
        writer.write(replace(own, depth_mm_FHW=depth_mm, skin_FHW=skin, arrays=arrays))
    return folder, 3 / skin.sum()


def test_what_is_stored_differs_from_what_is_drawn_by_what_was_changed(fitted: tuple[Path, float]) -> None:
    folder, wrong = fitted
    maps, drawn = redraw_rows(str(folder), limit=3, repeats=1)
    assert (maps["depth"], maps["n"], drawn["depth"], drawn["n"]) == ("maps", 1, "drawn", 1)
    assert drawn["off_mm"] == pytest.approx(7, abs=0.06)  # maps hold tenths of a millimetre
    assert drawn["skin_off"] == pytest.approx(wrong)
    (shard,) = folder.glob("*.tar")
    with tarfile.open(shard) as tar:
        stored = sum(one.size for one in tar if ".depth." in one.name or ".skin." in one.name)
    assert maps["bytes"] == stored / FRAMES
    assert min(maps["read_ms"], drawn["read_ms"]) > 0


def test_shards_without_a_fit_are_refused(assets: Path, tmp_path: Path) -> None:
    fakes.write_fakes(tmp_path, people=1, frames=1, size_px=32)
    with pytest.raises(BenchmarkError, match="--redraw"):
        redraw_rows(str(tmp_path), limit=1, repeats=1)
