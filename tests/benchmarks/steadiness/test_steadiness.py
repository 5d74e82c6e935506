"""Steadiness of answers that are known, and a run on photographs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mirrored_heads import SIZE, head
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.steadiness.asking import ViewAnswers
from benchmarks.steadiness.measure import SYMMETRY, VIEW_CHECKS, Steadiness
from benchmarks.steadiness.views import CHECK_GREY, CHECK_JITTERED, CHECK_MIRRORED, CHECK_SHIFTED, CHECK_ZOOMED, VIEWS


def answers(depths: list[np.ndarray]) -> ViewAnswers:
    """What a method called ``it`` says of the views of a head, one (S, S) each."""
    _, skin, pairs, _ = head(0.0)
    maps = torch.from_numpy(np.stack(depths))[:, None]
    return ViewAnswers("a.jpg", "ann", np.zeros((SIZE, SIZE, 3), np.uint8), skin, pairs, {"it": maps})


def seen_by_views(depth_SS: np.ndarray) -> list[np.ndarray]:
    """A depth map, smooth beside its skin, as each view has it: found by turning :meth:`PhotoView.back` round."""
    found = []
    for view in VIEWS:
        shift = tuple(-s / view.zoom for s in view.shift)
        back_again = type(view)(view.check, shift, 1 / view.zoom, view.mirrored)
        found.append(back_again.back(torch.from_numpy(depth_SS)[None, None])[0][0, 0].numpy())
    return found


def smooth() -> np.ndarray:
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE
    return 500 + 90 * (u - 0.55) ** 2 + 120 * (v - 0.4) ** 2


def test_whoever_sees_the_same_everywhere_is_steady_whatever_his_scale() -> None:
    depths = [(k + 1) * depth - 40 * k for k, depth in enumerate(seen_by_views(smooth()))]
    scores = Steadiness(answers(depths), "it").scores()
    assert all(scores[check] < 0.01 for check in VIEW_CHECKS)


def test_an_answer_that_hangs_on_the_window_is_found_out() -> None:
    # The same map whatever is shown: perfect in colours, wrong wherever the picture moved.
    scores = Steadiness(answers([smooth()] * len(VIEWS)), "it").scores()
    assert scores[CHECK_GREY] == scores[CHECK_JITTERED] == pytest.approx(0, abs=1e-6)
    assert min(scores[CHECK_MIRRORED], scores[CHECK_SHIFTED]) > 0.02
    assert scores[CHECK_ZOOMED] < scores[CHECK_MIRRORED]


def test_a_difference_is_measured_in_the_normalised_frame() -> None:
    depths = seen_by_views(smooth())
    _, skin, *_ = head(0.0)
    near, far = np.quantile(depths[0][skin], [0.02, 0.98])
    noise = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    grey = next(k for k, view in enumerate(VIEWS) if view.check == CHECK_GREY)
    depths[grey] = depths[0] + 0.03 * noise * (far - near) / 0.9
    # Noise in the answer, which least squares shrinks a little.
    assert Steadiness(answers(depths), "it").scores()[CHECK_GREY] == pytest.approx(0.03, rel=0.05)


def test_who_always_says_the_same_passes_and_is_told_by_other_people() -> None:
    relief, *_ = head(0.0)
    constant = Steadiness(answers([relief] * len(VIEWS)), "it")
    other, *_ = head(15.0)
    assert constant.from_other(constant) == pytest.approx(0, abs=1e-9)
    assert constant.from_other(Steadiness(answers([other] * len(VIEWS)), "it")) > 0.05
    assert constant.scores()[SYMMETRY] < 0.02
    flat = Steadiness(answers([np.ones((SIZE, SIZE))] * len(VIEWS)), "it")
    assert all(np.isnan(number) for number in flat.scores().values())
    assert np.isnan(constant.from_other(flat))


@pytest.mark.slow
def test_photographs(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (assets / "lfw").is_dir():
        pytest.skip("needs lfw")
    folder = tmp_path / "people"
    for person in ("Al_Gore", "Adam_Sandler", "Al_Pacino"):
        (folder / person).mkdir(parents=True)
        shutil.copy(assets / "lfw" / person / f"{person}_0001.jpg", folder / person)
    (folder / "wall").mkdir()
    Image.new("RGB", (250, 250), (90, 120, 90)).save(folder / "wall" / "1.png")
    out = tmp_path / "out"
    asked = ["--photos", folder, "--splits", "train,val,test", "--out", out, "--methods", "mediapipe_z,mean"]
    assert main(["steadiness", *map(str, asked), "--weights", "shipped:image-tiny", "--device", "cpu"]) == 0
    result = json.loads((out / "steadiness.json").read_text())
    figures = {(row["answer"], row["measure"]): row for row in result["rows"]}
    assert result["stamp"]["people"] == 3
    assert list(result["stamp"]["left_out"]) == ["people/wall"]
    # A mean hangs on the window and on nothing else; landmarks follow the face.
    assert figures["mean", CHECK_GREY]["mean"] == pytest.approx(0, abs=1e-6)
    assert figures["mean", "between people"]["mean"] == pytest.approx(0, abs=1e-6)
    assert figures["mean", CHECK_SHIFTED]["mean"] > 2 * figures["mediapipe_z", CHECK_SHIFTED]["mean"]
    assert 0.05 < figures["mediapipe_z", "between people"]["mean"] < 0.4
    assert figures["mediapipe_z", "between people"]["n"] == 2
    assert all(0 < figures["mediapipe_z", check]["mean"] < 0.1 for check in (*VIEW_CHECKS, SYMMETRY))
    assert (out / "steadiness.csv").read_text().startswith("answer,measure,n,mean,")
    assert np.asarray(Image.open(out / "steadiness.png").convert("RGB")).std() > 10
    assert "left out: people/wall" in " ".join(capsys.readouterr().out.split())
    assert main(["steadiness", *map(str, asked[:2]), "--splits", "val", "--out", str(out)]) == 2
    assert "nobody is in the splits val" in capsys.readouterr().err
    assert main(["steadiness", "--photos", str(tmp_path / "gone"), "--out", str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err
