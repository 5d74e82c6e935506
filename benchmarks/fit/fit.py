"""``python -m benchmarks fit``: how good fitted heads are, and what each term of the fit gives.

========== =============================================================================================================
part       what is measured
========== =============================================================================================================
clips      reprojection, openings of lids and lips, and jitter over clips of people, each fitted with a correspondence
           that was derived anew and refined on the other folds' clips alone
scan       depth of a scan's renders at ten yaws, seen by mediapipe, beside baselines; RMSE after scale and shift
drawn      depth of studio heads from their landmarks with white noise; frames a second of the fit alone
lens       pitch and depth of drawn heads whose lens is guessed, from selfies to a long lens
trust      whether the confidence ranks pixels by their true error: the scan's views, and with ``--studio`` shards of
           ``python -m data_prep studio --clips``, seen by mediapipe
ablation   the first three with one setting changed at a time
========== =============================================================================================================

Intervals are 95 % of the bootstrap over clips, views or people. Prints tables, writes ``fit.json``.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, report
from benchmarks.choices import DEFAULT_SCAN
from benchmarks.depth.scan import SCAN_YAWS_DEG
from benchmarks.fit.data import Observed, held_out, read_clips, rendered_clips, scan_views, studio_clips
from benchmarks.fit.measure import (
    ScanFigures,
    clip_figures,
    counts,
    lens_figures,
    rendered_figures,
    rmse_mm,
    studio_trust,
    trust_figures,
)
from data_prep.fit.fit import FACE_WIDTH_MM, FitSettings, fit_tracks
from data_prep.head.landmarks import FACE_OVAL, Correspondence, load_correspondence
from data_prep.head.model import MorphableModel, load_ict
from jdap.io.fetch import ENVIRONMENT
from jdap.io.progress import track

FIT_VIDEOS = tuple(Path("videos") / name for name in ("grid", "motion", "talking"))
FIT_FRAMES, FIT_SIZE_PX, NOISE_PX = 32, 512, 1.0
VIEW_SIZE_PX = 256

#: Fields of view, degrees, and distances, mm: a portrait, a webcam, two selfies, a long lens.
LENSES = ((40.0, 800.0), (65.0, 550.0), (75.0, 400.0), (75.0, 300.0), (15.0, 3000.0))
SELFIE_FRAMES = 16

FIT_DEFAULTS = FitSettings()
#: name → settings, and whether the face oval is trusted as other landmarks are.
ABLATIONS: dict[str, tuple[FitSettings, bool]] = {
    "as shipped": (FIT_DEFAULTS, False),
    "no smoothness": (FIT_DEFAULTS.unordered(), False),
    "no openings": (replace(FIT_DEFAULTS, opening_sd=math.inf), False),
    "no Huber (squares)": (replace(FIT_DEFAULTS, huber=1e9), False),
    "expression sd 0.05": (replace(FIT_DEFAULTS, expression_sd=0.05), False),
    "expression sd 0.3": (replace(FIT_DEFAULTS, expression_sd=0.3), False),
    "identity sd 0.3": (replace(FIT_DEFAULTS, identity_sd=0.3), False),
    "identity sd 0.5, 80 modes": (replace(FIT_DEFAULTS, identity_sd=0.5, identity_modes=80), False),
    "every frame counts": (replace(FIT_DEFAULTS, views=1e6), False),
    "free lens (sd 2 %)": (replace(FIT_DEFAULTS, focal_sd=0.02), False),
    "contour slides 3 mm": (replace(FIT_DEFAULTS, along_mm=3, across_mm=3), False),
    "oval trusted in full": (FIT_DEFAULTS, True),
    "… and slides 6 mm": (replace(FIT_DEFAULTS, along_mm=6, across_mm=6), True),
}


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write ``fit.json`` into ``args.out``."""
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise BenchmarkError(f"--device {args.device}: torch finds no GPU here; use --device cpu")
    bench = Bench(args, load_ict(), load_correspondence())
    measures = {
        "clips": bench.clips,
        "scan": bench.scan,
        "drawn": bench.drawn,
        "lens": bench.lens,
        "trust": bench.trust,
    }
    results: dict[str, Any] = {name: measures[name]() for name in args.parts if name != "ablation"}
    if "ablation" in args.parts:
        results["ablation"] = bench.ablation()
    machine = {"threads": torch.get_num_threads(), "device": args.device}
    stamp = report.software_stamp() | machine | {"settings": vars(FIT_DEFAULTS)}
    args.out.mkdir(parents=True, exist_ok=True)
    report.write_json(args.out / "fit.json", results | {"stamp": stamp})
    return 0


