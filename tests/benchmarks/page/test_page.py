"""``python -m benchmarks report``: one page of results of several benchmarks, and the README's table."""

import json
import re
from argparse import Namespace
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
from browser import Browser
from PIL import Image
from rich.console import Console

from benchmarks import BenchmarkError, report
from benchmarks.__main__ import main
from benchmarks.depth.depth import publish
from benchmarks.depth.method import CarriedDepth, FlatPlane, PosedMeanHead
from benchmarks.depth.scale import ERROR, EXPONENT
from benchmarks.depth.scores import measure
from benchmarks.modes.modes import ModeScores
from benchmarks.modes.modes import rows as mode_rows
from benchmarks.page.parts import Figure, PageTable, figure
from benchmarks.page.readme import BEGIN, END
from jdap.batch import ImageBatch

FakeBatch = Callable[..., ImageBatch]
#: Questions of ``modes`` that the README's table is made of, with some numbers a picture.
ASKED = {
    "image-to-depth": {"clean, 1 step": "rmse", "codec": "rmse", "mean": "rmse"},
    "depth-to-image": {"reference's face": "psnr", "codec": "psnr", "reference": "psnr"},
    "joint": {"reference's face": "depth_rmse", "true": "depth_rmse", "other person": "depth_rmse"},
}


