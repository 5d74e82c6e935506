"""One meaning each: no two classes or constants of one name in the three packages."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jdap", "data_prep", "benchmarks")
#: Names that stand in several files and mean the same in each.
SAME = {
    *("COMMANDS", "T"),  # what a program has; a type of anything
    *("CODEC", "DEPTH", "OTHER", "RGB", "STILL", "TRUE"),  # words for what a row of a table is about
    *("ENCODER", "PROJECTION", "INDEX"),  # names of folders and files
    *("BOUNCE", "KNEE", "LUMINANCE", "MM_PER_UNIT"),  # of light and of files
    *("EYE_CORNERS", "FAILED", "GUIDANCE", "SPLITS", "WAIT_S"),
}


def names(tree: ast.Module) -> set[str]:
    """Public classes and constants at the top of a module."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {x.id for target in targets for x in ast.walk(target) if isinstance(x, ast.Name)}
    return {name for name in found if name[0].isupper()}


def homes(root: Path) -> dict[str, list[str]]:
    """Name → the files that define it; what ships is no module of ours."""
    found = defaultdict(list)
    for path in sorted(p for package in PACKAGES for p in (root / package).rglob("*.py") if "assets" not in p.parts):
        for name in names(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].append(path.relative_to(root).as_posix())
    return found


def test_a_name_has_one_meaning():
    twice = {name: files for name, files in homes(ROOT).items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in SAME} == {}
    assert set(twice) >= SAME  # none that is no longer needed


def test_a_planted_one_is_found(tmp_path):
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("SIZE, _own = 1, 2\nclass Video: ...\n")
    assert {name: len(files) for name, files in homes(tmp_path).items()} == {"SIZE": 3, "Video": 3}
