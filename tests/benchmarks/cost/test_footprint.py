"""Memory and time of a preset: the rows, and one of each kind measured on the smallest."""

import argparse
import json

import pytest

from benchmarks.__main__ import main
from benchmarks.choices import PRESETS
from benchmarks.cost.footprint import Case, cases, measure, settled
from benchmarks.options.footprint import add_arguments
from jdap.models.image.build import BUILDERS


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return settled(parser.parse_args(["--device", "cpu", *argv]))


def test_presets_are_those_that_are_built():
    assert tuple(BUILDERS) == PRESETS


def test_rows_are_every_setting_and_then_sampling():
    args = parsed("--preset", "small", "--batch", "1", "4", "--checkpointing", "both", "--compile", "both")
    rows = cases(args)
    assert [row.what for row in rows] == ["train"] * 8 + ["sample"]
    assert {(r.batch, r.checkpointing, r.compiled) for r in rows[:8]} == {
        (b, c, d) for b in (1, 4) for c in (True, False) for d in (True, False)
    }
    assert {r.size_px for r in rows} == {256}
    assert [r.what for r in cases(parsed("--sampling-steps", "0"))] == ["train"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_training_step_and_sampling_are_measured(precision):
    rows = {}
    for what in ("train", "sample"):
        rows[what] = measure(Case(what, "tiny", 32, 2, True, False, "cpu", precision, 2, 0, 1, 1))
    train, sample = rows["train"], rows["sample"]
    assert train["step_cpu_s"] > 0
    assert train["pictures_per_s"] == pytest.approx(2 / train["step_s"], rel=0.01)
    assert train["loss"] > 0
    assert sample["generate_s"] > 0
    assert sample["depth_s"] > 0
    assert train["millions"]["unet"] == pytest.approx(6.1, abs=0.2)
    assert 0.1 < train["peak_gib"] < 100


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_step_on_clips_and_a_window_are_measured(precision):
    train, sample = (
        measure(Case(what, "tiny", 32, 1, True, False, "cpu", precision, 1, 0, 1, 1, frames=3))
        for what in ("train", "sample")
    )
    assert train["pictures_per_s"] == pytest.approx(3 / train["step_s"], rel=0.01)
    assert train["loss"] > 0
    assert sample["window_s"] > 0
    assert 0 < train["millions"]["trained"] < train["millions"]["unet"] + train["millions"]["audio"]


def test_rows_of_clips_are_not_compiled():
    rows = cases(parsed("--stage", "video", "--preset", "sd15", "--compile", "both", "--checkpointing", "both"))
    assert [(r.what, r.frames, r.compiled) for r in rows] == [("train", 14, False)] * 2 + [("sample", 14, False)]
    assert {r.frames for r in cases(parsed())} == {0}


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_its_rows(tmp_path, capsys):
    file = tmp_path / "rows.json"
    argv = ["--preset", "tiny", "--size", "32", "--device", "cpu", "--sampling-steps", "0", "--threads", "1"]
    assert main(["footprint", *argv, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["what"] for row in rows] == ["train"]
    assert "tiny at 32²" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--steps", "0"], ["--batch", "0"], ["--frames", "0"], ["--device", "nowhere"]])
def test_mistakes_are_told_in_one_line(argv, capsys):
    assert main(["footprint", "--preset", "tiny", *argv]) == 2
    assert capsys.readouterr().err.startswith("error: ")
