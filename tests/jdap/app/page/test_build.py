"""The page as gradio is told it: one queue, nothing for other programs, nothing that leaves the machine."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jdap.app.keeping import Passing
from jdap.app.models import Models
from jdap.choices import BY_MODEL, BY_WARP

pytest.importorskip("gradio", reason='needs gradio: pip install "jdap[app]"')

from jdap.app.page.build import TABS, build
from jdap.app.page.desk import LAMP, MODELS, note


@pytest.fixture(scope="module")
def config(models: Models) -> Iterator[dict[str, Any]]:
    with Passing.open() as passing:
        yield build(models, passing, seed=5).get_config_file()


def test_what_works_with_models_is_one_lane_and_the_lamp_another(models: Models) -> None:
    with Passing.open() as passing:
        page = build(models, passing)
    lanes = {fn.concurrency_id for fn in page.fns.values() if fn.queue and fn.inputs}
    assert {MODELS, LAMP} <= lanes
    assert all(
        fn.concurrency_limit in (1, "default") for fn in page.fns.values() if fn.concurrency_id in (MODELS, LAMP)
    )


def test_no_event_is_offered_to_other_programs(config: dict[str, Any]) -> None:
    assert config["dependencies"]
    assert {one["api_visibility"] for one in config["dependencies"]} == {"private"}


def test_tabs_and_seed_are_there(config: dict[str, Any]) -> None:
    parts = config["components"]
    assert [p["props"]["label"] for p in parts if p["type"] == "tabitem"] == list(TABS)
    assert [p["props"]["value"] for p in parts if p["type"] == "number"] == [5]


@pytest.mark.parametrize("installed", [True, False])
def test_without_weights_that_talk_a_photo_can_still_be_moved(models: Models, installed: bool) -> None:
    there = models if installed else replace(models, talking=None)
    with Passing.open() as passing:
        page = build(there, passing).get_config_file()
    parts = {p["props"].get("elem_id"): p["props"] for p in page["components"]}
    assert [way for _, way in parts["way"]["choices"]] == ([BY_WARP, BY_MODEL] if installed else [BY_WARP])
    assert parts["way"]["value"] == BY_WARP
    assert ("not installed" in (parts["way"]["info"] or "")) is not installed


def test_nothing_is_counted(config: dict[str, Any]) -> None:
    assert not config["analytics_enabled"]
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_what_a_file_says_is_no_html() -> None:
    assert "<b>" not in note("<b>bold</b>", bad=True)


def test_the_page_names_no_other_machine() -> None:
    for path in (Path(__file__).parents[4] / "jdap" / "app" / "page").iterdir():
        if path.suffix in (".html", ".css", ".js", ".py"):
            assert "://" not in path.read_text(encoding="utf-8"), path
