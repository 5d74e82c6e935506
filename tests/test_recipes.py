"""The recipes of ``docs/recipes.md`` run as they stand there, with the weights that ship."""

import re
import shlex
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.io import wavfile

from jdap.__main__ import main
from jdap.io.assets import resolve

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = {
    title: re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for title, text in (part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
}
#: Fewer steps and frames than the page says: whether it runs is asked, not how good it is.
FASTER = {"steps=20": "steps=2", "frames=50": "frames=3", "ensemble=8": "ensemble=2"}
SIZE = 128
SECONDS = 0.5

#: What each recipe writes.
WRITTEN = {
    "The head out of any photo": ["head.png"],
    "Depth of a head": ["depth.png"],
    "Depth, and how sure it is": ["depth.png", "uncertainty.png"],
    "All heads of a folder": ["heads/a.npy", "heads/b.npy"],
    "A portrait for a depth map": ["posed.png"],
    "New portraits of a person": ["new0.png", "new3.png", "new0.depth.png", "new3.depth.png"],
    "Half of a face hidden": ["edited.png"],
    "A lamp from the left": ["relit.png"],
    "The light of another photo": ["relit.png"],
    "A lamp that goes round": ["turn.mp4"],
    "A mesh, and a page that shows it": ["head.glb", "head.html"],
    "A clip that talks": ["talk.mp4", "talk.depth.mkv"],
    "Weights of your own": ["depth.png"],
    "A GPU, and half of the memory": ["new.png"],
}
#: Those that take longer than the rest, or need the face finder.
SLOW = {"A clip that talks", "New portraits of a person", "A lamp that goes round", "A GPU, and half of the memory"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the recipes are about."""
    monkeypatch.chdir(tmp_path)
    portrait = Image.open(resolve("shipped:talk/portrait.png")).convert("RGB").resize((2 * SIZE, 2 * SIZE))
    portrait.save("head.png")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("other.png")
    Path("heads").mkdir()
    for name in "ab":
        portrait.save(f"heads/{name}.png")
    tone = 0.1 * np.sin(np.arange(round(16000 * SECONDS)) / 10)
    wavfile.write("speech.wav", 16000, (tone * 32767).astype(np.int16))
    return tmp_path


def follow(title: str) -> None:
    """Run a recipe, fast; what it writes is there then."""
    (code,) = RECIPES[title]
    for slow, fast in FASTER.items():
        code = code.replace(slow, fast)
    exec(compile(code, f"docs/recipes.md: {title}", "exec"), {})
    for name in WRITTEN[title]:
        assert Path(name).stat().st_size > 0, name


def test_every_recipe_is_short_and_followed():
    assert list(RECIPES) == list(WRITTEN)
    for title, (code,) in RECIPES.items():
        lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
        assert len(lines) < 10, title


@pytest.mark.parametrize("title", [t for t in WRITTEN if t not in SLOW][1:])
def test_a_recipe(title: str, folder: Path) -> None:
    if title == "Weights of your own":
        shutil.copytree(resolve("shipped:image-tiny"), "out/image/weights")
    follow(title)
    for name in WRITTEN[title]:
        if name.endswith(".png"):
            side = 2 * SIZE if name == "relit.png" else SIZE
            assert Image.open(name).size == (side, side)
    if title == "All heads of a folder":
        depth = np.load("heads/a.npy")
        assert -1 <= depth.min() < -0.5 < 0.9 < depth.max() <= 1
    if title == "A mesh, and a page that shows it":
        assert len(trimesh.load_scene("head.glb").dump()[0].faces) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("title", sorted(SLOW))
def test_a_recipe_that_takes_longer(title: str, folder: Path) -> None:
    follow(title)
    for name in (name for name in WRITTEN[title] if name.endswith((".mp4", ".mkv"))):
        with av.open(name) as film:
            frames = sum(1 for _ in film.decode(video=0))
        assert frames == (3 if name == "turn.mp4" else round(25 * SECONDS + 0.4))


def test_the_head_is_cut_out_of_a_photo(folder: Path, assets: Path) -> None:
    Image.open(assets / "portraits" / "astronaut.png").convert("RGB").save("photo.jpg")
    Path("head.png").unlink()
    follow("The head out of any photo")
    assert Image.open("head.png").size == (512, 512)


@pytest.mark.slow
def test_weights_of_your_own_are_trained_as_the_page_says(folder: Path) -> None:
    (command,) = re.findall(r"^```sh\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    command = command.replace("\\\n", " ")
    words = [{"out/mine": "shipped:shards/train", "2000": "2"}.get(word, word) for word in shlex.split(command)]
    assert main([*words[1:], "--data.batch_size", "4", "--trainer.accelerator", "cpu"]) == 0
    follow("Weights of your own")
