"""Sets of clips beside sets of true ones, by a network of one's own: the colours of each frame."""

import json
from itertools import permutations
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from onnx_files import Node, Shape, write_mean, write_network
from talker import SIZE, talker

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.clips import talking_clips
from benchmarks.modes.trunk import OnnxClipTrunk

PEOPLE, FRAMES = 4, 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    talker().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    fakes.write_fakes(folder, people=PEOPLE, frames=FRAMES, size_px=SIZE, fps=25.0, seed=9)
    return folder


def write_colours(path: Path, shape: Shape) -> Path:
    """The mean colour of each frame, in the order of the frames: (N, 3T) or (N, T · 3)."""
    nodes = [
        Node("ReduceMean", ["clips"], "colours", {"axes": [3, 4], "keepdims": 0}),
        Node("Flatten", ["colours"], "features"),
    ]
    return write_network(path, nodes, {"clips": shape}, {"features": (shape[0], "e")})


@pytest.mark.parametrize(
    ("shape", "frames"),
    [(("n", 3, 4, 16, 16), 4), ((1, 3, "t", "s", "s"), 5), (("n", 6, 3, 16, 16), 6), (("n", "t", 3, "s", "s"), 5)],
)
def test_layout_and_length_are_those_of_the_file(tmp_path: Path, shape: Shape, frames: int) -> None:
    trunk = OnnxClipTrunk(write_colours(tmp_path / "t.onnx", shape), frames=5)
    assert trunk.frames == frames
    colours = torch.rand(frames, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = trunk(colours[:, :, None, None].expand(-1, -1, 32, 32))
    expected = colours.T if shape[1] == 3 else colours
    torch.testing.assert_close(found, expected.flatten(), atol=1e-4, rtol=1e-4)


def test_what_lies_behind_the_features_is_averaged_over(tmp_path: Path) -> None:
    colours = write_mean(tmp_path / "t.onnx", ("n", 3, 4, 8, 8), (4,))  # (N, 3, 4, 8)
    clip = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(OnnxClipTrunk(colours, 4)(clip), clip.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_text("no network"), "cannot be read as ONNX"),
        (lambda path: write_mean(path, ("n", 3, 16, 16), (2, 3)), r"\(N, 3, T, S, S\)"),
        (lambda path: write_mean(path, ("n", 3, 4, 16, 8), (3, 4)), r"\(N, 3, T, S, S\)"),
    ],
)
def test_what_is_no_video_network_is_one_line(write, says: str, tmp_path: Path) -> None:
    write(tmp_path / "t.onnx")
    with pytest.raises(BenchmarkError, match=f"t.onnx.*{says}") as error:
        OnnxClipTrunk(tmp_path / "t.onnx", 16)
    assert "\n" not in str(error.value)


def by_hand(made: np.ndarray, true: np.ndarray) -> float:
    """Gretton's unbiased estimate of paired sets, term by term."""

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    pairs = list(permutations(range(len(made)), 2))
    terms = [k(made[i], made[j]) + k(true[i], true[j]) - k(made[i], true[j]) - k(made[j], true[i]) for i, j in pairs]
    return float(np.mean(terms))


@pytest.mark.parametrize("frames", [4, 7])
def test_the_command_writes_its_table_and_the_page_shows_it(
    weights: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    trunk, out = write_colours(tmp_path / "trunk.onnx", ("n", 3, frames, SIZE, SIZE)), tmp_path / "kvd"
    words = ["--weights", f"mine={weights}", "--shards", shards, "--trunk", trunk, "--steps", 2, "--out", out]
    assert main(["kvd", *map(str, words), "--device", "cpu"]) == 0
    result = json.loads((out / "kvd.json").read_text())
    found = {row["answer"]: row for row in result["rows"]}
    own = ["mine", "codec", "true, blurred", "true, shuffled", "still portrait"]
    own += ["true, last frames"] if frames == 4 else []  # of eight, the last seven are nearly the first
    assert list(found) == own + [f"mine − {other}" for other in own[1:]]
    assert ("true, last frames" in result["stamp"]["left_out"]) == (frames == 7)
    assert (result["stamp"]["trunk"], result["stamp"]["frames"]) == ("trunk.onnx", frames)
    clips = [clip.rgb[0] for clip in talking_clips(str(shards), SIZE)]
    colours = np.stack([clip[:frames].mean((2, 3)).T.flatten().double().numpy() for clip in clips])
    still = np.stack([clip[:1].expand(frames, -1, -1, -1).mean((2, 3)).T.flatten().double().numpy() for clip in clips])
    assert found["still portrait"]["mean"] == pytest.approx(1000 * by_hand(still, colours), rel=1e-3, abs=1e-3)
    for row in found.values():
        assert row["n"] == PEOPLE
        assert row["mean_ci"][0] <= row["mean_ci"][1]
    assert "trunk.onnx" in capsys.readouterr().out
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "true, shuffled" in (tmp_path / "page.html").read_text()


def test_what_cannot_be_compared_is_one_line(
    weights: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk = write_colours(tmp_path / "t.onnx", ("n", 3, "t", "s", "s"))
    rest = ["--shards", shards, "--trunk", trunk, "--steps", 1, "--out", tmp_path / "out", "--device", "cpu"]
    mine = ["--weights", f"a={weights}"]
    for words, says in (
        (mine, "has 8 frames; t.onnx looks at 16"),
        ([*mine, "--frames", 4, "--limit", 2], "three people or more"),
        (["--frames", 4], "name --weights, or --moved"),
    ):
        assert main(["kvd", *map(str, [*words, *rest])]) == 2
        assert says in capsys.readouterr().err
