"""How depth's error falls with more data: runs of ``depth`` put together, and a power law."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.depth.scale import DOUBLED, ERROR, EXPONENT, FACTOR, OVER_FIRST, OVER_LEAST, power_law

N = 60


def write(folder: Path, errors: np.ndarray, first: int = 0) -> Path:
    """The ``pictures.csv`` of a run of ``depth``, two pictures a person, beside rows that are not to be read."""
    folder.mkdir(parents=True)
    with (folder / "pictures.csv").open("w", newline="") as file:
        names = ("picture", "person", "method", "frame", "alignment", "rmse")
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for i, error in enumerate(errors):
            row = {"picture": f"k{first + i}", "person": f"p{i // 2}", "method": "jdap", "frame": "normalised"}
            writer.writerow(row | {"alignment": "scale_shift", "rmse": error})
            writer.writerow(row | {"alignment": "none", "rmse": 9})
            writer.writerow(row | {"alignment": "scale_shift", "frame": "metric", "rmse": 50 * error})
            writer.writerow(row | {"alignment": "scale_shift", "method": "flat", "rmse": 9})
        writer.writerow({"picture": "left", "person": "p0"})
    return folder


def measured(*args: object) -> dict[tuple[str, str, int], dict]:
    *_, out = args
    assert main(["scale", *map(str, args[:-1]), "--out", str(out)]) == 0
    rows = json.loads((Path(str(out)) / "scale.json").read_text())["rows"]
    return {(row["series"], row["what"], row["number"]): row for row in rows}


def test_a_power_law_is_found_as_numpy_finds_it():
    numbers, rng = np.array([50.0, 200, 1000, 4000]), np.random.default_rng(0)
    errors = 0.3 * numbers**-0.2 * np.exp(rng.normal(0, 0.05, (7, 4)))
    b, c = power_law(numbers, errors)
    for i, line in enumerate(errors):
        slope, start = np.polyfit(np.log(numbers), np.log(line), 1)
        assert (b[i], c[i]) == pytest.approx((-slope, np.exp(start)))


def test_rows_are_means_differences_and_the_law_with_intervals_over_people(tmp_path):
    rng = np.random.default_rng(1)
    hard = np.repeat(np.exp(rng.normal(0, 0.3, N // 2)), 2)  # a person's pictures are alike, and hard for every model
    runs = []
    for number in (50, 200, 800):
        for seed, factor in enumerate((0.98, 1.02)):
            folder = write(tmp_path / f"a{number}-{seed}", factor * 0.4 * number**-0.25 * hard)
            runs.append(f"a:{number}={folder}")
        folder = write(tmp_path / f"b{number}", 0.9 * 0.4 * number**-0.25 * hard)
        runs.append(f"b:{number}={folder}")
    found = measured(*runs, tmp_path / "out")
    mean = hard.mean()
    for number in (50, 200, 800):
        row = found["a", ERROR, number]
        assert (row["n"], row["seeds"], row["unit"]) == (N, 2, "0.1-1")
        assert row["mean"] == pytest.approx(0.4 * number**-0.25 * mean)
        low, high = row["mean_ci"]
        people = hard[::2]
        assert high - low == pytest.approx(row["mean"] / mean * 4 * people.std() / np.sqrt(len(people)), rel=0.3)
        beside = found["b", OVER_FIRST, number]
        assert beside["mean"] == pytest.approx(-0.1 * row["mean"])
        assert beside["mean_ci"][1] < 0
    assert found["a", OVER_LEAST, 800]["mean"] == pytest.approx(0.4 * mean * (800**-0.25 - 50**-0.25))
    # What is hard about a person is hard for all models alike, so the exponent is known better than the errors are.
    assert found["a", EXPONENT, 0]["mean"] == pytest.approx(0.25)
    assert found["a", EXPONENT, 0]["mean_ci"] == pytest.approx([0.25, 0.25])
    assert found["a", FACTOR, 0]["mean"] == pytest.approx(0.4 * mean)
    assert found["a", DOUBLED, 0]["mean"] == pytest.approx(2**-0.25)
    assert (tmp_path / "out" / "scale.csv").read_text().count("\n") == 1 + len(found)


def test_another_frame(tmp_path):
    run = write(tmp_path / "a", np.full(N, 0.1))
    row = measured(f"a:50={run}", "--frame", "metric", tmp_path / "out")["a", ERROR, 50]
    assert (row["mean"], row["unit"]) == (pytest.approx(5.0), "mm")


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    first = write(tmp_path / "a", np.full(N, 0.1))
    for runs, says in (
        ([f"a:50={tmp_path / 'gone'}"], "no pictures.csv"),
        ([f"a:50={first}", f"a:200={write(tmp_path / 'b', np.full(N, 0.1), first=1)}"], "not of the same pictures"),
        ([f"a:50={first}", "--method", "mean"], "no row of method mean"),
    ):
        assert main(["scale", *runs, "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("run", ["50=folder", "a:50", "a:0=folder", "a:few=folder"])
def test_a_run_is_a_name_a_number_and_a_folder(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["scale", run, "--out", str(tmp_path)])
    assert "argument NAME:NUMBER=FOLDER" in capsys.readouterr().err
