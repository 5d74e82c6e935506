"""The benchmark of changed heads, on sittings that ship."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import small_pipeline
from skimage.metrics import peak_signal_noise_ratio

from benchmarks.__main__ import main


@pytest.mark.slow
def test_rows_of_two_people(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = small_pipeline()
    pipeline.size_px = 128
    pipeline.save_pretrained(tmp_path / "weights")
    out = tmp_path / "out"
    how = ["--weights", str(tmp_path / "weights"), "--steps", "2", "--limit", "2", "--device", "cpu"]
    assert main(["pose", "--shards", "shipped:shards/val", "--out", str(out), *how]) == 0
    result = json.loads((out / "pose.json").read_text())
    values = result["pictures"]["values"]
    assert list(values) == [
        *("nothing", "warp, fitted heads", "warp, true heads", "warp, redrawn"),
        *("model, fitted heads", "model, true depth"),
    ]
    # Landmarks of the warped picture come nearer to the true ones.
    assert np.nanmean(values["warp, true heads"]["landmarks"]) < 0.6 * np.nanmean(values["nothing"]["landmarks"])
    with (out / "pose.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result["rows"])
    assert (out / "pose.png").is_file()
    assert "warp, true heads" in capsys.readouterr().out


def test_scores_against_another_implementation() -> None:
    from types import SimpleNamespace

    from benchmarks.pose.pose import scores

    made, true = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    person = torch.zeros(16, 16, dtype=torch.bool)
    person[4:12, 3:9] = True
    blind = SimpleNamespace(scores=lambda one, other: {"landmarks": 0.0, "identity": 0.0})
    found = scores(made, true, [SimpleNamespace(person_SS=person)] * 2, blind)  # type: ignore[arg-type,list-item]
    for k in range(2):
        a, b = ((x[k].clamp(0, 1) * 255).round().div(255).permute(1, 2, 0).numpy() for x in (made, made))
        b = true[k].permute(1, 2, 0).numpy()
        assert found["psnr"][k] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-3)
        mine = peak_signal_noise_ratio(b[person.numpy()], a[person.numpy()], data_range=1)
        assert found["psnr_person"][k] == pytest.approx(mine, abs=1e-3)
