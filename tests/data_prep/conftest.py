"""The head model and a studio, built once; a face model of five vertices in the layout of ICT-FaceKit's OBJ folder."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.head.model import MorphableModel, load_ict
from data_prep.studio.photograph import Studio

HOUSE = Path(__file__).resolve().parents[2]
NEUTRAL = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1.25]])
TINY_MODES = {
    "identity000": NEUTRAL * 1.125,
    "identity001": NEUTRAL + np.array([0.1, 0, 0]),
    "jawOpen": NEUTRAL - np.array([0, 0.2, 0]),
}


def write_obj(path: Path, vertices: np.ndarray) -> None:
    lines = ["# a head", "mtllib x.mtl", *(f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertices)]
    lines += [f"vt {u} {v}" for u, v in [(0, 0), (1, 0), (1, 1), (0, 1), (1.5, 0.5), (0.25, 0.25)]]
    # A quad of one material and a triangle of another, with texture corners of their own.
    lines += ["usemtl M_Face", "f 1/1 2/2 3/3 4/4", "usemtl M_Teeth", "f 5/6 1/5 3/2", ""]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="session")
def model(assets: Path) -> MorphableModel:
    """ICT-FaceKit's head."""
    return load_ict(assets / "ict_facekit")


@pytest.fixture(scope="session")
def room(assets: Path) -> Studio:
    """A studio on the CPU."""
    return Studio()


@pytest.fixture
def obj_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    for name, vertices in {"generic_neutral_mesh": NEUTRAL, **TINY_MODES}.items():
        write_obj(folder / f"{name}.obj", vertices)
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": ["jawOpen"]}))
    return folder


@pytest.fixture
def peak_of() -> Callable[[str], int]:
    """Runs code in a process of its own: by how many MiB its memory grows at most, from where it calls ``start()``."""

    def run(code: str) -> int:
        begin = "import resource\ndef rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        begin += "def start():\n    global begun\n    begun = rss()\n"
        whole = f"{begin}{code}\nprint((rss() - begun) // 1024)"
        done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, cwd=HOUSE, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    return run
