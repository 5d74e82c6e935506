"""The tab of expressions: sliders for the face, and for where it looks."""

from __future__ import annotations

from typing import Any

from jdap.app import face
from jdap.app.limits import KEPT_S, NO_PHOTO, RefusedError
from jdap.app.page.desk import LAMP, MODELS, Desk, TabWork, note
from jdap.app.page.door import gr
from jdap.app.photo import Seen
from jdap.pose.change import TURNS

#: The share of the head from which a visitor is told that it is made up.
MADE_UP = 0.02


def add(desk: Desk) -> TabWork:
    """The tab's components; its step fits the head model to the face."""
    fitted = gr.State(time_to_live=KEPT_S)
    with gr.Row():
        with gr.Column(scale=3):
            view = gr.Image(label="The face", interactive=False, buttons=[], height=480, elem_id="face-view")
            said = gr.HTML(elem_id="face-note")
            whole = gr.DownloadButton("Whole photo (PNG)", interactive=False, size="md", elem_id="face-file")
        with gr.Column(scale=2, min_width=220):
            sliders = {
                name: gr.Slider(0, 1, 0, step=0.05, label=word, elem_id=f"slide-{name}")
                for name, word in face.EXPRESSIONS.items()
            }
            for name, word in face.TURN_WORDS.items():
                sliders[name] = gr.Slider(-TURNS[name], TURNS[name], 0, step=1, label=word, elem_id=f"slide-{name}")
    gr.HTML(
        '<p class="hint">A head model is fitted to the face and moved, and the photo with it: no face is drawn. What '
        "the photo does not show, teeth or the side of a head, is painted or drawn out from beside it.</p>"
    )

    def work(seen: Seen | None) -> tuple[Any, ...]:
        none = gr.DownloadButton(value=None, interactive=False)
        if seen is None:
            return None, None, none, "", *(gr.skip() for _ in sliders)
        try:
            found = face.fit(desk.models, seen)
        except RefusedError as error:
            return None, None, none, note(str(error), bad=True), *(gr.skip() for _ in sliders)
        plain = face.shown(found, seen.photo.rgb_HW3)
        return found, plain, none, "", *(round(found.start[name], 2) for name in sliders)

    def move(found: face.Fitted | None, *values: float) -> tuple[Any, ...]:
        if found is None:
            return None, note(NO_PHOTO, bad=True)
        try:
            picture, unseen = face.posed(found, face.change_of(found, dict(zip(sliders, values, strict=True))))
        except RefusedError as error:
            return gr.skip(), note(str(error), bad=True)
        made_up = f"{unseen:.0%} of the head are not in the photo and are made up." if unseen > MADE_UP else ""
        return face.shown(found, picture), note(made_up)

    def keep(found: face.Fitted | None, *values: float) -> Any:
        if found is None:
            return gr.skip()
        try:
            change = face.change_of(found, dict(zip(sliders, values, strict=True)))
        except RefusedError:  # it was told while the slider moved
            return gr.skip()
        path = face.write_posed(found, change, desk.passing.new())
        return gr.DownloadButton(value=str(path), interactive=True)

    given = [fitted, *sliders.values()]
    for slider in sliders.values():
        slider.input(
            move,
            given,
            [view, said],
            concurrency_id=LAMP,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
        slider.release(
            keep, given, [whole], concurrency_id=MODELS, trigger_mode="always_last", api_visibility="private"
        )
    return TabWork(work, [desk.seen], [fitted, view, whole, said, *sliders.values()])
