"""The scripts of ``examples/`` run as they are written, on drawn data and with small random networks."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import sample as drawn_head
from networks import small_codec
from PIL import Image

from data_prep.folders.verify import verify
from jdap.data.modules import ImageDataModule
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.build import build
from jdap.pipelines.portrait import PortraitPipeline

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
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.fromarray(drawn_head(frames=1, size_px=2 * SIZE_PX).rgb_FHW3[0]).save(path)
    return path


def test_a_ball_is_as_near_as_it_should_be():
    made = example("write_a_shard").make_sample(index=3, frames=2, size_px=128)
    for depth_mm, centre_mm in zip(made.depth_mm_FHW, made.arrays["translation_mm"], strict=True):
        # Seen from its middle: the distance less the radius, but for where the pixels' centres lie.
        nearest = np.linalg.norm(centre_mm) - 90
        assert depth_mm[depth_mm > 0].min() == pytest.approx(nearest, abs=0.5)


def test_a_shard_of_ones_own_is_whole_and_read_as_it_was_written(balls):
    assert verify(balls) == []
    batches = list(ImageDataModule(test=str(balls), size_px=SIZE_PX).test_dataloader())
    read = torch.cat([batch.depth_mm for batch in batches])[:, 0].numpy()
    make_sample = example("write_a_shard").make_sample
    written = np.concatenate([make_sample(i, frames=2, size_px=SIZE_PX).depth_mm_FHW for i in range(4)])
    np.testing.assert_allclose(read, written, atol=0.051)  # files hold tenths


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
