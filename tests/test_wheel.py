"""What ships: names of it, what a wheel leaves out, and what it weighs."""

import configparser
import zlib
from pathlib import Path

import pytest

from jdap.io import assets
from jdap.io.assets import CHECKOUT_ONLY, SHIPPED_FOLDER, resolve

ROOT = Path(__file__).resolve().parents[1]
#: What a wheel may weigh, which is a zip file, and what of it is code.
MOST_BYTES, CODE_BYTES = 30_000_000, 600_000


def test_what_ships_is_a_folder_of_the_package():
    assert resolve("shipped:talk/speech.wav") == str(SHIPPED_FOLDER / "talk" / "speech.wav")


@pytest.mark.parametrize("path", ["out/mine", "/shards/train", "s3://bucket/train"])
def test_other_paths_are_left_alone(path):
    assert resolve(path) == path


def test_a_name_that_does_not_ship_is_told_with_those_that_do():
    with pytest.raises(FileNotFoundError, match=r"shipped:nothing.*image-tiny"):
        resolve("shipped:nothing")


@pytest.mark.parametrize("name", ["shards", "shards/train", "talking/val", "talk-tiny"])
def test_sample_shards_that_a_wheel_lacks_are_told_with_the_remedy(name, monkeypatch, tmp_path):
    monkeypatch.setattr(assets, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkout.*data_prep studio"):
        resolve(f"shipped:{name}")


@pytest.mark.slow
def test_the_wheel_leaves_out_what_only_a_checkout_holds_and_is_light():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    left_out = settings["options.exclude_package_data"]["jdap"].replace(" ", "").split(",")
    assert sorted(left_out) == sorted(f"assets/{name}/**" for name in CHECKOUT_ONLY)
    assert "benchmarks" not in settings["options.packages.find"]["include"]
    shipped = [
        p
        for p in SHIPPED_FOLDER.rglob("*")
        if p.is_file() and p.relative_to(SHIPPED_FOLDER).parts[0] not in CHECKOUT_ONLY
    ]
    assert sum(len(zlib.compress(p.read_bytes())) for p in shipped) < MOST_BYTES - CODE_BYTES
