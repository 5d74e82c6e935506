"""Who may import whom: the floors of the house, and how they are read off the files' syntax trees."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jdap", "data_prep", "benchmarks")
#: Words of the domain, and files: they import nothing of ours (a batch knows the units).
LEAVES = {
    "jdap.choices",
    "jdap.configs",
    "jdap.units",
    "jdap.depth",
    "jdap.geometry",
    "jdap.srgb",
    "jdap.blur",
    "jdap.batch",
    "jdap.io",
}
#: What data preparation takes of jdap: never training, and of networks the parser of heads and the embedding of faces.
FOR_PREPARATION = {*LEAVES, "jdap.shards", "jdap.media", "jdap.faces", "jdap.shape", "data_prep.choices"}
FOR_PREPARATION -= {"jdap.batch", "jdap.configs"}
BENCHMARKS = {
    *("jdap", "data_prep", "benchmarks.choices", "benchmarks.report", "benchmarks.answers"),
    *("benchmarks.clips", "benchmarks.counts", "benchmarks.loading", "benchmarks.resumable"),
}
#: room → what it may import of ours beside itself. The longest prefix decides. A room stands below those that may
#: import it, so whatever imports a room that comes later in this list runs back up the stairs.
RULES: dict[str, set[str]] = {
    "jdap.units": set(),
    **{leaf: set() for leaf in sorted(LEAVES - {"jdap.units", "jdap.batch"})},
    "jdap.batch": {"jdap.units"},
    "jdap.small_unet": {"jdap.io"},
    "jdap.shards": {"jdap.io", "jdap.depth", "jdap.units"},
    "jdap.media": {"jdap.choices", "jdap.io", "jdap.units"},
    "jdap.faces": {"jdap.choices", "jdap.io", "jdap.geometry", "jdap.small_unet"},
    "jdap.shape": LEAVES,
    "jdap.light": LEAVES | {"jdap.shape"},
    "jdap.models": LEAVES,
    "jdap.diffusion": LEAVES,
    "jdap.metrics": LEAVES,
    "jdap.data": LEAVES | {"jdap.shards"},
    "jdap.data.caching": LEAVES | {"jdap.shards", "jdap.data", "jdap.models"},  # makes latents, so it needs a codec
    # New light falls on what the parser says is the person.
    "jdap.pipelines": LEAVES
    | {"jdap.faces.parser_net", "jdap.faces.parsing", "jdap.shape", "jdap.light", "jdap.models", "jdap.diffusion"}
    | {"jdap.metrics"},  # depth is aligned as where it is measured
    "jdap.photos": LEAVES | {"jdap.faces", "jdap.media", "jdap.shape", "jdap.light", "jdap.pipelines"},
    "jdap.stages.settings": LEAVES | {"jdap.diffusion"},
    "jdap.stages.parts": LEAVES
    | {"jdap.stages.settings"}
    | {"jdap.models", "jdap.diffusion", "jdap.metrics", "jdap.pipelines"},
    "jdap.stages": LEAVES
    | {"jdap.stages.parts", "jdap.stages.settings", "jdap.models", "jdap.diffusion", "jdap.metrics", "jdap.pipelines"},
    "jdap.callbacks": LEAVES | {"jdap.stages", "jdap.metrics", "jdap.media", "jdap.pipelines"},
    "data_prep.machine": set(),
    "data_prep.choices": set(),
    "data_prep.store": {"jdap.io", "data_prep.machine"},
    "data_prep.head": FOR_PREPARATION,
    "data_prep.video": FOR_PREPARATION,
    "data_prep.fit": FOR_PREPARATION | {"data_prep.head"},
    # Posing fits the head model, which is preparation's: this room alone of jdap knows it, and commands stand on it.
    "jdap.pose": LEAVES
    | {"jdap.faces", "jdap.media", "jdap.shape", "jdap.models.audio", "jdap.diffusion", "jdap.pipelines", "jdap.photos"}
    | {"data_prep.head", "data_prep.fit"},
    "jdap.app": LEAVES
    | {"jdap.faces", "jdap.media", "jdap.shape", "jdap.light", "jdap.models"}
    | {"jdap.pipelines", "jdap.photos", "jdap.pose"},
    "jdap.app.page": LEAVES | {"jdap.app", "jdap.pose.change"},  # what visitors see: it shows what the room above made
    "jdap.commands": {"jdap"},
    "jdap.__main__": {"jdap.commands"},
    "jdap": set(),
    "data_prep.studio": FOR_PREPARATION | {"data_prep.head"},
    "data_prep.clips": FOR_PREPARATION
    | {
        "data_prep.head",
        "data_prep.video",
        "data_prep.fit",
        "data_prep.store",
        "data_prep.machine",
    },
    # Photos are read as they are for inference; those two files of the room know no network.
    "data_prep.photos": FOR_PREPARATION
    | {
        "jdap.photos.read",
        "jdap.photos.folder",
        "data_prep.head",
        "data_prep.video",
        "data_prep.fit",
        "data_prep.clips",
        "data_prep.machine",
    },
    "data_prep.engines": FOR_PREPARATION
    | {
        "data_prep.video",
        "data_prep.clips",
        "data_prep.photos",
        "data_prep.studio",
        "data_prep.store",
        "data_prep.machine",
    },
    "data_prep.scans": FOR_PREPARATION
    | {
        "data_prep.head",
        "data_prep.video",
        "data_prep.fit",
        "data_prep.studio",
        "data_prep.clips",
        "data_prep.engines",
    },
    "data_prep.folders": FOR_PREPARATION | {"data_prep.clips", "data_prep.engines", "data_prep.store"},
    "data_prep.convert": FOR_PREPARATION | {"data_prep.head", "data_prep.video", "data_prep.fit", "data_prep.scans"},
    "data_prep.options": {
        "jdap.choices",
        "data_prep.choices",
        "data_prep.machine",
    },  # help is quick: nothing that needs torch
    "data_prep.commands": FOR_PREPARATION | {"data_prep"},
    "data_prep.__main__": {"data_prep.commands"},
    "data_prep": set(),
    "benchmarks.choices": set(),
    "benchmarks.options": {
        "jdap.choices",
        "jdap.configs",
        "jdap.io",
        "jdap.commands",
        "benchmarks.choices",
        "data_prep.choices",
    },
    "benchmarks.report": {"jdap"},
    "benchmarks.answers": {"benchmarks.report"},
    "benchmarks.clips": {"jdap"},
    "benchmarks.counts": {"jdap"},
    "benchmarks.loading": {"jdap"},
    "benchmarks.resumable": set(),
    "benchmarks.cost": BENCHMARKS,
    "benchmarks.codec": BENCHMARKS | {"benchmarks.cost.timing"},
    "benchmarks.depth": BENCHMARKS,
    "benchmarks.steadiness": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.fit": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.modes": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.mouth": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.pose": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.parser": BENCHMARKS | {"benchmarks.fit"},
    "benchmarks.likeness": BENCHMARKS | {"benchmarks.pose"},
    "benchmarks.speaking": BENCHMARKS,
    "benchmarks.relight": BENCHMARKS | {"benchmarks.depth"},
    "benchmarks.talking": BENCHMARKS | {"benchmarks.depth", "benchmarks.modes", "benchmarks.mouth"},
    "benchmarks.page": BENCHMARKS | {"benchmarks.modes", "benchmarks.mouth", "benchmarks.talking"},
    "benchmarks.__main__": {"benchmarks"},
    "benchmarks": set(),
}
#: Rooms at the top: nobody imports them but the program that they belong to. All three programs are run by one.
COMMANDS = ("jdap.commands", "data_prep.commands", "data_prep.options", "benchmarks.options")
RUNNER = "jdap.commands.dispatch"
#: Heavy or unmaintained packages → the file (or the two) that imports them.
ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "gradio": "jdap/app/page/door.py",
    "bitsandbytes": "jdap/stages/parts/optimizers.py",
    "peft": "jdap/models/image/lora.py",
    "decord": ("data_prep/video/decord.py", "benchmarks/cost/peer_scripts.py"),  # as scripts of others use it
    "jinja2": "benchmarks/page/page.py",
    "mediapipe": ("jdap/faces/landmarker.py", "benchmarks/cost/peer_scripts.py"),
    "onnxruntime": "jdap/io/onnx.py",
    "numba": "jdap/shape/compiled.py",
    "zlib_ng": "jdap/shards/png.py",
    "threadpoolctl": "jdap/io/threads.py",
    "scenedetect": "data_prep/video/shots.py",
    "dlib": "jdap/faces/embedding.py",
    "pillow_heif": "benchmarks/depth/heic.py",
    "h5py": "data_prep/convert/layouts.py",
    "ray": "data_prep/engines/ray_cluster.py",
    "trimesh": ("data_prep/scans/files.py", "jdap/shape/files.py"),
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


def files(root: Path) -> list[Path]:
    """The modules of a tree. What ships is no module of ours: weights folders hold a ``pipeline.py`` for diffusers."""
    return sorted(p for package in PACKAGES for p in (root / package).rglob("*.py") if "assets" not in p.parts)


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def room_of(module: str) -> str:
    """The room that a module belongs to: the longest prefix that has a rule."""
    return max((part for part in RULES if within(module, part)), key=len)


def ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def may(importer: str, module: str) -> bool:
    home, other = room_of(importer), room_of(module)
    if home == "jdap.stages" == other:
        return module in ("jdap.stages", importer)  # stages do not know each other
    if home == other:
        return True
    if module == RUNNER:
        return home in COMMANDS or home.endswith(".__main__")
    if other in COMMANDS and home not in (*COMMANDS, f"{other.split('.')[0]}.__main__"):
        return False
    if module in PACKAGES:  # the package itself holds its name and version alone
        return home not in LEAVES and (module == importer.split(".")[0] or module in RULES[home])
    return any(within(module, one) for one in RULES[home])


def doors(heavy: str, here: str) -> tuple[str, ...]:
    """The files that may import a package."""
    found = ONLY_IN.get(heavy, here)
    return (found,) if isinstance(found, str) else found


def violations(root: Path) -> list[str]:
    found = []
    for path in files(root):
        here = path.relative_to(root).as_posix()
        importer = module_name(path, root)
        for module in sorted(imported(path, root)):
            if ours(module) and not may(importer, module):
                found.append(f"{here} imports {module}")
            heavy = module.split(".")[0]
            if here not in doors(heavy, here):
                found.append(f"{here} imports {heavy}: only {' and '.join(doors(heavy, here))} may")
    return found


def arrows(root: Path) -> dict[str, set[str]]:
    """Module → the modules of ours that it imports."""
    return {module_name(p, root): {m for m in imported(p, root) if ours(m)} for p in files(root)}


def folders(root: Path) -> dict[str, set[str]]:
    """Folder → the folders that its files import from; a file right in a package is a folder of its own."""
    homes = {}
    for path in files(root):
        module = module_name(path, root)
        folder = ".".join(path.parent.relative_to(root).parts)
        homes[module] = module if folder in PACKAGES else folder
    found: dict[str, set[str]] = {}
    for module, targets in arrows(root).items():
        found.setdefault(homes[module], set()).update(homes.get(target, target) for target in targets)
    return {home: targets - {home} for home, targets in found.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of nodes each of which leads to all others of its set: those that reach themselves, by what they reach."""
    reached = {node: set(targets) for node, targets in graph.items()}
    for via in graph:
        for node in graph:
            if via in reached[node]:
                reached[node] |= reached[via]
    found: list[set[str]] = []
    for node in graph:
        circle = {other for other in graph if other in reached[node] and node in reached[other]}
        if node in reached[node] and circle not in found:
            found.append(circle)
    return found


def climbs(root: Path) -> list[str]:
    """Imports of a room that stands on a higher floor."""
    floor = {room: i for i, room in enumerate(RULES)}
    return [
        f"{importer} climbs to {module}"
        for importer, targets in sorted(arrows(root).items())
        for module in sorted(targets)
        if module not in PACKAGES and floor[room_of(module)] > floor[room_of(importer)]
    ]
