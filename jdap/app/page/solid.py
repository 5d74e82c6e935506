"""The tab of the mesh."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jdap.app.depth import Known
from jdap.app.limits import KEPT_S
from jdap.app.page.desk import Desk, TabWork
from jdap.app.page.door import gr
from jdap.app.solid import write_solid


def add(desk: Desk) -> TabWork:
    """The tab's components; its step makes the mesh."""
    made = gr.State(time_to_live=KEPT_S)
    view = gr.Model3D(
        label="Drag to turn it, scroll to come nearer",
        clear_color=(0.93, 0.94, 0.96, 1.0),
        height=480,
        elem_id="solid",
        interactive=False,
    )
    with gr.Row():
        glb = gr.DownloadButton("Mesh with texture (GLB)", interactive=False, size="md", elem_id="solid-file")
        ply = gr.DownloadButton("Mesh with colours (PLY)", interactive=False, size="md")
    gr.HTML(
        '<p class="hint">The mesh is what the camera sees of the head, in front: it has no back. Its size and how deep '
        "it is are assumed, because a photo does not tell them.</p>"
    )

    def work(known: Known | None) -> tuple[Any, ...]:
        if known is None:
            return None, None, *(gr.DownloadButton(value=None, interactive=False) for _ in range(2))
        folder = desk.passing.new()
        files = [str(write_solid(known, folder, end)) for end in (".glb", ".ply")]
        return files[0], files[0], *(gr.DownloadButton(value=file, interactive=True) for file in files)

    def again(path: str | None) -> Any:
        if path is None or not Path(path).is_file():
            return gr.skip()
        return shutil.copyfile(path, desk.passing.new() / Path(path).name)

    # gradio's viewer drops a mesh that comes while its own code is being loaded; one of another address it takes.
    return TabWork(work, [desk.known], [made, view, glb, ply], TabWork(again, [made], [view]))
