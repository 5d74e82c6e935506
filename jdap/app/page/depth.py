"""The tab of depth."""

from __future__ import annotations

from typing import Any

from jdap.app import depth
from jdap.app.page.desk import Desk, TabWork
from jdap.app.page.door import gr
from jdap.app.photo import Seen


def add(desk: Desk) -> TabWork:
    """The tab's components; its step finds the depth that all other tabs work on."""
    slider = gr.ImageSlider(
        label="Move the bar between the photo and its depth: bright is near, dark is far",
        interactive=False,
        buttons=["fullscreen"],
        height=480,
        elem_id="depth",
    )
    with gr.Row():
        whole = gr.DownloadButton("Depth, 16 bits (PNG)", interactive=False, size="md", elem_id="depth-file")
        meaning = gr.DownloadButton("What its numbers mean (JSON)", interactive=False, size="md", elem_id="depth-json")
        unsure = gr.DownloadButton("How unsure it is (PNG)", interactive=False, size="md")
        preview = gr.DownloadButton("Preview (PNG)", interactive=False, size="md")
    gr.HTML(
        '<p class="hint">Depth is relative: how near each point is on this face, not how many millimetres away. It is '
        f"the mean of {depth.ENSEMBLE} draws of the model; where they differ, it is unsure. Keep the JSON beside the "
        "16-bit PNG, by the names they come with: <code>jdap relight --depth</code> and others read both.</p>"
    )
    files = (whole, unsure, preview, meaning)

    def work(seen: Seen | None, seed: float | None) -> tuple[Any, ...]:
        if seen is None:
            return None, None, *(gr.DownloadButton(value=None, interactive=False) for _ in files)
        known = depth.know(desk.models, seen, int(seed or 0))
        written = depth.write_depth(desk.models, known, desk.passing.new())
        return known, depth.pair(known), *(gr.DownloadButton(value=str(path), interactive=True) for path in written)

    return TabWork(work, [desk.seen, desk.seed], [desk.known, slider, *files])
