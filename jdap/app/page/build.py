"""The page put together, and opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jdap.app.keeping import Passing
from jdap.app.limits import KEPT_S, MOST_BYTES, VISITORS, WAITING
from jdap.app.models import Models
from jdap.app.page import depth, face, light, solid, talk
from jdap.app.page.desk import LAMP, MODELS, Desk, TabWork, text_of
from jdap.app.page.door import gr
from jdap.app.page.photo import PhotoPanel

#: Tabs, in their order; the first one finds the depth that the others need.
TABS = {"Depth": depth.add, "3D": solid.add, "Light": light.add, "Expression": face.add, "Talk": talk.add}


def build(models: Models, passing: Passing, seed: int = 0) -> Any:
    """The page (``gradio.Blocks``). Each visitor has states of their own; what they see is made of them alone."""
    with gr.Blocks(title="JDAP: portraits with depth", analytics_enabled=False) as page:
        gr.HTML(text_of("header.html"))
        seen, known = gr.State(time_to_live=KEPT_S), gr.State(time_to_live=KEPT_S)
        with gr.Row():
            with gr.Column(scale=4, min_width=280):
                panel = PhotoPanel(models, seen, seed)
            with gr.Column(scale=8, min_width=320):
                desk = Desk(models, passing, seen, known, panel.seed)
                steps: list[TabWork] = []
                with gr.Tabs(elem_id="tabs"):
                    for name, add in TABS.items():
                        with gr.Tab(name, render_children=True) as tab:
                            steps.append(add(desk))
                        if (again := steps[-1].opened) is not None:
                            tab.select(
                                again.work,
                                list(again.inputs),
                                list(again.outputs),
                                concurrency_id=LAMP,
                                show_progress="hidden",
                                api_visibility="private",
                            )
        for listener in panel.listeners:
            for step in steps:
                listener = listener.then(
                    step.work,
                    list(step.inputs),
                    list(step.outputs),
                    concurrency_id=MODELS,
                    api_visibility="private",
                )
    return page


@contextmanager
def opened(models: Models, passing: Passing, host: str, port: int, seed: int = 0) -> Iterator[str]:
    """The page at an address of this machine, which is given; closed at the end.

    Raises OSError where the port is taken.
    """
    page = build(models, passing, seed)
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=MOST_BYTES,
        state_session_capacity=VISITORS,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        inbrowser=False,
        inline=False,
        theme=gr.themes.Default(
            primary_hue="amber",
            neutral_hue="slate",
            # gradio's files of weight 600 lack most letters
            font=[gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), gr.themes.Font("sans-serif")],
        ),
        css=text_of("page.css"),
    )
    passing.stay()
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)
