"""From the JSON that a benchmark wrote to its section of the page. A file is known by its name.

Every row that a benchmark's table has, with its interval, is on the page; single pictures' numbers stay in the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.page.parts import Figure, PageTable, Section, count, figure, picture_uri, pivot
from benchmarks.page.plots import curves, forest, growth
from benchmarks.report import FRAME_TITLES, PAPER_FIGURES
from jdap.metrics.depth import METRIC, NORMALISED, SCALE_SHIFT, UNIT_OF_FRAME

Rows = Sequence[Mapping[str, Any]]
Build = Callable[[dict[str, Any], Section], None]
OF_PICTURES = "RGB in a range of 2; depth in the normalised frame (0.1 near … 1 far)"
#: What a table of depth shows: key → (title, digits in mm, digits elsewhere).
_DEPTH_COLUMNS = {
    "absrel": ("AbsRel↓", 4, 3),
    "delta1": ("δ 1.25↑", 3, 3),
    "delta_105": ("δ 1.05↑", 3, 3),
    "delta_103": ("δ 1.03↑", 3, 3),
    "delta_101": ("δ 1.01↑", 3, 3),
    "rmse": ("RMSE↓", 2, 3),
    "normal_deg": ("normals↓, °", 1, 1),
    "boundary_f1": ("edges, F1↑", 3, 3),
}


def depth(data: dict[str, Any], section: Section) -> None:
    """Tables by frame and alignment, groups, pairs; a forest of RMSE and a curve over yaw."""
    stamp, rows = data["stamp"], data["rows"]
    people = f"{stamp['pictures']} pictures of {stamp['people']} people"
    for place in dict.fromkeys((row["frame"], row["alignment"]) for row in rows):
        some = [row for row in rows if (row["frame"], row["alignment"]) == place]
        keys = [key for key in _DEPTH_COLUMNS if key in some[0]]
        frame, unit = FRAME_TITLES[place[0]], UNIT_OF_FRAME[place[0]]
        lines: list[list[str | Figure]] = []
        for row in some:
            digits = {key: int(_DEPTH_COLUMNS[key][1 if unit == "mm" else 2]) for key in keys}
            turned = round(row["negative_scale"] * row["n"])
            lines.append([row["method"], *(figure(row, key, digits[key]) for key in keys), str(turned or "")])
        heads = ["method", *(_DEPTH_COLUMNS[key][0] for key in keys), "inside out"]
        section.sheets.append(PageTable(f"Alignment: {place[1]}", f"{frame}, RMSE in {unit}", people, heads, lines))
    main = [row for row in rows if (row["frame"], row["alignment"]) == (NORMALISED, SCALE_SHIFT)]
    section.plots.append(forest("RMSE, normalised frame", "0.9 is the face's range", [_named(r) for r in main]))
    for kind in dict.fromkeys(row["group"] for row in data["groups"]):
        for key in dict.fromkeys((r["frame"], r["measure"]) for r in data["groups"] if r["group"] == kind):
            some = [r for r in data["groups"] if (r["group"], r["frame"], r["measure"]) == (kind, *key)]
            heads, lines = pivot(some, "method", "of", arrows=False)
            title = f"By {kind}: {key[1]} after scale and shift"
            section.sheets.append(PageTable(title, FRAME_TITLES[key[0]], count(some), heads, lines))
            if (kind, *key) == ("yaw", METRIC, "rmse"):
                by_method = {m: [(r["of"], figure(r)) for r in some if r["method"] == m] for m in _of(some, "method")}
                section.plots.append(curves("RMSE by yaw", "yaw to either side", "mm", by_method))
    for key in dict.fromkeys((r["frame"], r["measure"]) for r in data["paired"]):
        some = [r for r in data["paired"] if (r["frame"], r["measure"]) == key]
        pairs: list[list[str | Figure]] = [
            [f"{r['first']} − {r['other']}", figure(r, signed=True), _p(r["p"]), _p(r["p_holm"])] for r in some
        ]
        heads = ["pair", f"difference, {some[0]['unit']}".rstrip(", "), "p", "p, all pairs (Holm)"]
        title = f"Paired: {key[1]} after scale and shift"
        section.sheets.append(PageTable(title, FRAME_TITLES[key[0]], count(some, "pictures, paired"), heads, pairs))
    section.notes.append(PAPER_FIGURES)


def answers(frame: str, what: str = "pictures") -> Build:
    """Tables of ``question``, ``answer`` and ``measure`` (one table where there are no questions)."""

    def build(data: dict[str, Any], section: Section) -> None:
        for question in dict.fromkeys(row.get("question", "") for row in data["rows"]):
            some = [row for row in data["rows"] if row.get("question", "") == question]
            plain = [row for row in some if " − " not in row["answer"]]
            for title, part, signed in ((question, plain, False), ("differences", some, True)):
                part = [row for row in part if signed == (" − " in row["answer"])]
                if part:
                    heads, lines = pivot(part, "answer", "measure", signed=signed)
                    named = title or "answers" if not signed else f"{question}: differences".lstrip(": ")
                    section.sheets.append(PageTable(named, frame, count(part, what), heads, lines))

    return build


def lipsync(data: dict[str, Any], section: Section) -> None:
    """A table a reader, and one of the judge that the user named."""
    for reader in dict.fromkeys(row["reader"] for row in data["rows"]):
        some = [row for row in data["rows"] if row["reader"] == reader]
        heads, lines = pivot(some, "arm", "measure")
        section.sheets.append(
            PageTable(f"Read by {reader}", "opening of the mouth", count(some, "clips"), heads, lines)
        )
    if judged := data["sync"]:
        heads, lines = pivot(judged, "answer", "measure")
        title = f"Judged by {data['stamp']['syncnet']}"
        section.sheets.append(PageTable(title, "vectors of lips and sound", count(judged, "clips"), heads, lines))


def scale(data: dict[str, Any], section: Section) -> None:
    """Errors by number, differences, the fitted power laws; a plot on logarithmic axes."""
    stamp, rows = data["stamp"], data["rows"]
    frame, unit = FRAME_TITLES[stamp["frame"]], UNIT_OF_FRAME[stamp["frame"]]
    n = f"{stamp['pictures']} pictures of {stamp['people']} people"
    errors: dict[str, list[tuple[int, Figure]]] = {}
    for what in _of(rows, "what"):
        some = [row for row in rows if row["what"] == what]
        if some[0]["number"]:
            heads = ["series", stamp["across"], "seeds", f"{what}, {unit}".rstrip(", ")]
            lines: list[list[str | Figure]] = [
                [r["series"], str(r["number"]), str(r["seeds"]), figure(r, signed=what != "RMSE")] for r in some
            ]
        else:
            heads, lines = ["series", what], [[r["series"], figure(r)] for r in some]
        section.sheets.append(PageTable(what, frame, n, heads, lines))
        for row in some if what == "RMSE" else ():
            errors.setdefault(row["series"], []).append((row["number"], figure(row)))
    section.plots.append(
        growth(f"RMSE by {stamp['across']}", stamp["across"], unit or "0.9 is the face's range", errors)
    )
    section.notes.append("Intervals are over people; what another seed of training changes is not in them.")


def speed(data: dict[str, Any], section: Section) -> None:
    """Ratios, with their extremes over rounds for an interval."""
    stamp = data["stamp"]
    rounds = f"{stamp['repeats']} rounds"
    if data["rows"]:
        lines: list[list[str | Figure]] = [
            [f"{r['part']} {r['size']}²: {r['what']}", Figure(r["ratio"], tuple(r["ratio_range"]), 2)]
            for r in data["rows"]
        ]
        heads = ["part, latents", "ours / theirs, median [extremes]"]
        section.sheets.append(PageTable("Against the usual design", f"{stamp['clock']} seconds", rounds, heads, lines))
    if data["throughput"]:
        lines = [
            [r["what"], Figure(r["pictures_per_s"], tuple(r["pictures_per_s_range"]), 1)] for r in data["throughput"]
        ]
        heads = ["latents", "pictures/s, median [extremes]"]
        section.sheets.append(PageTable("Training, preset tiny", "wall seconds", rounds, heads, lines))


#: Stem of a file → title, what it is about, how it becomes a section. The order is that of the page.
RESULT_KINDS: dict[str, tuple[str, str, Build]] = {
    "depth": ("Depth of pictures", "Image-to-depth on held-out people.", depth),
    "scan": ("Depth of a real, scanned head", "Renders of a scan at ten yaws; intervals are over views.", depth),
    "scale": (
        "How much data it takes",
        "Depth's error against what was trained on, with error = c · N^(−b) fitted.",
        scale,
    ),
    "modes": ("Four questions to one model", "The model's answers between ceilings and floors.", answers(OF_PICTURES)),
    "audit": (
        "Do drawn depth and drawn picture belong together?",
        "Depth estimated again from drawn RGB against the depth drawn with it; true pictures are the floor.",
        answers("drawn depth's range is 0.9; shares of pictures and of areas; offsets in % of the face's width"),
    ),
    "kid": (
        "Do drawn portraits look like true pictures?",
        "Kernel distance of features (KID) of sets with one picture a person to the set of true pictures.",
        answers("features of pictures; two sets of one kind have 0 in the mean", "people"),
    ),
    "kvd": (
        "Do drawn clips look and move like true ones?",
        "Kernel distance of a video network's features (KVD) of sets with one clip a person to the set of true clips.",
        answers("features of clips; two sets of one kind have 0 in the mean", "people"),
    ),
    "lipsync": ("Lip sync", "Correlation of the drawn mouth's opening with the true one.", lipsync),
    "talking": ("Talking clips", "Likeness, depth, steadiness, window borders.", answers(OF_PICTURES, "clips")),
    "relight": ("Relighting", "Studio pictures brought into another light.", answers("8-bit sRGB; degrees")),
    "pose": ("Pose", "Studio pictures brought to another pose.", answers("8-bit sRGB; % of the face's width")),
    "speed": ("Speed", "What the reference costs.", speed),
}


def read_section(path: Path) -> Section:
    """The section of one file. Raises :class:`BenchmarkError` that names a file which is no benchmark's."""
    title, about, build = RESULT_KINDS[path.stem]
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        section = Section(title, about, str(path.parent), data["stamp"])
        build(data, section)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: no result of `python -m benchmarks {path.stem}`: {error!r}") from error
    left_out = section.stamp.get("left_out") or {}
    section.notes += [f"left out: {name} ({reason})" for name, reason in left_out.items()]
    picture = path.with_suffix(".png")
    if picture.is_file():
        section.pictures.append((picture.name, picture_uri(picture)))
    return section


def _of(rows: Rows, key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _named(row: Mapping[str, Any]) -> tuple[str, Figure]:
    return row["method"], figure(row, "rmse")


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
