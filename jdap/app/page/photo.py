"""The left column: the photo, its faces, examples, the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jdap.app import photo
from jdap.app.limits import MOST_BYTES, MOST_PIXELS, RefusedError
from jdap.app.models import Models
from jdap.app.page.desk import MODELS, note
from jdap.app.page.door import gr
from jdap.io.assets import SHIPPED_FOLDER

#: Drawn people that ship.
DRAWN_PEOPLE = sorted((SHIPPED_FOLDER / "app").glob("*.jpg"))
WHAT_IS_TAKEN = (
    f"A face that looks towards the camera; JPEG, PNG, WebP …, up to {MOST_BYTES / 2**20:.0f} MB and "
    f"{MOST_PIXELS / 1e6:.0f} million pixels."
)


class PhotoPanel:
    """The components of the column; ``listeners`` are the events after which there is another face to work on."""

    def __init__(self, models: Models, seen: Any, seed: int) -> None:
        self.models = models
        self.seen = seen
        self.drop = gr.File(label="Your photo: drop it here, or click", elem_id="drop", height=160)
        gr.HTML(f'<p class="hint">{WHAT_IS_TAKEN}</p>')
        self.note = gr.HTML(elem_id="photo-note")
        self.framed = gr.Image(label="Found", interactive=False, buttons=[], elem_id="framed", visible=False)
        self.face = gr.Radio(label="Which face?", visible=False, elem_id="face")
        self.examples = gr.Dataset(
            label="Or a drawn person",
            components=[gr.Image(visible=False, width=88, height=88)],
            samples=[[str(path)] for path in DRAWN_PEOPLE],
            type="index",
            elem_id="examples",
        )
        with gr.Accordion("More", open=False):
            self.seed = gr.Number(
                seed, label="Seed", info="The same photo and seed give the same pictures.", precision=0
            )
        shown = [seen, self.framed, self.face, self.note, self.drop]
        how = {"outputs": shown, "concurrency_id": MODELS, "api_visibility": "private"}
        self.listeners = [
            self.drop.upload(self.look, [self.drop], **how),
            self.examples.click(self.example, [self.examples], **how),
            self.face.input(self.choose, [seen, self.face], **how),
            self.seed.submit(lambda seen: self.show(seen), [seen], **how),
        ]

    def look(self, path: str) -> tuple[Any, ...]:
        """The faces of a photo that was dropped, or why there is none; then another may be dropped."""
        try:
            return self.show(photo.see(self.models, Path(path)))
        except RefusedError as error:
            return self.empty(str(error))

    def example(self, index: int) -> tuple[Any, ...]:
        """One of the drawn people."""
        return self.look(str(DRAWN_PEOPLE[index]))

    def choose(self, seen: photo.Seen | None, face: int) -> tuple[Any, ...]:
        """Another face of the same photo."""
        return self.empty("Please drop the photo again.") if seen is None else self.show(seen.choose(face))

    def show(self, seen: photo.Seen | None) -> tuple[Any, ...]:
        """The photo with its faces framed."""
        if seen is None:
            return self.empty()
        count = len(seen.windows_px)
        faces = gr.Radio(
            choices=[(f"Face {k + 1}", k) for k in range(count)],
            value=seen.face,
            visible=count > 1,
        )
        return seen, gr.Image(photo.framed(seen), visible=True), faces, note(photo.told(seen)), None

    def empty(self, message: str = "") -> tuple[Any, ...]:
        """No photo, and why."""
        return None, gr.Image(None, visible=False), gr.Radio(visible=False), note(message, bad=True), None
