"""The scripts of ``examples/`` run as they are written, on drawn data and with small random networks."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import write_fakes
from networks import small_codec
from PIL import Image

from data_prep.commands.verify import verify
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.build import build
from jdap.pipelines.portrait import PortraitPipeline
from jdap.shards.sample import read_samples

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE_PX = 32


def example(name: str) -> SimpleNamespace:
    """The names of a script, which does not run by being read."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A weights folder of preset tiny with narrow networks."""
    torch.manual_seed(0)
    codec = small_codec(factor=4)
    unet, reference = build("tiny", codec.latent_channels, (32, 64))
    folder = tmp_path_factory.mktemp("weights") / "image"
    made = PortraitPipeline(codec, unet, reference, NoiseSchedule(), preset="tiny", size_px=SIZE_PX)
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "balls"
    example("write_a_shard").main(["--out", str(folder), "--people", "4", "--size", str(SIZE_PX)])
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """A drawn head, square, of twice the model's size."""
    folder = tmp_path_factory.mktemp("photo")
    shard = write_fakes(folder, people=1, frames=1, size_px=2 * SIZE_PX)[0]
    Image.fromarray(next(read_samples(shard)).rgb_FHW3[0]).save(folder / "me.png")
    return folder / "me.png"


def test_a_shard_of_ones_own_is_whole_and_right(balls):
    assert verify(balls) == []
    samples = list(read_samples(balls / "balls-000000.tar"))
    assert [s.record.person_id for s in samples] == [f"ball-{i:04d}" for i in range(4)]
    for sample in samples:
        # The nearest point of a ball: its centre's distance less the radius, were it seen head on.
        nearest = sample.arrays["translation_mm"][:, 2] - 90
        for frame, z in zip(sample.depth_mm_FHW, nearest, strict=True):
            assert frame[frame > 0].min() == pytest.approx(z, abs=1.0)


def test_depth_of_a_photo_is_in_range_and_repeatable(weights, photo, tmp_path):
    answers = []
    for name in ("first", "again"):
        out = tmp_path / name
        example("depth_of_a_photo").main([str(photo), "--weights", weights, "--out", str(out), "--ensemble", "2"])
        assert Image.open(out / "preview.png").width == 3 * SIZE_PX
        answers.append(np.load(out / "depth.npy"))
    depth, again = answers
    assert (depth.dtype, depth.shape) == (np.float32, (SIZE_PX, SIZE_PX))
    assert -1 <= depth.min() < depth.max() <= 1
    np.testing.assert_array_equal(depth, again)


def test_a_photo_that_is_no_square_is_refused(weights, photo, tmp_path):
    Image.open(photo).crop((0, 0, 40, 50)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="40 x 50"):
        example("depth_of_a_photo").main([str(tmp_path / "wide.png"), "--weights", weights, "--out", str(tmp_path)])


def test_portraits_depend_on_the_seed_alone(weights, photo, tmp_path):
    generate = example("generate_from_a_reference").main

    def sheet(name: str, seed: int) -> np.ndarray:
        settings = ["--weights", weights, "--count", "2", "--steps", "2", "--seed", str(seed)]
        generate([str(photo), "--out", str(tmp_path / name), *settings])
        return np.asarray(Image.open(tmp_path / name / "portraits.png"))

    first = sheet("first", 1)
    assert first.shape[1] == 3 * SIZE_PX
    np.testing.assert_array_equal(first, sheet("again", 1))
    assert (first != sheet("other", 2)).any()


def test_a_few_steps_leave_weights_that_answer(weights, balls, tmp_path):
    settings = ["--steps", "3", "--batch", "2", "--size", str(SIZE_PX)]
    example("train_a_few_steps").main(["--shards", str(balls), "--weights", weights, "--out", str(tmp_path), *settings])
    before, after = (PortraitPipeline.from_pretrained(folder) for folder in (weights, tmp_path / "weights"))
    moved = [not torch.equal(a, b) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)]
    assert any(moved)
    depth = after.image_to_depth(torch.zeros(1, 3, SIZE_PX, SIZE_PX)).depth
    assert depth.isfinite().all()
