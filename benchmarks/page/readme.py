"""The table of the README: what the shipped weights do, between what is possible and what is worth beating."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.modes import measure as modes
from benchmarks.mouth.mouth import CODEC
from benchmarks.page.parts import figure
from benchmarks.talking.lipsync import OTHERS
from benchmarks.talking.moved import MOVED_REFERENCE
from jdap.metrics.mouth import DEPTH

#: The lines between which the table stands.
BEGIN, END = "<!-- benchmarks report --readme -->", "<!-- end -->"
_HEAD = "| task, measure | shipped weights | best possible here | worth beating |\n|---|---|---|---|"
#: New portraits have the face of their reference, as `jdap generate` makes them.
#: What → (question, measure, in front of the number, behind it, factor), ours, and beside it (answer, who that is).
_LINES: tuple[tuple[str, tuple[str, str, str, int], str, tuple[str, str], tuple[str, str] | None], ...] = (
    (
        "depth of a picture, RMSE (a face's range is 0.9) ↓",
        (modes.IMAGE_TO_DEPTH_QUESTION, "rmse", "", 1),
        modes.ONE_STEP,
        (modes.CODEC, "the image codec alone"),
        (modes.MEAN, "the mean of the training set"),
    ),
    (
        "portrait for a given depth, PSNR ↑",
        (modes.DEPTH_TO_IMAGE_QUESTION, "psnr", " dB", 1),
        modes.KEPT_FACE,
        (modes.CODEC, "the image codec alone"),
        (modes.REFERENCE, "the reference unchanged"),
    ),
    (
        "… and its pose ↑",
        (modes.DEPTH_TO_IMAGE_QUESTION, "psnr", " dB", 1),
        modes.CARRIED,
        (modes.CODEC, "the image codec alone"),
        (modes.REFERENCE, "the reference unchanged"),
    ),
    (
        "a face is found in a new portrait ↑",
        (modes.JOINT_QUESTION, "face_found", " %", 100),
        modes.KEPT_FACE,
        (modes.TRUE, "true pictures"),
        None,
    ),
    (
        "… whose it is, distance of face embeddings ↓",
        (modes.JOINT_QUESTION, "identity", "", 1),
        modes.KEPT_FACE,
        (modes.TRUE, "another picture of the person"),
        (modes.OTHER, "a stranger"),
    ),
    (
        "portrait and depth together, do they fit, RMSE ↓",
        (modes.JOINT_QUESTION, "depth_rmse", "", 1),
        modes.KEPT_FACE,
        (modes.TRUE, "true pictures"),
        (modes.OTHER, "another person's depth"),
    ),
)


def readme_table(results: Sequence[Path]) -> str:
    """The table in Markdown, and a line that says what it was made of.

    Raises :class:`BenchmarkError` unless there are one ``modes.json`` and one ``lipsync.json``.
    """
    asked, heard = (_only(results, stem) for stem in ("modes", "lipsync"))
    rows = {(row["question"], row["answer"], row["measure"]): row for row in asked["rows"]}
    lines, left_out = [_HEAD], list[str]()
    for what, (question, measure, unit, factor), ours, best, beat in _LINES:
        if (question, ours, measure) not in rows:
            left_out.append(what)  # faces are kept and found with jdap[identity] alone
            continue
        cells = [f"**{_number(rows[question, ours, measure], unit, factor)}**"]
        for beside in (best, beat):
            found = None if beside is None else rows.get((question, beside[0], measure))
            cells.append("" if found is None or beside is None else f"{_number(found, unit, factor)}, {beside[1]}")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    arms = {row["arm"]: row for row in heard["rows"] if (row["reader"], row["measure"]) == (DEPTH, "correlation")}
    drawn = next(iter(heard["stamp"]["weights"]), None)
    mouths = [(drawn, "mouth"), (MOVED_REFERENCE, "mouth of a photo that is moved")]
    there = [(arm, what) for arm, what in mouths if arm in arms]
    needed = (CODEC, *(f"{arm}, {OTHERS}" for arm, _ in there))
    if missing := [name for name in needed if name not in arms] if there else ["answer"]:
        raise BenchmarkError(f"lipsync.json has no {', '.join(missing)}: run `benchmarks lipsync` with its controls")
    for arm, what in there:
        cells = [_number(arms[name], "", 1) for name in (arm, CODEC, f"{arm}, {OTHERS}")]
        what = f"{what} follows the sound, correlation ({heard['stamp']['people']} people) ↑"
        lines.append(
            f"| {what} | **{cells[0]}** | {cells[1]}, the image codec alone | {cells[2]}, another person's sound |"
        )
    stamp = asked["stamp"]
    commit = (stamp["git_commit"] or "unknown")[:9]
    made = f"{stamp['people']} unseen synthetic people (the mouth: {heard['stamp']['people']}); brackets: 95 % interval"
    without = f" Not measured: {', '.join(left_out)}." if left_out else ""
    return (
        "\n".join(lines)
        + f"\n\nOn {made} over people.{without} Commit {commit}, seed {stamp['seed']}, {stamp['device']}."
    )


def _only(results: Sequence[Path], stem: str) -> dict[str, Any]:
    found = [path for path in results if path.stem == stem]
    if len(found) != 1:
        raise BenchmarkError(f"--readme needs one {stem}.json, found {len(found)}")
    return json.loads(found[0].read_text(encoding="utf-8"))


def _number(row: dict[str, Any], unit: str, factor: int) -> str:
    one = figure(row)
    digits = {" dB": 1, " %": 0}.get(unit, 3)
    shown = f"{factor * one.value:.{digits}f}{unit}"
    if one.ends is None or one.ends[0] == one.ends[1]:
        return shown
    return f"{shown} [{factor * one.ends[0]:.{digits}f}, {factor * one.ends[1]:.{digits}f}]"
