"""The report as one page for a person: counts, reasons, time, score histograms, and clips to look at.

One file that needs nothing beside it; pictures in it are cut out of the contact sheets, which they link to.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_prep.clips.contact_sheet import BAR, CONTACT_TILE_PX, SHEET_END
from data_prep.clips.quality import HELD, KEPT, SCORES, reason_kind
from data_prep.engines.records import SHEETS, ClipRow, read_rows
from data_prep.store import Store

#: Clips that are shown: kept ones from all over the set, those that fit worst, and held ones.
SPREAD, WORST, OUT = 12, 6, 9
#: Width of a clip's strip, pixels.
STRIP_PX = 640
COLOURS = {KEPT: "#4fb286", HELD: "#e0a83e", "rejected": "#c8664f", "failed": "#8d6bb0"}
MEANS = {
    KEPT: "in the shards",
    HELD: "measured, drawn and stored apart, for they fail a threshold",
    "rejected": "could not be measured",
    "failed": "could not be read, or broke",
}
_STYLE = """
body{margin:0 auto;max-width:1180px;padding:28px 24px 60px;background:#16171b;color:#d9dadd;
 font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:24px;font-weight:600;margin:0 0 2px;color:#fff;overflow-wrap:anywhere}
h2{font-size:17px;font-weight:600;margin:40px 0 12px;color:#fff}
p,.dim{color:#9a9ca3}a{color:inherit}p{margin:4px 0 12px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:10px;margin:20px 0 14px}
.tile{background:#202127;border-radius:8px;padding:12px 14px}.tile span{color:#9a9ca3;font-size:13px}
.tile b{display:block;font-size:23px;font-weight:600;color:#fff}
.bar{display:flex;height:22px;border-radius:6px;overflow:hidden;background:#202127}.bar i{display:block}
.key{display:flex;flex-wrap:wrap;gap:4px 22px;margin-top:8px;font-size:14px}
.key i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}
table{border-collapse:collapse;width:100%}
td,th{padding:5px 14px 5px 0;text-align:left;vertical-align:top;font-weight:400}
th{color:#9a9ca3;font-size:13px;border-bottom:1px solid #33353c}td{border-bottom:1px solid #25262c}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.w{width:34%}.track{height:11px;border-radius:3px;margin-top:6px}
.small{font-size:13px;color:#9a9ca3;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(262px,1fr));gap:12px}
.plot{background:#202127;border-radius:8px;padding:10px 12px 8px}.plot b{font-weight:600;color:#fff}
.plot svg{display:block;width:100%;margin-top:6px}.plot .small{display:flex;justify-content:space-between}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:14px}
.clips a{text-decoration:none;display:block;background:#202127;border-radius:8px;overflow:hidden}
.clips img{width:100%;display:block}.clips div{padding:7px 11px 9px;font-size:13px;overflow-wrap:anywhere}
"""


def render_page(report: dict[str, Any], store: Store) -> bytes:
    """The page of a report of :func:`data_prep.folders.summary.summarise`, with pictures from ``store``."""
    name = html.escape(str(store).rstrip("/").rpartition("/")[2] or str(store))
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"]
    parts += ["<meta name=viewport content='width=device-width'>", f"<style>{_STYLE}</style><h1>{name}</h1>"]
    parts.append(f"<div class=dim>{html.escape(str(store))}</div>")
    parts += [*_yield(report), *_reasons(report), *_time(report), *_scores(report), *_clips(report, store)]
    return "\n".join(parts).encode(errors="replace")


def _yield(report: dict[str, Any]) -> Iterable[str]:
    frames, (done, planned) = report["frames"], report["units"]
    photos = report["pictures"]
    tiles = [(f"{report['inputs']:,}", "people" if photos else "videos")] if report["inputs"] else []
    tiles += [(f"{photos:,}", "pictures")] if photos else []
    tiles += [(f"{report['clips'].get(KEPT, 0):,}", "clips kept")] if report["clips"] else []
    tiles += [] if photos else [(_minutes(frames), "at 25 fps")]
    tiles += [(f"{frames:,}", "pictures kept" if photos else "frames"), (f"{report['samples']:,}", "samples")]
    tiles += [(_size(report["bytes"]), f"in {report['shards']:,} shards")]
    if report["frames_per_second"]:
        tiles.append((f"{report['frames_per_second']:g}", "frames a second and worker"))
    if planned:
        tiles.append((f"{done / planned:.0%}", f"done: {done:,} of {planned:,} units"))
    yield (
        "<div class=tiles>" + "".join(f"<div class=tile><b>{b}</b><span>{s}</span></div>" for b, s in tiles) + "</div>"
    )
    total = sum(report["clips"].values())
    if total:
        widths = {status: 100 * count / total for status, count in report["clips"].items()}
        bars = (f"<i style='width:{w:.3f}%;background:{COLOURS[status]}'></i>" for status, w in widths.items())
        yield f"<div class=bar>{''.join(bars)}</div><div class=key>"
        for status, count in report["clips"].items():
            told = f"{count:,} {status} ({widths[status]:.0f} %) <span class=dim>{MEANS[status]}</span>"
            yield f"<div><i style='background:{COLOURS[status]}'></i>{told}</div>"
        yield "</div>"


def _reasons(report: dict[str, Any]) -> Iterable[str]:
    if not report["reasons"]:
        return
    most = max(told["clips"] for told in report["reasons"].values())
    yield "<h2>Why clips are not in the shards</h2><table><tr><th>reason<th class=n>clips<th><th>for example</tr>"
    for reason, told in report["reasons"].items():
        colour = COLOURS.get(told["status"], COLOURS["rejected"])
        bar = f"<div class=track style='width:{100 * told['clips'] / most:.1f}%;background:{colour}'></div>"
        examples = "<br>".join(html.escape(example) for example in told["examples"])
        cells = f"<td class=n>{told['clips']:,}<td class=w>{bar}<td class=small>{examples}"
        yield f"<tr><td>{html.escape(reason)}{cells}</tr>"
    yield "</table>"


def _time(report: dict[str, Any]) -> Iterable[str]:
    if not report["seconds"]:
        return
    seconds, frames = report["seconds"], sum(report["clip_frames"].get(status, 0) for status in (KEPT, HELD))
    frames = max(frames or report["frames"], 1)
    total, most = max(sum(seconds.values()), 1e-9), max(*seconds.values(), 1e-9)
    yield "<h2>What a worker's time went into</h2>"
    yield "<table><tr><th>step<th class=n>seconds<th class=n>share<th class=n>ms a frame<th></tr>"
    for step, spent in seconds.items():
        bar = f"<div class=track style='width:{100 * spent / most:.1f}%;background:#5d8fc9'></div>"
        cells = (f"{spent:,.1f}", f"{100 * spent / total:.0f} %", f"{1000 * spent / frames:.1f}")
        yield f"<tr><td>{html.escape(step)}{''.join(f'<td class=n>{c}' for c in cells)}<td class=w>{bar}</tr>"
    yield f"<tr><td>all<td class=n>{total:,.1f}<td class=n><td class=n>{1000 * total / frames:.1f}<td></tr></table>"


def _scores(report: dict[str, Any]) -> Iterable[str]:
    if not report["scores"]:
        return
    yield "<h2>Scores</h2><p>Clips a bar, kept and held; dashed: thresholds. Below: quantiles of kept clips.</p>"
    yield "<div class=plots>"
    order = [score.name for score in SCORES if score.name in report["scores"]]
    for name in (*order, *sorted(set(report["scores"]) - set(order))):
        told = report["scores"][name]
        low, middle, high = ("–" if value is None else f"{value:.4g}" for value in told["quantiles"])
        marks = f"<div class=small><span>5 %: {low}</span><span>median {middle}</span><span>95 %: {high}</span></div>"
        yield f"<div class=plot><b>{html.escape(name)}</b>{_plot(told)}{marks}</div>"
    yield "</div>"


def _plot(told: dict[str, Any]) -> str:
    """A histogram as SVG: kept clips below, held ones on top of them."""
    kept, held, edges = np.array(told[KEPT]), np.array(told[HELD]), np.array(told["edges"])
    width, height, scale = 240.0, 74.0, max(int((kept + held).max()), 1)
    step = width / len(kept)
    bars = []
    for k, (lower, upper) in enumerate(zip(kept / scale * height, held / scale * height, strict=True)):
        for colour, bottom, tall in ((COLOURS[KEPT], 0.0, lower), (COLOURS[HELD], lower, upper)):
            if tall:
                # At least a pixel: a single clip among thousands is still to be seen.
                tall = max(tall, 1.0)
                place = f"x={k * step:.1f} y={height - bottom - tall:.1f} width={step - 1:.1f} height={tall:.1f}"
                bars.append(f"<rect {place} fill='{colour}'/>")
    for end in (told["least"], told["most"]):
        if end is not None and edges[0] <= end <= edges[-1]:
            x = width * (end - edges[0]) / max(edges[-1] - edges[0], 1e-12)
            bars.append(f"<path d='M{x:.1f} 0V{height}' stroke='#fff' stroke-dasharray='3 3' opacity='.7'/>")
    labels = ((0, "start", edges[0]), (width, "end", edges[-1]))
    bars += [f"<text x={x} y=90 text-anchor={a} fill='#777a82' font-size=10>{v:.4g}</text>" for x, a, v in labels]
    axis = f"<path d='M0 {height}H{width:.0f}' stroke='#44464e'/>"
    return f"<svg viewBox='0 0 {width:.0f} 94'>{axis}{''.join(bars)}</svg>"


def _clips(report: dict[str, Any], store: Store) -> Iterable[str]:
    if not report["clips"]:
        return
    kept, held = list[ClipRow](), list[ClipRow]()
    for row in read_rows(store):
        if row["status"] in (KEPT, HELD):
            (kept if row["status"] == KEPT else held).append(
                {name: row[name] for name in ("clip_id", "status", "reason", "frames")}
                | {"error": row["scores"].get("fit_error", 0.0)}
            )
    worst = sorted(kept, key=lambda row: -row["error"])[:WORST]
    yield from _gallery(
        store, "Kept clips", "From all over the set: frame, landmarks, fitted head, depth.", _spread(kept, SPREAD)
    )
    if len(kept) > SPREAD:
        yield from _gallery(store, "Kept clips that fit worst", "Look here for fits that lie wrong.", worst)
    held.sort(key=lambda row: reason_kind(row["reason"]))
    yield from _gallery(store, "Held clips", "Other thresholds admit them: data_prep select.", _spread(held, OUT))


def _spread(rows: Sequence[ClipRow], count: int) -> list[ClipRow]:
    """At most so many, evenly from first to last."""
    at = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[k] for k in np.unique(at)]


def _gallery(store: Store, title: str, about: str, rows: Iterable[ClipRow]) -> Iterable[str]:
    shown = [(row, strip) for row in rows if (strip := _strip(store, row["clip_id"]))]
    if not shown:
        return
    yield f"<h2>{title}</h2><p>{about} A click opens the contact sheet.</p><div class=clips>"
    for row, strip in shown:
        name, about = html.escape(row["clip_id"]), f"{row['frames']} frames"
        about += f", fit error {row['error']:.2%}" if row["error"] else ""
        if row["status"] == HELD:
            about += f"<br><span style='color:{COLOURS[HELD]}'>{html.escape(row['reason'])}</span>"
        picture = f"<img loading=lazy alt='' src='data:image/jpeg;base64,{strip}'>"
        yield f"<a href='{SHEETS}/{name}{SHEET_END}'>{picture}<div>{name}<br><span class=dim>{about}</span></div></a>"
    yield "</div>"


def _strip(store: Store, clip_id: str) -> str:
    """The middle row of a contact sheet as JPEG, base64; empty where there is no sheet."""
    try:
        sheet = Image.open(io.BytesIO(store.read(f"{SHEETS}/{clip_id}{SHEET_END}"))).convert("RGB")
    except (OSError, ValueError):
        return ""
    rows = max((sheet.height - BAR) // (CONTACT_TILE_PX + BAR), 1)
    top = BAR + rows // 2 * (CONTACT_TILE_PX + BAR)
    strip = sheet.crop((0, top, sheet.width, min(top + CONTACT_TILE_PX, sheet.height)))
    strip = strip.resize((STRIP_PX, max(round(STRIP_PX * strip.height / strip.width), 1)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=86)
    return base64.b64encode(buffer.getvalue()).decode()


def _minutes(frames: int) -> str:
    seconds = frames / 25
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    for unit in ("kB", "MB", "GB"):
        count_of = count / {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
        if count_of < 1000:
            return f"{count_of:.3g} {unit}"
    return f"{count / 1e12:.3g} TB"
