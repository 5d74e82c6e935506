"""``benchmarks overfit`` on fresh networks and one fake person: its files, its refusal."""

import json
import math

import fakes
import pytest
import torch
from PIL import Image

from benchmarks.__main__ import main as bench
from benchmarks.modes.overfit import psnr
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import ImageCodec
from jdap.models.image.build import tiny
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    codec = ImageCodec(encoder_widths=(16,), encoder_blocks=(1,), decoder_widths=(16,), decoder_blocks=(1,))
    networks = (n.eval() for n in tiny(3, (32, 64)))
    folder = tmp_path_factory.mktemp("overfit") / "weights"
    PortraitPipeline(codec.eval(), *networks, NoiseSchedule(), preset="tiny", size_px=32).save_pretrained(folder)
    return folder


def test_psnr_of_a_known_error():
    made, true = torch.zeros(2, 4), torch.full((2, 4), 0.2)
    made[0] = 9.0  # outside of the mask
    mask = torch.tensor([[False], [True]]).expand(2, 4)
    assert psnr(made, true, mask) == pytest.approx(10 * math.log10(4 / 0.04), rel=1e-6)


def test_the_gap_is_the_codecs_figure_less_the_samples(weights, tmp_path):
    fakes.write_fakes(tmp_path / "one", people=1, frames=2, size_px=32)
    options = ["--weights", str(weights), "--shards", str(tmp_path / "one"), "--out", str(tmp_path / "out")]
    assert bench(["overfit", *options, "--steps", "2"]) == 0
    found = json.loads((tmp_path / "out" / "overfit.json").read_text())
    for half in found["psnr"].values():
        assert half["gap_db"] == pytest.approx(half["codec_db"] - half["sample_db"])
        assert all(math.isfinite(value) for value in half.values())
    with Image.open(tmp_path / "out" / "overfit.png") as sheet:
        assert sheet.width >= 7 * 32
        assert sheet.height >= 2 * 32


def test_shards_of_two_people_are_refused(weights, tmp_path, capsys):
    fakes.write_fakes(tmp_path / "two", people=2, frames=2, size_px=32)
    options = ["--weights", str(weights), "--shards", str(tmp_path / "two"), "--out", str(tmp_path / "out")]
    assert bench(["overfit", *options, "--steps", "2"]) == 2
    assert "holds 2 people" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
