"""The tab of light: a lamp that is dragged over the face."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from jdap.app import light
from jdap.app.depth import Known
from jdap.app.limits import KEPT_S, RefusedError
from jdap.app.page.desk import LAMP, MODELS, Desk, TabWork, note, text_of
from jdap.app.page.door import gr

#: Where the lamp stands at first.
AT_FIRST = light.Lamp()


def add(desk: Desk) -> TabWork:
    """The tab's components; its step finds the light that is on the face, and shows it in another."""
    face, lamp = gr.State(time_to_live=KEPT_S), gr.State(AT_FIRST)
    with gr.Row():
        with gr.Column(scale=3):
            pad = gr.HTML(
                "",
                html_template=text_of("pad.html"),
                css_template=text_of("pad.css"),
                js_on_load=text_of("pad.js"),
                azimuth=AT_FIRST.azimuth_deg,
                elevation=AT_FIRST.elevation_deg,
                elem_id="pad",
            )
        with gr.Column(scale=2, min_width=180):
            said = gr.HTML(elem_id="light-note")
            even = gr.Slider(
                0, 1, AT_FIRST.even, label="Soft light", info="0: the lamp alone. 1: much light all around."
            )
            most = light.MOST_STOPS
            stops = gr.Slider(-most, most, AT_FIRST.stops, step=0.1, label="Brightness", info="In stops: 1 is twice.")
            whole = gr.DownloadButton(
                "Whole photo in this light (PNG)", interactive=False, size="md", elem_id="relit-file"
            )
    gr.HTML(
        '<p class="hint">Drag the lamp over the face, or move it with the arrow keys: in the middle it stands at the '
        "camera, at the rim beside the head. The photo itself is lit anew; no face is drawn. Outlines may get bright "
        "rims, and what lies in a hard old shadow stays dark.</p>"
    )

    def work(known: Known | None) -> tuple[Any, ...]:
        none = gr.DownloadButton(value=None, interactive=False)
        if known is None:
            return None, AT_FIRST, "", none, ""
        try:
            found = light.find_light(desk.models, known)
        except RefusedError as error:
            return None, AT_FIRST, "", none, note(str(error), bad=True)
        return found, AT_FIRST, picture(found, AT_FIRST), download(found, AT_FIRST), ""

    def picture(found: light.InLight, where: light.Lamp) -> str:
        return data_url(Image.fromarray(light.shown(desk.models, found, where)))

    def download(found: light.InLight, where: light.Lamp) -> Any:
        path = light.write_relit(desk.models, found, where, desk.passing.new())
        return gr.DownloadButton(value=str(path), interactive=True)

    def drag(found: light.InLight | None, even: float, stops: float, event: gr.EventData) -> tuple[Any, ...]:
        if found is None:
            return "", AT_FIRST
        try:
            where = light.checked(event.azimuth, event.elevation, even, stops)
        except (AttributeError, RefusedError):  # not from our page
            return gr.skip(), gr.skip()
        return picture(found, where), where

    def turn(found: light.InLight | None, where: light.Lamp, even: float, stops: float) -> tuple[Any, ...]:
        where = light.checked(where.azimuth_deg, where.elevation_deg, even, stops)
        return ("" if found is None else picture(found, where)), where

    def keep(found: light.InLight | None, where: light.Lamp) -> Any:
        return gr.skip() if found is None else download(found, where)

    quick = {"concurrency_id": LAMP, "trigger_mode": "always_last", "show_progress": "hidden"}
    hidden = {"api_visibility": "private"}
    pad.input(drag, [face, even, stops], [pad, lamp], **quick, **hidden)
    pad.release(keep, [face, lamp], [whole], concurrency_id=MODELS, trigger_mode="always_last", **hidden)
    for slider in (even, stops):
        slider.input(turn, [face, lamp, even, stops], [pad, lamp], **quick, **hidden)
        slider.release(keep, [face, lamp], [whole], concurrency_id=MODELS, trigger_mode="always_last", **hidden)
    return TabWork(work, [desk.known], [face, lamp, pad, whole, said])


def data_url(picture: Image.Image) -> str:
    """A picture as an address that holds it: nothing is written for a lamp that moves."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
