"""What each pixel of a head's square shows: skin, hair, glasses, a hat, cloth or background.

The parser that ships (:mod:`jdap.faces.parser_net`), or a network of your own in ONNX (:mod:`jdap.faces.parser_onnx`).
"""

from __future__ import annotations

from pathlib import Path

import torch

from jdap.choices import NO_PARSER, SHIPPED_PARSER
from jdap.faces.parser_net import CONFIG_FILE, WEIGHTS_FILE, load_studio_parser
from jdap.faces.parser_onnx import OnnxParser
from jdap.faces.parsing import Parser, ParserError
from jdap.io.assets import SHIPPED_FOLDER

ONNX_SUFFIX = ".onnx"


def parser_files(name: str) -> list[Path]:
    """The files that decide what a parser other than ``none`` says, by the name that :func:`load_parser` takes."""
    folder = SHIPPED_FOLDER / "parser" if name == SHIPPED_PARSER else Path(name)
    if folder.suffix == ONNX_SUFFIX:
        return [folder, folder.with_suffix(".json")]
    return [folder / WEIGHTS_FILE, folder / CONFIG_FILE]


def load_parser(name: str, device: torch.device | str = "cpu") -> Parser | None:
    """The parser that an option names: ``none``, ``shipped``, a folder of its kind, or a file of ONNX.

    Raises :class:`ParserError` for what is none of these, and ImportError, with the extra to install, where a file of
    ONNX cannot be run.
    """
    if name == NO_PARSER:
        return None
    if name == SHIPPED_PARSER:
        return load_studio_parser(SHIPPED_FOLDER / "parser", device)
    path = Path(name)
    if path.suffix == ONNX_SUFFIX and path.is_file():
        return OnnxParser(path)
    if path.is_dir():
        return load_studio_parser(path, device)
    raise ParserError(f"{name}: no parser; name {NO_PARSER}, {SHIPPED_PARSER}, a file .onnx, or a parser's folder")
