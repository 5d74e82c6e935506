"""``python -m benchmarks gpu``: rows that share a process, commands that fail, and all of it, reduced."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.cost.footprint import Case, cases, settled, together
from benchmarks.cost.gpu import GPU_BEGIN, GPU_END, GPU_ROWS, GpuTask, markdown, perform, tasks
from benchmarks.options.footprint import add_arguments

ROOT = Path(__file__).resolve().parents[3]


def test_rows_of_the_same_networks_share_a_process_on_a_gpu() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--device", "cpu", "--batch", "1", "4", "--targets", "1", "4", "--checkpointing", "both"]
    args = settled(parser.parse_args(words))
    assert not args.share
    rows = cases(args)
    # Four targets a reference want four pictures.
    assert [(r.batch, r.targets) for r in rows if r.checkpointing] == [(1, 1), (4, 1), (4, 4)]
    assert [len(some) for some in together(rows, share=False)] == [1] * 7
    assert [[(r.what, r.checkpointing) for r in some] for some in together(rows, share=True)] == [
        [("train", True)] * 3,
        [("train", False)] * 3 + [("sample", False)],
    ]


def test_a_table_of_what_was_not_measured_is_blank() -> None:
    lines = markdown({}, {}).splitlines()
    assert len(lines) == 2 + len(GPU_ROWS)
    assert all(line.endswith("|  |") for line in lines[2:])
    stamp = {"device": "H", "git_commit": "a" * 40, "torch": "2"}
    filled = markdown({"tiny": "9.1 steps/s"}, stamp).splitlines()
    assert filled[2] == f"| {GPU_ROWS['tiny']} | 9.1 steps/s |"
    assert filled[0] == "| what | H |"
    assert "commit aaaaaaaaa" in filled[-1]


def test_the_docs_hold_the_rows_of_today() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    table = text.partition(GPU_BEGIN)[2].partition(GPU_END)[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.strip().splitlines()[2 : 2 + len(GPU_ROWS)]] == [
        *GPU_ROWS.values()
    ]


def test_a_command_that_fails_or_takes_too_long_says_so(tmp_path: Path) -> None:
    bad = GpuTask("bad", ["benchmarks", "depth", "--out", "x"], 60, lambda folder: {})
    assert perform(bad, tmp_path / "bad", 60).startswith("status 2: ")
    slow = GpuTask("slow", ["timeit", "-n1", "-r1", "import time; time.sleep(60)"], 60, lambda folder: {})
    assert perform(slow, tmp_path / "slow", 1) == "ended after 1 s"
    assert perform(slow, tmp_path / "never", -1).startswith("not reached")
    assert not (tmp_path / "never").exists()


def test_the_full_plan_names_cuda_and_every_row() -> None:
    plan = tasks("cuda", [Path("v.mpg")], 60, reduced=False)
    assert [task.name for task in plan] == [*("steps", "tiny", "small", "studio", "preparation", "clip", "compiled")]
    for task in plan:
        assert ("cuda" in task.words) or ("gpu" in task.words)
    assert "--reduced" not in sys.argv


def test_what_footprint_writes_becomes_rows(tmp_path: Path) -> None:
    def row(batch: int, kept: bool, targets: int = 1, **more: object) -> dict[str, object]:
        case = Case("train", "sd15", 512, batch, kept, False, "cuda", "bf16-mixed", 5, 2, 20, 1, targets=targets)
        told = {"step_s": 0.5, "step_s_range": [0.4, 0.6], "pictures_per_s": 2.0 * batch, "peak_gib": 30.5}
        return asdict(case) | told | more

    plan = {task.name: task for task in tasks("cuda", [], 60, reduced=False)}
    sample = row(
        1, False, what="sample", generate_s=1.5, generate_s_range=[1.4, 1.7], depth_s=0.2, depth_s_range=[0.1, 0.3]
    )
    rows = [row(1, True), row(4, True, 4), row(8, False, failed="out of memory"), row(4, False, 4), sample]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    assert plan["steps"].read(tmp_path) == {
        "step 1 kept": "2/s; 0.500 s [0.400, 0.600] a step; 30.5 GiB",
        "step 8 plain": "out of memory",
        "step 4 shared": "8/s; 0.500 s [0.400, 0.600] a step; 30.5 GiB",
        "joint": "1.500 s [1.400, 1.700]; 30.5 GiB",
        "depth": "0.200 s [0.100, 0.300]; 30.5 GiB",
    }
    assert plan["clip"].read(tmp_path) == {"clip": "2/s; 0.500 s [0.400, 0.600] a step; 30.5 GiB"}
    assert "preparation" not in plan  # no videos were named


@pytest.mark.slow
def test_all_of_it_reduced_on_a_cpu_fills_every_row(assets: Path, tmp_path: Path) -> None:
    docs = tmp_path / "gpu.md"
    docs.write_text(f"x\n{GPU_BEGIN}\n{GPU_END}\ny\n")
    video = next((assets / "videos" / "grid").glob("*.mpg"))
    asked = ["--out", tmp_path / "out", "--docs", docs, "--device", "cpu", "--reduced", "--videos", video]
    asked += ["--minutes", 30, "--train-seconds", 15]
    status = main(["gpu", *map(str, asked)])
    result = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert (status, result["why_not"]) == (0, {})
    assert set(result["rows"]) == set(GPU_ROWS)
    assert result["stamp"]["reduced"] is True
    for name in ("step 8 kept", "step 4 shared", "joint", "depth", "clip"):
        assert "[" in result["rows"][name], name
    assert "steps/s" in result["rows"]["tiny"]
    text = docs.read_text()
    assert text.startswith(f"x\n{GPU_BEGIN}\n| what | cpu |")
    assert result["rows"]["studio"] in text
