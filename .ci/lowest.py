"""Prints a constraints file: each requirement of setup.cfg, and of its extra "dev", at its lower bound."""

import configparser
import re
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?\s*>=\s*(?P<lowest>[\w.]+)[^;]*(?P<marker>;.*)?")


def lowest(setup_cfg: Path) -> list[str]:
    """``name==lowest`` of each requirement, with its marker. Raises ValueError for one without a lower bound."""
    settings = configparser.ConfigParser()
    settings.read_string(setup_cfg.read_text(encoding="utf-8"))
    lines = f"{settings['options']['install_requires']}\n{settings['options.extras_require']['dev']}".splitlines()
    found = []
    for line in filter(None, map(str.strip, lines)):
        match = REQUIREMENT.fullmatch(line)
        if match is None:
            raise ValueError(f"{setup_cfg}: {line!r} names no lower bound: write it as NAME >= VERSION")
        found.append(f"{match['name']}=={match['lowest']} {match['marker'] or ''}".strip())
    return found


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parents[1] / "setup.cfg")))