class Cells(HTMLParser):
    """The page's tables: captions, header cells, and each cell's kind and words by column."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.heads: list[list[str]] = []
        self.cells: list[tuple[str, str, str]] = []  # header, kind, words
        self.links: list[str] = []
        self._kind, self._words, self._column = "", "", 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("src", "href") if name in found]
        if tag == "thead":
            self.heads.append([])
        elif tag == "tr":
            self._column = 0
        elif tag in ("figcaption", "th", "td"):
            self._kind, self._words = found.get("class") or "", ""

    def handle_endtag(self, tag: str) -> None:
        words = self._words.strip()
        if tag == "figcaption":
            self.captions.append(words)
        elif tag == "th":
            self.heads[-1].append(words)
        elif tag == "td":
            self.cells.append((self.heads[-1][self._column], self._kind, words))
            self._column += 1

    def handle_data(self, data: str) -> None:
        self._words += data


@pytest.fixture
def results(tmp_path: Path, fake_batch: FakeBatch) -> Path:
    """What ``depth``, ``modes`` and ``lipsync`` write, of drawn people and drawn numbers."""
    scores = measure([PosedMeanHead(), FlatPlane(), CarriedDepth("fit", "none", "no fit")], [fake_batch(people=4)])
    args = Namespace(out=tmp_path / "depth", device="cpu", seed=0, weights=None, steps=1, ensemble=1, batch_size=4)
    args.out.mkdir()
    publish("depth", scores, args, {"people": 4, "shards": "<drawn> & more"}, Console(quiet=True))
    Image.new("RGB", (3000, 40), "red").save(tmp_path / "depth" / "depth.png")
    rng = np.random.default_rng(0)
    asked = ModeScores([f"k{i}" for i in range(6)], [f"p{i}" for i in range(6)])
    for question, answers in ASKED.items():
        for answer, name in answers.items():
            asked.values.setdefault(question, {})[answer] = {name: rng.uniform(0.1, 1, 6).tolist()}
    for answer in ("reference's face", "true"):
        found = [1.0] * 6 if answer == "true" else [1.0, 1, 1, 0, 1, 1]
        asked.values["joint"].setdefault(answer, {})["face_found"] = found
    stamp = report.software_stamp() | {"people": 6, "seed": 3, "device": "cpu", "left_out": {}}
    (tmp_path / "modes").mkdir()
    report.write_json(tmp_path / "modes" / "modes.json", {"rows": mode_rows(asked, 0), "stamp": stamp})
    heard = [
        {"arm": arm, "reader": reader, "measure": "correlation", "higher_is_better": True, "found": 1.0}
        | {"n": 5, "mean": mean, "mean_ci": [mean - 0.1, mean + 0.1]}
        for reader in ("rgb", "depth")
        for arm, mean in (("codec", 0.9), ("talk", 0.4), ("talk, another's sound", 0.0))
    ]
    (tmp_path / "lipsync").mkdir()
    said = {"rows": heard, "sync": [], "stamp": stamp | {"weights": {"talk": "x"}, "people": 5}}
    report.write_json(tmp_path / "lipsync" / "lipsync.json", said)
    (tmp_path / "scale").mkdir()
    numbers = {"n": 6, "seeds": 1, "across": "people", "unit": "0.1-1", "mean": 0.1, "mean_ci": [0.05, 0.15]}
    grown = [numbers | {"series": "studio", "what": ERROR, "number": number} for number in (50, 200)]
    grown.append(numbers | {"series": "studio", "what": EXPONENT, "number": 0, "unit": ""})
    stamp |= {"across": "people", "frame": "normalised", "pictures": 6}
    report.write_json(tmp_path / "scale" / "scale.json", {"rows": grown, "stamp": stamp})
    return tmp_path


def test_a_plot_of_growth_names_its_numbers(results: Path) -> None:
    text = page_of(results)
    assert {"50", "200"} <= set(re.findall(r"<text[^>]*>(\d+)</text>", text))


def page_of(results: Path, *more: object) -> str:
    assert main(["report", str(results), "--out", str(results / "out" / "page.html"), *map(str, more)]) == 0
    return (results / "out" / "page.html").read_text()


def test_every_table_says_its_frame_and_number_and_every_figure_its_interval(results: Path) -> None:
    text = page_of(results)
    found = Cells(text)
    tables = [caption for caption in found.captions if not caption.endswith(".png")]
    assert len(tables) == len(found.heads) > 15
    for caption in tables:
        assert re.search(r"· frame: \S.* · n = \d", caption), caption
    figures = [(head, words) for head, kind, words in found.cells if kind == "figure"]
    assert len(figures) > 100
    for head, words in figures:
        assert words == "–" or re.fullmatch(
            r"[+-]?\d+\.\d+ (\[[+-]?\d+\.\d+, [+-]?\d+\.\d+\]|\(no interval\))", words
        ), (
            head,
            words,
        )
    # What is no figure has no fraction, but for p values.
    loose = [(head, words) for head, kind, words in found.cells if kind != "figure" and re.search(r"\d\.\d", words)]
    assert {head for head, _ in loose if not head.startswith("p")} <= {"method"}
    for said in ("paper (its own", "left out: fit (no fit)", "&lt;drawn&gt; &amp; more", "load_average"):
        assert said in text


def test_the_page_needs_nothing_beside_it(results: Path) -> None:
    text = page_of(results)
    links = Cells(text).links
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)
    assert sum(link.startswith("data:") for link in links) == 1
    assert len(text) < 2_000_000
    assert text.count("<svg") >= 1
    assert "<?xml" not in text


def test_figures_are_those_of_the_file(results: Path) -> None:
    text = page_of(results)
    rows = json.loads((results / "depth" / "depth.json").read_text())["rows"]
    for row in rows:
        low, high = row["absrel_ci"]
        digits = 4 if row["unit"] == "mm" else 3
        assert f"{row['absrel']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" in text


def test_a_table_without_frame_or_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must say its frame and n"):
        PageTable("t", "", "3 pictures", [], [])
    with pytest.raises(ValueError, match="must say its frame and n"):
        PageTable("t", "mm", "", [], [])


def test_a_figure_shows_its_interval_or_that_it_has_none() -> None:
    assert str(Figure(0.0634, (0.06, 0.0661))) == "0.063 [0.060, 0.066]"
    assert str(Figure(-1.5, (-2, 1), 1, signed=True)) == "-1.5 [-2.0, +1.0]"
    assert str(figure({"mean": 3.0, "mean_ci": [None, None], "unit": "dB"})) == "3.0 (no interval)"
    assert str(figure({"mean": None, "mean_ci": None})) == str(figure(None)) == "–"


def test_the_readme_gets_its_table_between_its_marks(results: Path) -> None:
    readme = results / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    page_of(results, "--readme", readme)
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| task, measure |")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    asked = {(r["question"], r["answer"], r["measure"]): r for r in json.loads(
        (results / "modes" / "modes.json").read_text())["rows"]}  # fmt: skip
    row = asked["image-to-depth", "clean, 1 step", "rmse"]
    low, high = row["mean_ci"]
    assert f"| **{row['mean']:.3f} [{low:.3f}, {high:.3f}]** |" in text
    assert "| **83 % [" in text
    assert "| 100 %, true pictures |  |" in text
    assert "correlation (5 people) ↑ | **0.400 [0.300, 0.500]** | 0.900 [0.800, 1.000], the image codec alone |" in text
    assert "seed 3, cpu" in text
    page_of(results, "--readme", readme)
    assert readme.read_text() == text


def test_the_readme_has_the_marks() -> None:
    text = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1
    assert BEGIN in text.partition(END)[0]


def test_mistakes_are_one_line(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty"), "--out", str(tmp_path / "p.html")]) == 2
    assert "no result of a benchmark" in capsys.readouterr().err
    (results / "modes" / "modes.json").write_text('{"rows": 3}')
    assert main(["report", str(results), "--out", str(tmp_path / "p.html")]) == 2
    assert "modes.json: no result of `python -m benchmarks modes`" in capsys.readouterr().err
    with pytest.raises(BenchmarkError, match="lacks the lines"):
        report.put_between(results / "modes" / "modes.json", BEGIN, END, "x")


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_a_browser_shows_the_page(results: Path, tmp_path: Path) -> None:
    page_of(results)
    with Browser(tmp_path / "profile") as window:
        window.open((results / "out" / "page.html").as_uri())
        assert window.js("return document.querySelectorAll('table').length") > 15
        assert window.js("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert window.js("return document.querySelector('svg').getBoundingClientRect().height") > 50
        # Nothing is wider than the window but in a place of its own that scrolls.
        assert window.js("return document.documentElement.scrollWidth <= window.innerWidth")
        window.shot(tmp_path / "page.png")
        assert not window.complaints()
        assert not [url for url in window.requests() if url.startswith("http")]
    assert np.asarray(Image.open(tmp_path / "page.png").convert("L")).std() > 10
