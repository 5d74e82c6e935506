import json

import pytest

from benchmarks.__main__ import main


@pytest.mark.slow
def test_it_counts_pictures_and_writes_what_it_prints(assets, tmp_path, capsys):
    few = ["--sizes", "32", "--batches", "3", "--workers", "1", "--shadows", "off", "--people", "2", "--repeats", "2"]
    assert main(["studio", *few, "--frames", "3", "--json", str(tmp_path / "studio.json")]) == 0
    (row,) = json.loads((tmp_path / "studio.json").read_text())["rows"]
    assert (row["n"], row["repeats"], row["size_px"], row["together"], row["shadows"]) == (6, 2, 32, 3, False)
    assert 0 < row["slowest"] <= row["per_second"] <= row["fastest"]
    assert f"{row['per_second']:.1f}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["studio.json"]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["studio", "--device", "cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--people", "--frames", "--repeats"])
def test_nothing_is_not_measured(option):
    with pytest.raises(SystemExit):
        main(["studio", option, "0"])
