"""``--print_config`` of commands whose options argparse reads; those that read YAML files have it by jsonargparse."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

PRINT_CONFIG = "--print_config"


def as_yaml(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """What ``words`` and the parser's defaults make of its options, as YAML; what must be given and is not is null."""
    import yaml  # here, for no command needs it otherwise

    for action in parser._actions:
        action.required = False
        if not action.option_strings:
            action.nargs = "*" if action.nargs in ("+", "*") else "?"
    for group in parser._mutually_exclusive_groups:
        group.required = False
    found = vars(parser.parse_args(words))
    del found[PRINT_CONFIG.strip("-")]
    return yaml.safe_dump({name: _plain(value) for name, value in found.items()}, sort_keys=False, allow_unicode=True)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
