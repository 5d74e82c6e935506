"""The floors of the house (:mod:`import_rules`), held over every file."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from import_rules import (
    ONLY_IN,
    PACKAGES,
    ROOT,
    RULES,
    arrows,
    circles,
    climbs,
    doors,
    files,
    folders,
    imported,
    module_name,
    room_of,
    violations,
    within,
)


def test_everybody_imports_only_what_they_may():
    assert violations(ROOT) == []


def test_no_arrow_runs_back_up():
    assert climbs(ROOT) == []


@pytest.mark.parametrize("graph", [arrows, folders])
def test_nothing_imports_itself_in_a_circle(graph):
    assert circles(graph(ROOT)) == []


def test_every_room_stands_above_what_it_may_import():
    order = list(RULES)
    for room, allowed in RULES.items():
        later = order[order.index(room) + 1 :]
        assert not [one for one in allowed if one in later and one not in PACKAGES], room


def test_every_file_has_a_room():
    names = {module_name(path, ROOT) for path in files(ROOT)}
    assert {name for name in names if room_of(name) in PACKAGES} == set(PACKAGES)
    assert {room for room in RULES if not any(within(name, room) for name in names)} == set()
    for heavy in ONLY_IN:
        for path in doors(heavy, ""):
            used = {name.split(".")[0] for name in imported(ROOT / path, ROOT)}
            assert heavy in used, f"{path} no longer needs a rule"


def build(root: Path, names: Iterable[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        for folder in path.parent.relative_to(root).parents:
            if folder.parts:
                (root / folder / "__init__.py").touch()
        (path.parent / "__init__.py").touch()


HOUSE = (
    *("jdap/batch.py", "jdap/depth.py", "jdap/geometry.py", "jdap/units.py", "jdap/io/assets.py", "jdap/io/files.py"),
    *("jdap/shards/schema.py", "jdap/media/sound.py", "jdap/faces/landmarker.py", "jdap/photos/paste.py"),
    *(
        "jdap/models/codec.py",
        "jdap/models/image/attention.py",
        "jdap/models/clip/unet.py",
        "jdap/diffusion/onestep.py",
    ),
    *("jdap/data/shards.py", "jdap/metrics/lips.py", "jdap/pipelines/portrait.py", "jdap/callbacks/guard.py"),
    *("jdap/stages/image.py", "jdap/stages/codec.py", "jdap/stages/parts/optimizers.py", "jdap/commands/train.py"),
    *("jdap/__main__.py", "data_prep/store.py", "data_prep/video/video.py", "data_prep/video/shots.py"),
    *("data_prep/head/model.py", "data_prep/fit/fit.py", "data_prep/clips/clip.py", "data_prep/commands/verify.py"),
    *("benchmarks/report.py", "benchmarks/depth/depth.py", "benchmarks/modes/modes.py"),
)


@pytest.fixture
def house(tmp_path):
    """An empty house to break rules in."""
    build(tmp_path, HOUSE)
    assert violations(tmp_path) == climbs(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("path", "code", "module"),
    [
        ("jdap/depth.py", "from jdap.shards.schema import Record", "jdap.shards.schema"),
        ("jdap/batch.py", "from jdap import depth, units", "jdap.depth"),
        ("jdap/units.py", "import jdap", "jdap"),
        ("jdap/io/files.py", "from jdap.units import FPS", "jdap.units"),
        ("jdap/shards/schema.py", "from jdap.batch import ImageBatch", "jdap.batch"),
        ("jdap/models/codec.py", "import jdap.diffusion", "jdap.diffusion"),
        ("jdap/models/__init__.py", "from .. import diffusion", "jdap.diffusion"),
        ("jdap/models/codec.py", "from ..pipelines import x", "jdap.pipelines"),
        ("jdap/models/codec.py", "from jdap.shards import schema", "jdap.shards.schema"),
        ("jdap/diffusion/onestep.py", "def f():\n    from jdap.models.codec import Codec", "jdap.models.codec"),
        ("jdap/data/shards.py", "from jdap.metrics import x", "jdap.metrics"),
        ("jdap/metrics/lips.py", "import jdap.data.shards as s", "jdap.data.shards"),
        ("jdap/pipelines/portrait.py", "from jdap.stages.image import x", "jdap.stages.image"),
        ("jdap/pipelines/portrait.py", "from jdap.stages import x", "jdap.stages"),
        ("jdap/pipelines/portrait.py", "from jdap.faces.landmarker import x", "jdap.faces.landmarker"),
        ("jdap/stages/image.py", "from jdap.data import shards", "jdap.data.shards"),
        ("jdap/stages/image.py", "from jdap.stages.codec import x", "jdap.stages.codec"),
        ("jdap/stages/image.py", "if True:\n    from . import codec", "jdap.stages.codec"),
        ("jdap/stages/image.py", "import jdap.commands.train", "jdap.commands.train"),
        ("jdap/stages/image.py", "from jdap.callbacks import guard", "jdap.callbacks.guard"),
        ("jdap/stages/parts/optimizers.py", "from jdap.stages import image", "jdap.stages.image"),
        ("jdap/callbacks/guard.py", "from jdap.data import shards", "jdap.data.shards"),
        ("benchmarks/report.py", "from jdap.commands.train import x", "jdap.commands.train"),
        ("jdap/commands/train.py", "import data_prep.video.video", "data_prep.video.video"),
        ("jdap/commands/train.py", "import benchmarks", "benchmarks"),
        ("jdap/faces/landmarker.py", "from data_prep.video.video import x", "data_prep.video.video"),
        ("jdap/photos/paste.py", "from jdap.stages.image import x", "jdap.stages.image"),
        ("jdap/photos/paste.py", "from jdap.commands import train", "jdap.commands.train"),
        ("data_prep/video/video.py", "from jdap.batch import ImageBatch", "jdap.batch"),
        ("data_prep/video/video.py", "from jdap.models import codec", "jdap.models.codec"),
        ("data_prep/video/video.py", "import benchmarks", "benchmarks"),
        ("data_prep/head/model.py", "from data_prep.fit.fit import x", "data_prep.fit.fit"),
        ("data_prep/fit/fit.py", "from data_prep.clips import clip", "data_prep.clips.clip"),
        ("data_prep/clips/clip.py", "from data_prep.commands import verify", "data_prep.commands.verify"),
        ("benchmarks/depth/depth.py", "from benchmarks.modes import modes", "benchmarks.modes.modes"),
        ("benchmarks/depth/depth.py", "from data_prep.commands import verify", "data_prep.commands.verify"),
        (
            "data_prep/fit/fit.py",
            "import decord",
            "decord: only data_prep/video/decord.py and benchmarks/cost/peer_scripts.py may",
        ),
        ("data_prep/video/video.py", "import scenedetect", "scenedetect: only data_prep/video/shots.py may"),
        (
            "data_prep/video/video.py",
            "from mediapipe import x",
            "mediapipe: only jdap/faces/landmarker.py and benchmarks/cost/peer_scripts.py may",
        ),
        (
            "benchmarks/report.py",
            "def f():\n    import mediapipe",
            "mediapipe: only jdap/faces/landmarker.py and benchmarks/cost/peer_scripts.py may",
        ),
    ],
)
def test_a_broken_rule_is_found(house, path, code, module):
    (house / path).write_text(code)
    assert violations(house) == [f"{path} imports {module}"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("jdap/depth.py", "import torch\nfrom numpy import random"),
        ("jdap/models/clip/unet.py", "from jdap.models.image import attention\nfrom jdap import depth, units"),
        (
            "jdap/data/shards.py",
            "from jdap import __version__\nfrom jdap.io import files\nfrom jdap.shards import x",
        ),
        ("jdap/pipelines/portrait.py", "from jdap.models import codec\nimport jdap.diffusion"),
        ("jdap/callbacks/guard.py", "from jdap.stages.image import x\nfrom jdap import pipelines, metrics"),
        ("jdap/stages/image.py", "from jdap.stages.parts.optimizers import x"),
        ("jdap/commands/train.py", "from jdap.data import shards\nfrom jdap.stages.image import x"),
        ("jdap/__main__.py", "from jdap.commands.train import x"),
        (
            "data_prep/video/decord.py",
            "import decord\nfrom jdap.shards import schema\nfrom jdap import depth, geometry",
        ),
        ("data_prep/clips/clip.py", "from data_prep.video import video\nfrom data_prep import store"),
        ("data_prep/commands/verify.py", "from data_prep.clips import clip\nfrom jdap.io import files"),
        (
            "jdap/faces/landmarker.py",
            "import mediapipe as m\nfrom mediapipe.tasks import x\nfrom jdap.io import files",
        ),
        ("jdap/photos/paste.py", "from jdap.faces.landmarker import x\nfrom jdap.pipelines import y"),
        ("benchmarks/modes/modes.py", "from jdap.data.shards import x\nfrom benchmarks.depth import depth"),
    ],
)
def test_what_is_allowed_is_allowed(house, path, code):
    (house / path).write_text(code)
    assert violations(house) == climbs(house) == []


def test_an_arrow_that_runs_back_up_is_found(house):
    (house / "data_prep/head/model.py").write_text("def f():\n    from data_prep.clips.clip import Clip")
    assert climbs(house) == ["data_prep.head.model climbs to data_prep.clips.clip"]


def test_a_circle_of_files_is_found(house):
    build(house, ["jdap/photos/read.py", "jdap/photos/film.py"])
    (house / "jdap/photos/paste.py").write_text("from jdap.photos import read")
    (house / "jdap/photos/read.py").write_text("def f():\n    from jdap.photos.film import x")
    assert circles(arrows(house)) == []
    (house / "jdap/photos/film.py").write_text("if TYPE_CHECKING:\n    from jdap.photos.paste import x")
    assert circles(arrows(house)) == [{f"jdap.photos.{name}" for name in ("paste", "read", "film")}]
    assert circles(folders(house)) == []


def test_a_circle_of_folders_is_found(house):
    build(house, ["jdap/models/image/build.py", "jdap/models/loading.py"])
    (house / "jdap/models/image/attention.py").write_text("from jdap.models.loading import x")
    (house / "jdap/models/codec.py").write_text("from jdap.models.image.build import x")
    assert circles(arrows(house)) == []
    assert circles(folders(house)) == [{"jdap.models", "jdap.models.image"}]
