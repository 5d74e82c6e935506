"""The tab of talking."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jdap.app.limits import MOST_SOUND_S, NO_PHOTO, RefusedError
from jdap.app.page.desk import MODELS, Desk, TabWork, note
from jdap.app.page.door import gr
from jdap.app.photo import Seen
from jdap.app.talk import NO_TALK, say
from jdap.choices import BY_MODEL, BY_WARP
from jdap.io.assets import SHIPPED_FOLDER

WAYS = [("The photo itself, moved: sharp", BY_WARP), ("Drawn by the model: rough", BY_MODEL)]
SPEECH = SHIPPED_FOLDER / "talk" / "speech.wav"


def add(desk: Desk) -> TabWork:
    """The tab's components; its step empties it for another photo."""
    ways = WAYS if desk.models.talking is not None else WAYS[:1]
    with gr.Row():
        with gr.Column(scale=2, min_width=260):
            sound = gr.Audio(
                label=f"Sound: {MOST_SOUND_S:g} seconds at most",
                sources=["upload", "microphone"],
                type="filepath",
                buttons=[],
                elem_id="sound",
            )
            example = gr.Button("Take the sentence that ships", size="sm", elem_id="speech")
            way = gr.Radio(ways, value=BY_WARP, label="How", info="" if len(ways) > 1 else NO_TALK, elem_id="way")
            begin = gr.Button("Let it be said", variant="primary", elem_id="say")
            said = gr.HTML(elem_id="talk-note")
        with gr.Column(scale=3):
            video = gr.Video(
                label="The person and the depth",
                interactive=False,
                height=300,
                autoplay=True,
                elem_id="video",
                buttons=[],
            )
            with gr.Row():
                film = gr.DownloadButton("Video (MP4)", interactive=False, size="md", elem_id="video-file")
                depth = gr.DownloadButton("Its depth, 16 bits (MKV)", interactive=False, size="md")
    gr.HTML(
        '<p class="hint">It takes some seconds for each second of sound. A photo that is moved stays sharp; teeth that '
        "it does not show are paint. The model that ships is small and was trained on drawn people: what it draws is "
        "blurred, and its lips follow the sound only roughly.</p>"
    )
    outputs = [video, film, depth, said]

    def no_video(message: str = "") -> tuple[Any, ...]:
        none = gr.DownloadButton(value=None, interactive=False)
        return None, none, none, note(message, bad=True)

    def talk(
        seen: Seen | None,
        path: str | None,
        by: str,
        seed: float | None,
        progress: Any = gr.Progress(),  # noqa: B008  gradio finds its progress by the default
    ) -> tuple[Any, ...]:
        if seen is None or path is None:
            return no_video(NO_PHOTO if seen is None else "Choose a sound file, or record one, first.")

        def tell(done: float, frames: int) -> None:
            progress(done / frames, desc=f"Frame {round(done)} of {frames}")

        try:
            made = say(desk.models, seen, Path(path), desk.passing.new(), int(seed or 0), tell, by)
        except RefusedError as error:
            return no_video(str(error))
        files = (gr.DownloadButton(value=str(file), interactive=True) for file in (made.video, made.depth))
        return str(made.preview), *files, note("; ".join(made.notes))

    def sentence() -> Path:
        # gradio shows no file that lies elsewhere than in the folder it works in, or in the system's temporary one
        return shutil.copyfile(SPEECH, desk.passing.new() / SPEECH.name)

    example.click(sentence, outputs=[sound], api_visibility="private")
    begin.click(
        talk,
        [desk.seen, sound, way, desk.seed],
        outputs,
        concurrency_id=MODELS,
        show_progress_on=[video],
        api_visibility="private",
    )
    return TabWork(lambda seen: no_video(), [desk.seen], outputs)
