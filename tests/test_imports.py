"""Who may import whom: the rules of the architecture, held over every file by its syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jdap", "data_prep", "benchmarks")
#: They import no other module of ours; ``shipped`` finds files inside the package, ``fetch`` gets those that are not.
LEAVES = {
    "jdap.batch",
    "jdap.depth",
    "jdap.geometry",
    "jdap.schema",
    "jdap.shipped",
    "jdap.files",
    "jdap.fetch",
    "jdap.device",
    "jdap.remote",
}
#: part of the house → what it may import of ours, beside the leaves and itself. The longest prefix decides.
RULES: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "jdap": set(),
    "jdap.latents": {"jdap.schema"},
    "jdap.video": {"jdap.files"},
    "jdap.sound": {"jdap.schema"},
    "jdap.models": LEAVES,
    "jdap.diffusion": LEAVES,
    "jdap.faces": {"jdap.geometry", "jdap.fetch"},
    "jdap.photos": LEAVES | {"jdap.faces", "jdap.pipelines", "jdap.sound", "jdap.video"},
    "jdap.data": LEAVES | {"jdap.latents"},
    "jdap.metrics": LEAVES,
    "jdap.pipelines": LEAVES | {"jdap.models", "jdap.diffusion"},
    "jdap.stages": LEAVES | {"jdap.models", "jdap.diffusion", "jdap.metrics", "jdap.pipelines", "jdap.video"},
    "jdap.cli": {"jdap"},
    "jdap.train": {"jdap"},
    "jdap.cache": {"jdap"},
    "jdap.__main__": {"jdap"},
    "data_prep": {
        "jdap.schema",
        "jdap.latents",
        "jdap.depth",
        "jdap.geometry",
        "jdap.files",
        "jdap.fetch",
        "jdap.faces",
        "jdap.remote",
        "jdap.sound",
    },
    "benchmarks": {"jdap", "data_prep"},
}
#: how far a run is; what steps have in common; where networks come from; what a stage is made of
SHARED_BY_STAGES = {
    f"jdap.stages.{name}"
    for name in ("optimizers", "steps", "networks", "clip_networks", "clip_latents", "heard_lips", "sharding")
}
#: Heavy or unmaintained packages → the one file that imports them.
ONLY_IN = {
    "bitsandbytes": "jdap/stages/optimizers.py",
    "decord": "data_prep/video.py",
    "mediapipe": "jdap/faces/landmarker.py",
    "scenedetect": "data_prep/shots.py",
    "dlib": "jdap/metrics/identity.py",
    "h5py": "data_prep/morphable_layouts.py",
    "ray": "data_prep/engines/ray_cluster.py",
    "trimesh": "data_prep/scan_files.py",
}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, root: Path) -> set[str]:
    """The modules that a file imports anywhere in it, absolute; ``from a import b`` is a.b where that is a module."""
    found = set()
    package = module_name(path, root).split(".")[: None if path.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = root / base.replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                found.add(f"{base}.{alias.name}" if is_module else base)
    return found


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def part_of(module: str) -> str:
    """The part of the house that a module belongs to: the longest prefix that has a rule."""
    return max((part for part in RULES if within(module, part)), key=len)


def may(importer: str, module: str) -> bool:
    home = part_of(importer)
    if home in LEAVES or module.split(".")[0] not in PACKAGES:
        return module.split(".")[0] not in PACKAGES
    if home.startswith("jdap.stages") and within(module, "jdap.stages") and module != "jdap.stages":
        # Stages do not know each other; what runs beside them (callbacks) knows them, and all may use what they share.
        return importer.split(".")[2:] == ["callbacks"] or module in SHARED_BY_STAGES
    # The package itself holds its name and version alone.
    return module in ("jdap", home) or part_of(module) == home or any(within(module, one) for one in RULES[home])


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(p for package in PACKAGES for p in (root / package).rglob("*.py")):
        here = path.relative_to(root).as_posix()
        importer = module_name(path, root)
        for module in sorted(imported(path, root)):
            if not may(importer, module):
                found.append(f"{here} imports {module}")
            heavy = module.split(".")[0]
            if ONLY_IN.get(heavy, here) != here:
                found.append(f"{here} imports {heavy}: only {ONLY_IN[heavy]} may")
    return found


def test_everybody_imports_only_what_they_may():
    assert violations(ROOT) == []


def test_every_file_is_looked_at():
    names = {module_name(p, ROOT) for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    assert names >= LEAVES
    assert {"jdap.data.shards", "jdap.models.joint_unet", "jdap.stages.image", "data_prep.video"} <= names
    for heavy, path in ONLY_IN.items():
        assert heavy in {name.split(".")[0] for name in imported(ROOT / path, ROOT)}, f"{path} no longer needs a rule"


HOUSE = (
    *("jdap/__init__.py", "jdap/batch.py", "jdap/depth.py", "jdap/geometry.py", "jdap/schema.py", "jdap/shipped.py"),
    *("jdap/models/__init__.py", "jdap/models/codec.py", "jdap/diffusion/__init__.py", "jdap/data/__init__.py"),
    *("jdap/data/shards.py", "jdap/metrics/__init__.py", "jdap/pipelines/__init__.py", "jdap/stages/__init__.py"),
    *(
        "jdap/files.py",
        "jdap/fetch.py",
        "jdap/faces/__init__.py",
        "jdap/faces/landmarker.py",
        "jdap/photos/__init__.py",
    ),
    *("jdap/stages/image.py", "jdap/stages/codec.py", "jdap/stages/callbacks.py", "jdap/cli.py", "jdap/train.py"),
    *("data_prep/__init__.py", "data_prep/video.py", "data_prep/faces.py", "data_prep/shots.py"),
    "benchmarks/__init__.py",
)


@pytest.fixture
def house(tmp_path):
    """An empty house to break rules in."""
    for name in HOUSE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert violations(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("path", "code", "module"),
    [
        ("jdap/depth.py", "from jdap.schema import Record", "jdap.schema"),
        ("jdap/batch.py", "from jdap import depth", "jdap.depth"),
        ("jdap/schema.py", "import jdap", "jdap"),
        ("jdap/models/codec.py", "import jdap.diffusion", "jdap.diffusion"),
        ("jdap/models/__init__.py", "from .. import diffusion", "jdap.diffusion"),
        ("jdap/models/codec.py", "from ..pipelines import x", "jdap.pipelines"),
        ("jdap/diffusion/__init__.py", "def f():\n    from jdap.models.codec import Codec", "jdap.models.codec"),
        ("jdap/data/shards.py", "from jdap.metrics import x", "jdap.metrics"),
        ("jdap/metrics/__init__.py", "import jdap.data.shards as s", "jdap.data.shards"),
        ("jdap/pipelines/__init__.py", "from jdap.stages.image import x", "jdap.stages.image"),
        ("jdap/pipelines/__init__.py", "from jdap.metrics import x", "jdap.metrics"),
        ("jdap/stages/image.py", "from jdap.data import shards", "jdap.data.shards"),
        ("jdap/stages/image.py", "from jdap.stages.codec import x", "jdap.stages.codec"),
        ("jdap/stages/image.py", "if True:\n    from . import codec", "jdap.stages.codec"),
        ("jdap/stages/image.py", "import jdap.cli", "jdap.cli"),
        ("jdap/cli.py", "import data_prep.video", "data_prep.video"),
        ("jdap/faces/landmarker.py", "from data_prep.video import FPS", "data_prep.video"),
        ("jdap/faces/__init__.py", "from jdap.pipelines import x", "jdap.pipelines"),
        ("jdap/photos/__init__.py", "from jdap.stages.image import x", "jdap.stages.image"),
        ("jdap/pipelines/__init__.py", "from jdap.faces.landmarker import x", "jdap.faces.landmarker"),
        ("jdap/data/shards.py", "from data_prep import video", "data_prep.video"),
        ("jdap/cli.py", "import benchmarks", "benchmarks"),
        ("data_prep/video.py", "from jdap.batch import ImageBatch", "jdap.batch"),
        ("jdap/models/__init__.py", "from jdap.sound import open_sound", "jdap.sound"),
        ("data_prep/faces.py", "from jdap.models import codec", "jdap.models.codec"),
        ("data_prep/faces.py", "import benchmarks", "benchmarks"),
        ("data_prep/faces.py", "import decord", "decord: only data_prep/video.py may"),
        ("data_prep/video.py", "import scenedetect", "scenedetect: only data_prep/shots.py may"),
        ("data_prep/video.py", "from mediapipe.tasks import python", "mediapipe: only jdap/faces/landmarker.py may"),
        ("benchmarks/__init__.py", "def f():\n    import mediapipe", "mediapipe: only jdap/faces/landmarker.py may"),
    ],
)
def test_a_broken_rule_is_found(house, path, code, module):
    (house / path).write_text(code)
    assert violations(house) == [f"{path} imports {module}"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("jdap/depth.py", "import torch\nfrom numpy import random"),
        ("jdap/models/__init__.py", "from jdap.models.codec import x\nfrom . import codec\nfrom jdap import depth"),
        ("jdap/data/shards.py", "from jdap import __version__, shipped\nfrom jdap.batch import ImageBatch"),
        ("jdap/pipelines/__init__.py", "from jdap.models import codec\nimport jdap.diffusion"),
        ("jdap/stages/callbacks.py", "from jdap.stages.image import x\nfrom jdap import pipelines, metrics"),
        ("jdap/stages/image.py", "from jdap.stages.optimizers import share_done\nfrom jdap.stages.networks import x"),
        ("jdap/train.py", "from jdap.data import shards\nfrom jdap.stages.image import x"),
        ("data_prep/video.py", "import decord\nfrom data_prep import faces\nfrom jdap import schema, depth, geometry"),
        ("data_prep/faces.py", "from jdap.faces.landmarker import Landmarker\nfrom jdap import fetch, files"),
        ("jdap/faces/landmarker.py", "import mediapipe as mp\nfrom mediapipe.tasks import x\nfrom jdap import fetch"),
        ("jdap/photos/__init__.py", "from jdap.faces.landmarker import x\nfrom jdap.pipelines import y"),
        ("benchmarks/__init__.py", "from jdap.data.shards import x\nfrom data_prep import video"),
    ],
)
def test_what_is_allowed_is_allowed(house, path, code):
    (house / path).write_text(code)
    assert violations(house) == []
