"""Rows, paired differences and the table of numbers of answers."""

import io

import pytest
from rich.console import Console

from benchmarks import answers

MEASURES = {"psnr": ("dB", True), "landmarks": ("%", False), "static": ("share", None), "identity": ("", False)}
PEOPLE = ["a", "b", "c"]
NONE = float("nan")
VALUES = {
    "nothing": {"psnr": [1.0, 2.0, 3.0], "landmarks": [1.0, NONE, 3.0], "identity": [NONE] * 3},
    "warp": {"psnr": [2.0, 4.0, 6.0], "landmarks": [0.5, 1.0, 1.0], "identity": [NONE] * 3},
}


def test_a_row_has_the_mean_of_those_with_a_number() -> None:
    found = answers.rows(VALUES, MEASURES, PEOPLE, 0, question="who")
    assert list(found[0]) == [*("question", "answer", "measure", "n", "mean", "mean_ci", "unit", "higher_is_better")]
    (row,) = (row for row in found if (row["answer"], row["measure"]) == ("nothing", "landmarks"))
    assert (row["question"], row["n"], row["mean"], row["unit"]) == ("who", 2, 2.0, "%")
    assert row["higher_is_better"] is False


def test_differences_leave_out_whom_one_of_the_two_lacks() -> None:
    compared = answers.compared(VALUES, [("warp", "nothing"), ("warp", "gone")], MEASURES, PEOPLE, 0)
    found = {row["measure"]: row for row in compared}
    assert [row["other"] for row in compared] == ["nothing"] * 2
    assert found["psnr"]["difference"] == pytest.approx(2.0)
    assert found["landmarks"]["difference"] == pytest.approx(-1.25)
    assert found["landmarks"]["n"] == 2
    assert "identity" not in found


def test_the_table_has_the_measures_that_there_are_in_their_order() -> None:
    values = {"one": {"static": [0.5, 0.5]}, "two": {"landmarks": [1.0, 3.0], "static": [0.25, 0.25]}}
    screen = io.StringIO()
    table = answers.table(answers.rows(values, MEASURES, ["a", "b"], 0), MEASURES, {"landmarks": "marks"})
    Console(file=screen, width=80).print(table)
    heads, _, one, two = [line.split() for line in screen.getvalue().splitlines() if line.strip()]
    assert heads == ["answer", "marks↓", "static"]
    assert one == ["one", "0.500±0.000"]
    assert two[0] == "two"
    assert two[1].startswith("2.0")
    assert two[2] == "0.250±0.000"