class Bench:
    """The parts; what they share is read once."""

    def __init__(self, args: argparse.Namespace, model: MorphableModel, correspondence: Correspondence) -> None:
        self.args, self.model, self.correspondence, self.console = args, model, correspondence, Console()
        self._kept: dict[str, Any] = {}

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def _videos(self) -> tuple[dict[str, Observed], dict[str, Correspondence]]:
        def make() -> tuple[dict[str, Observed], dict[str, Correspondence]]:
            folders = self.args.videos or [_asset(folder) for folder in FIT_VIDEOS]
            clips = read_clips(folders, self.args.frames, self.model)
            if len(clips) < self.args.folds or self.args.folds < 2:
                raise BenchmarkError(f"--folds {self.args.folds}: must be 2 … {len(clips)}, the number of clips")
            return clips, held_out(clips, self.args.folds, self.model)

        return self._once("videos", make)

    def _scan(self) -> ScanFigures:
        def make() -> ScanFigures:
            folder = self.args.scan or _asset(DEFAULT_SCAN)
            seen, truth = scan_views(folder, SCAN_YAWS_DEG, VIEW_SIZE_PX, self.model, self.correspondence)
            return ScanFigures(seen, truth, self.model, self.correspondence)

        return self._once("scan", make)

    def _drawn(self) -> Any:
        def make() -> Any:
            return rendered_clips(self.args.people, FIT_FRAMES, FIT_SIZE_PX, NOISE_PX, self.model, self.correspondence)

        return self._once("drawn", make)

    def clips(self) -> list[dict[str, Any]]:
        """Every clip, and the mean."""
        clips, correspondences = self._videos()
        rows: list[dict[str, Any]] = []
        for name in track(list(clips), "clip", Console(stderr=True)):
            fitted = fit_tracks([clips[name]], self.model, correspondences[name])[0]
            rows.append({"clip": name, "frames": len(fitted.rotation_F3)} | clip_figures(fitted))
        keys = ("rms", "p95", "opening", "jitter_mm")
        frames = sum(row["frames"] for row in rows)
        mean: dict[str, Any] = {"clip": "mean", "frames": frames} | {
            key: report.mean_and_interval(np.array([row[key] for row in rows]), list(clips), 0) for key in keys
        }
        title = f"{len(rows)} clips, held-out correspondences ({self.args.folds} folds); % of the face's width, mm"
        self._table(title, ("clip", "frames", *keys), [*rows, mean])
        return [*rows, mean]

    def scan(self) -> list[dict[str, Any]]:
        """Every method."""
        rows = []
        for name, (rmse, share) in self._scan().methods(FIT_DEFAULTS).items():
            figures = report.mean_and_interval(rmse, [str(i) for i in range(len(rmse))], 0)
            row = {"method": name, "rmse_mm": figures, "worst_mm": float(rmse.max()), "share": share}
            rows.append(row | {"views_mm": rmse.tolist()})
        title = f"scan, {len(SCAN_YAWS_DEG)} yaws within ±40°: RMSE after scale and shift, mm; share of the true face"
        self._table(title, ("method", "rmse_mm", "worst_mm", "share"), rows)
        return rows

    def drawn(self) -> list[dict[str, Any]]:
        """Depth error, and speed."""
        clips = self._drawn()
        errors = rendered_figures(clips, self.model, self.correspondence, FIT_DEFAULTS)
        figures = {"depth_mm": report.mean_and_interval(errors, list(clips), 0), "worst_mm": float(errors.max())}
        row = figures | self._speed()
        title = (
            f"{len(clips)} drawn clips, {FIT_FRAMES} frames, {NOISE_PX:g} px noise at {FIT_SIZE_PX}²: median error, mm"
        )
        self._table(title, tuple(row), [row])
        return [row]

    def lens(self) -> list[dict[str, Any]]:
        """Pitch and depth where the lens is not known."""
        rows = []
        for field_deg, far_mm in LENSES:
            place = (self.model, self.correspondence, (field_deg, far_mm))
            # 0.4 % of the face's width, of which a picture at this distance shows so many pixels.
            noise_px = 0.004 * FACE_WIDTH_MM * FIT_SIZE_PX / (2 * far_mm * math.tan(math.radians(field_deg / 2)))
            clips = rendered_clips(self.args.people, SELFIE_FRAMES, FIT_SIZE_PX, noise_px, *place)
            figures = lens_figures(clips, self.model, self.correspondence)
            row: dict[str, Any] = {"lens": f"{field_deg:g}°, {far_mm:g} mm"}
            rows.append(row | {key: report.mean_and_interval(x, list(clips), 0) for key, x in figures.items()})
        title = f"{self.args.people} drawn people, {SELFIE_FRAMES} frames, lens guessed; depth after scale and shift"
        self._table(title, tuple(rows[0]), rows)
        return rows

    def _speed(self) -> dict[str, float]:
        """Frames a second of the fit alone, all clips in one batch and one by one; by clock and processor time."""
        model, correspondence = self.model.to(self.args.device), self.correspondence.to(self.args.device)
        tracks = [seen for seen, _ in self._drawn().values()]
        speeds: dict[str, float] = {}
        for name, batches in (("together", [tracks]), ("alone", [[one] for one in tracks])):
            fit_tracks(batches[0], model, correspondence)
            clock, processor = time.perf_counter(), time.process_time()
            for batch in batches:
                fit_tracks(batch, model, correspondence)
                if self.args.device.startswith("cuda"):
                    torch.cuda.synchronize()
            speeds[f"fps_{name}"] = FIT_FRAMES * len(tracks) / (time.perf_counter() - clock)
            speeds[f"fps_{name}_processor"] = FIT_FRAMES * len(tracks) / (time.process_time() - processor)
        return speeds

    def trust(self) -> list[dict[str, Any]]:
        """Scan with shared identity, single views, and studio people."""
        scan, rows = self._scan(), []
        kinds = {
            "scan, identity shared": trust_figures(scan.shared(FIT_DEFAULTS), scan.truth),
            "scan, single views": trust_figures(scan.single(FIT_DEFAULTS), scan.truth),
        }
        if self.args.studio:
            clips = studio_clips(self.args.studio, self.model)
            kinds["studio people"] = list(studio_trust(clips, self.model, self.correspondence, FIT_DEFAULTS).values())
        for name, figures in kinds.items():
            whose = [str(i) for i in range(len(figures))]
            rows.append(
                {"pictures": name}
                | {key: report.mean_and_interval(np.array([f[key] for f in figures]), whose, 0) for key in figures[0]}
            )
        keys = [key for key in rows[0] if key != "pictures"]
        lines: list[dict[str, Any]] = [
            {"figure": key} | {str(row["pictures"]): row[key] for row in rows} for key in keys
        ]
        self._table("confidence: rank correlation with the error's size; rmse by trust, mm", tuple(lines[0]), lines)
        return rows

    def ablation(self) -> list[dict[str, Any]]:
        """One setting changed at a time."""
        clips, correspondences = self._videos()
        rows = []
        for name in track(list(ABLATIONS), "ablation", Console(stderr=True)):
            settings, full = ABLATIONS[name]
            trusting = {clip: _trusting(correspondences[clip], full) for clip in clips}
            fits = [fit_tracks([clips[clip]], self.model, trusting[clip], settings)[0] for clip in clips]
            figures = [clip_figures(fitted) for fitted in fits]
            row: dict[str, Any] = {"settings": name}
            row |= {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
            shipped = _trusting(self.correspondence, full)
            scan = ScanFigures(self._scan().seen, self._scan().truth, self.model, shipped)
            for kind, maps in (("shared_mm", scan.shared(settings)), ("single_mm", scan.single(settings))):
                row[kind] = float(rmse_mm(maps.depth_mm_FHW, scan.truth, counts(maps, scan.truth)).mean())
            row["drawn_mm"] = float(rendered_figures(self._drawn(), self.model, shipped, settings).mean())
            rows.append(row)
            self.console.log(*(_cell(value) for value in row.values()))  # what there is, should the rest take too long
        self._table("ablation: means over clips; scan; drawn clips", tuple(rows[0]), rows)
        return rows

    def _table(self, title: str, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(_cell(row[column]) for column in columns))
        report.show(table, self.console)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        low, high = value["mean_ci"]
        return f"{value['mean']:.2f} [{low:.2f}, {high:.2f}]"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _trusting(correspondence: Correspondence, full: bool) -> Correspondence:
    """The same, the face oval's landmarks trusted in full or as they are."""
    if not full:
        return correspondence
    trust = correspondence.trust_N.clone()
    trust[list(FACE_OVAL)] = 1
    return replace(correspondence, trust_N=trust)


def _asset(path: Path) -> Path:
    root = os.environ.get(ENVIRONMENT)
    if not root or not (Path(root) / path).is_dir():
        raise BenchmarkError(
            f"{path} is missing: name it on the command line, or set {ENVIRONMENT} to a folder with it"
        )
    return Path(root) / path
