"""What the documents say of the repository is there: links, pages, rooms, names."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import jdap

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
OUTSIDE = ("http://", "https://", "mailto:")


def pages() -> list[Path]:
    """Every Markdown file that is ours."""
    ours = (".github", "benchmarks", "data_prep", "docs", "examples", "jdap")
    return sorted([*ROOT.glob("*.md"), *(p for folder in ours for p in (ROOT / folder).rglob("*.md"))])


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``: headings, as they are turned into anchors by what shows Markdown."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    found = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if link.startswith(OUTSIDE):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# What is there?\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#what-is-there) [b](gone.md) [c](there.md#no-heading) [d](https://example.org) [e](#f)"
    )
    assert broken_links(page) == ["gone.md", "there.md#no-heading", "#f"]


def test_no_picture_is_heavy():
    found = [p for p in (ROOT / "docs").iterdir() if p.suffix in (".jpg", ".png")]
    assert len(found) > 10
    assert [p.name for p in found if p.stat().st_size > 400_000] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


#: Pages for newcomers, in which words of ours stand in italics where they come first.
TAUGHT = ("README.md", "docs/index.md", "docs/tutorial.md", "docs/architecture.md")
ITALICS = re.compile(r"(?<![*\w])\*(?![*\s])([^*\n]+)\*(?![*\w])")


def test_words_in_italics_are_in_the_glossary():
    entries = {word.lower() for word in re.findall(r"^\*\*(.+?)\.\*\*", _source("docs/glossary.md"), re.MULTILINE)}
    entries |= {"frame"}  # of a depth
    used = {word.lower() for page in TAUGHT for word in ITALICS.findall(_source(page))} - {"italics"}
    assert len(used) > 10
    assert {word for word in used if word not in entries and word.removesuffix("s") not in entries} == set()


def test_the_glossary_is_in_the_order_of_the_alphabet():
    entries = [word.lower() for word in re.findall(r"^\*\*(.+?)\.\*\*", _source("docs/glossary.md"), re.MULTILINE)]
    assert entries == sorted(entries)


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    named = set(LINK.findall(index))
    assert {p.name for p in (ROOT / "docs").glob("*.md")} - named - {"index.md"} == set()


@pytest.mark.parametrize("package", ["jdap", "data_prep", "benchmarks"])
def test_the_architecture_names_every_room_and_no_other(package):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    named = re.findall(r"^\| `([^`]+)` \|", next(s for s in section if s.startswith(f"{package}:")), re.MULTILINE)
    home = ROOT / package
    rooms = {f"{p.parent.relative_to(home).as_posix()}/" for p in home.rglob("__init__.py")} - {"./"}
    files = {p.name for p in home.glob("*.py") if not p.name.startswith("__")}
    shelves = {f"{p.name}/" for p in home.iterdir() if p.name in ("assets", "configs")}
    assert sorted(named) == sorted(rooms | files | shelves)


def _source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_api_pages_name_what_is_there():
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "api").glob("*.md"))
    modules = re.findall(r"automodule:: (\S+)", text)
    names = re.findall(r"^   (jdap\.\S+)$", text, re.MULTILINE)
    assert modules
    assert names
    for name in names:
        module, _, member = name.rpartition(".")
        assert module in modules, name
        tree = ast.parse(_source(f"{module.replace('.', '/')}.py"))
        assert member in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}, name


#: What others may build on: rooms of which every module has its place on an API page, and files.
PUBLIC = ("callbacks", "diffusion", "faces", "light", "media", "metrics", "models", "photos", "pipelines")
PUBLIC += ("pose", "shape", "shards", "stages")
PUBLIC_FILES = ("batch", "choices", "depth", "geometry", "srgb", "units", "data/curriculum", "data/modules")
INTERNAL = "jdap.stages.parts."


def public_modules() -> set[str]:
    files = [ROOT / "jdap" / f"{name}.py" for name in PUBLIC_FILES]
    files += [p for room in PUBLIC for p in (ROOT / "jdap" / room).rglob("*.py") if p.name != "__init__.py"]
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files}
    return {name for name in names if not name.startswith(INTERNAL)}


def test_the_api_pages_name_every_public_module_once():
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "api").glob("*.md"))
    assert sorted(re.findall(r"automodule:: (\S+)", text)) == sorted(public_modules())
    front_door = ast.literal_eval(re.search(r"^_WHERE = (\{.*?\})", _source("jdap/__init__.py"), re.M | re.S)[1])
    assert {f"jdap.{module}" for module in front_door.values()} <= public_modules()


@pytest.mark.slow
def test_the_api_pages_are_built_without_a_warning(tmp_path):
    for needed in ("sphinx", "myst_parser"):
        pytest.importorskip(needed, reason=f"needs {needed}: pip install -e '.[dev]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-W", "--keep-going", "docs/api", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PortraitPipeline" in (tmp_path / "pipelines.html").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_of_the_paper():
    cited = yaml.safe_load(_source("CITATION.cff"))
    assert (cited["version"], cited["license"]) == (jdap.__version__, "Apache-2.0")
    paper = cited["preferred-citation"]
    assert paper["title"] in _source("README.md")
    assert paper["authors"][0]["family-names"] == "Ji"


def test_the_lowest_versions_are_those_that_the_bounds_allow(tmp_path):
    lowest = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["lowest"]
    setup_cfg = tmp_path / "setup.cfg"
    setup_cfg.write_text(
        "[options]\ninstall_requires =\n    # a reason\n    one[more] >= 1.2, < 3\n"
        "    two >= 2 ; python_version < '4'\n"
        "[options.extras_require]\ndev =\n    three >= 0.3rc1\n"
    )
    found = [Requirement(line) for line in lowest(setup_cfg)]
    assert [(r.name, str(r.specifier)) for r in found] == [("one", "==1.2"), ("two", "==2"), ("three", "==0.3rc1")]
    assert str(found[1].marker) == 'python_version < "4"'
    assert lowest(ROOT / "setup.cfg")
    setup_cfg.write_text("[options]\ninstall_requires =\n    one < 3\n[options.extras_require]\ndev =\n")
    with pytest.raises(ValueError, match="one < 3"):
        lowest(setup_cfg)
