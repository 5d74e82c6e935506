"""Parsers of heads: the one that ships, on people whose skin is known, and files that are none."""

from pathlib import Path

import numpy as np
import pytest

from jdap.choices import BACKGROUND, PARSED, SHIPPED_PARSER, SKIN
from jdap.faces.parser import load_parser, parser_files
from jdap.faces.parser_net import ParserNet, StudioParser, load_studio_parser, save_parser
from jdap.faces.parsing import ParserError
from jdap.io.assets import resolve
from jdap.shards.reader import read_samples


@pytest.fixture(scope="module")
def shipped() -> StudioParser:
    found = load_parser(SHIPPED_PARSER)
    assert isinstance(found, StudioParser)
    return found


@pytest.fixture(scope="module")
def people() -> list:
    """Sixteen test people, which it has not seen."""
    (shard,) = Path(resolve("shipped:shards/test")).glob("*.tar")
    return [sample for sample, _ in zip(read_samples(shard), range(16), strict=False)]


def test_it_finds_the_skin_of_people_it_has_not_seen(shipped: StudioParser, people: list) -> None:
    rgb = np.stack([p.rgb_FHW3[0] for p in people])
    skin, nothing = (np.stack(maps) for maps in zip(*((p.skin_FHW[0], p.depth_mm_FHW[0] == 0) for p in people)))  # noqa: B905
    said = shipped.shares(rgb).argmax(1)
    assert (said[skin] == PARSED.index(SKIN)).mean() > 0.9
    assert (said[nothing] == PARSED.index(BACKGROUND)).mean() > 0.9
    assert (said[nothing] == PARSED.index(SKIN)).mean() < 0.05


def test_shares_are_shares_of_each_picture_by_itself_at_any_size(shipped: StudioParser, people: list) -> None:
    rgb = np.stack([p.rgb_FHW3[0] for p in people] + [people[0].rgb_FHW3[1]])  # more than go at a time
    shares = shipped.shares(rgb)
    assert shares.shape == (17, len(PARSED), 128, 128)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(shipped.shares(rgb[5:6]), shares[5:6], atol=1e-5)
    large = shipped.shares(rgb[:1].repeat(2, 1).repeat(2, 2))
    assert large.shape == (1, len(PARSED), 256, 256)
    assert (large.argmax(1)[:, ::2, ::2] == shares[:1].argmax(1)).mean() > 0.98


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in parser_files(SHIPPED_PARSER)) <= 2_000_000


def test_a_saved_parser_is_read_again(tmp_path: Path) -> None:
    net = ParserNet((4, 8)).eval()
    save_parser(net, tmp_path / "mine", {"steps": 3})
    rgb = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    read = load_parser(str(tmp_path / "mine"))
    assert read is not None
    np.testing.assert_allclose(read.shares(rgb), StudioParser(net).shares(rgb), atol=2e-3)  # float16


def test_what_is_no_parser_is_told(tmp_path: Path) -> None:
    assert load_parser("none") is None
    with pytest.raises(ParserError, match=r"nowhere.*shipped"):
        load_parser(str(tmp_path / "nowhere"))
    save_parser(ParserNet((4, 8)), tmp_path / "cut", {})
    file = tmp_path / "cut" / "parser.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ParserError, match="cut: holds no parser"):
        load_studio_parser(tmp_path / "cut")
    save_parser(ParserNet((4, 8), classes=5), tmp_path / "other", {})
    with pytest.raises(ParserError, match="other: holds"):
        load_studio_parser(tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace(SKIN, "fur"), encoding="utf-8")
    with pytest.raises(ParserError, match="other: holds a parser of another version"):
        load_studio_parser(tmp_path / "other")
