"""Strict loading of components: safetensors only, every key in its place, every number finite, or one clear error."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME, logging
from safetensors import safe_open
from torch import Tensor, nn

from jdap.io.assets import WeightsError as WeightsError

#: What pickles begin with: a zip archive, as torch.save writes it, or a bare pickle of protocol 2 to 5.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
#: What stands in a repository for a large file that has not been fetched.
_LFS = b"version https://git-lfs"
#: Names that pickled weights go by.
_PICKLE_NAMES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


def one_line(error: BaseException) -> str:
    """An error's message on one line and at a readable length: loaders of libraries quote whole networks."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} …"


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises :class:`WeightsError` where there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: missing; is {file.parent} a folder that save_pretrained wrote?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise WeightsError(f"{file}: must hold a JSON object")
    return data


@contextlib.contextmanager
def diffusers_unheard() -> Iterator[None]:
    """Within it diffusers warns of nothing: of what is an error here, or not so."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def load_strict(kind: Any, folder: str | Path, weights: str = SAFETENSORS_WEIGHTS_NAME) -> Any:
    """The ``kind`` that ``save_pretrained`` wrote to ``folder``: float32, in evaluation mode.

    ``kind`` is a model class of diffusers or transformers, ``weights`` the name of the file in the folder. Libraries
    fill what they miss with random numbers and a warning; here a missing, unexpected or misshapen tensor, or one that
    holds NaN or infinity, is a :class:`WeightsError` that names the folder and the keys.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    check_class(config, kind, folder / "config.json")
    files = weight_files(folder / weights)
    variant = re.fullmatch(r".*\.(\w+)\.safetensors", weights)
    try:
        _check_size(kind, config, folder / weights, files)
        with diffusers_unheard():  # what it would warn of is the error below
            model, info = kind.from_pretrained(
                str(folder),
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                ignore_mismatched_sizes=True,  # to be listed with the rest
                torch_dtype=torch.float32,
                **({"variant": variant[1]} if variant else {}),
            )
    except WeightsError:
        raise
    # Whatever a config makes a library's constructor stumble over (an index, a key, a division) is the config's fault.
    except Exception as error:
        raise WeightsError(f"{folder}: cannot be read as {kind.__name__}: {one_line(error)}") from error
    report(folder, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    check_finite(model.state_dict(), folder)
    return model.eval()


def _check_size(kind: Any, config: dict[str, Any], file: Path, parts: list[Path]) -> None:
    """Raises :class:`WeightsError` for a config whose network would take more memory than its weights can fill."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in kind.from_config(config).parameters())
    size = sum(part.stat().st_size for part in parts)
    if parameters > size:  # a byte each is less than any format of weights has
        raise WeightsError(f"{file.parent}: config.json asks for {parameters} parameters, {file.name} has {size} bytes")


def check_class(config: Mapping[str, Any], kind: Any, file: Path) -> None:
    """Raises :class:`WeightsError` where a config is of another class: diffusers' key for it, or transformers'."""
    name = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if name != kind.__name__:
        raise WeightsError(f"{file}: _class_name is {name!r}, expected {kind.__name__!r}")


def weight_files(file: Path) -> list[Path]:
    """The files that hold the weights called ``file``: itself, or those that the index beside it names.

    Large weights are split, and ``NAME.safetensors.index.json`` says which file has which tensor. Raises
    :class:`WeightsError` where one is missing or no safetensors.
    """
    index = index_of(file)
    if not index.is_file():
        check_safetensors(file)
        return [file]
    places: Any = read_json(index).get("weight_map")
    names: set[Any] = set(map(str, places.values())) if isinstance(places, dict) and places else {"/"}
    if not all(name == Path(name).name and name.endswith(".safetensors") for name in names):
        raise WeightsError(f"{index}: its weight_map must give each tensor a file of this folder; export it again")
    parts = [file.with_name(name) for name in sorted(names)]
    for part in parts:
        check_safetensors(part)
        # libraries believe the index, and fill what a part lacks with random numbers
        report(part, {key for key, name in places.items() if name == part.name} - _keys(part), (), ())
    return parts


def index_of(file: Path) -> Path:
    """Where the index of weights lies that are split, by the name that they would have in one file."""
    match = re.fullmatch(r"(.*?)(?:\.(\w+))?\.safetensors", file.name)
    stem, variant = (match[1], match[2]) if match else (file.stem, None)
    return file.with_name(f"{stem}.safetensors.index{'.' + variant if variant else ''}.json")


def check_safetensors(file: Path) -> None:
    """Raises :class:`WeightsError` for a file that is missing, or that is a pickle under whatever name."""
    if not file.is_file():
        beside = file.parent.glob("*") if file.parent.is_dir() else ()
        pickles = sorted(path.name for path in beside if path.suffix in _PICKLE_NAMES)
        found = f" (found {', '.join(pickles)}: pickles can run code and are never read)" if pickles else ""
        raise WeightsError(f"{file.parent}: {file.name} is missing; only safetensors weights are read{found}")
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_LFS))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {one_line(error)}") from error
    # safetensors: eight bytes of a length, which may happen to begin as a pickle does, and then JSON
    if head.startswith(_LFS):
        raise WeightsError(
            f"{file}: a pointer of Git LFS and not the file it stands for; run `git lfs pull` in its repository"
        )
    if file.suffix in _PICKLE_NAMES or (head.startswith(_PICKLES) and head[8:9] != b"{"):
        raise WeightsError(
            f"{file}: a pickle, which can run code and is never read; only safetensors weights are: save its tensors "
            "with safetensors.torch.save_file on a machine you can spare"
        )


def read_tensors(file: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The tensors of safetensors weights whose names are ``wanted``, as they are stored; the others stay on disk.

    Weights may be split (:func:`weight_files`). Raises :class:`WeightsError` for what is no whole safetensors file.
    """
    tensors: dict[str, Tensor] = {}
    for part in weight_files(file):
        with _opened(part) as stored:
            tensors |= {name: stored.get_tensor(name) for name in stored.keys() if wanted(name)}  # noqa: SIM118
    return tensors


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as stored:
            yield stored
    except Exception as error:  # safetensors has an error of its own, but not for everything
        raise WeightsError(f"{file}: cannot be read as safetensors: {one_line(error)}") from error


def _keys(file: Path) -> set[str]:
    with _opened(file) as stored:
        return set(stored.keys())


def fill_strict(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Put ``tensors`` in the place of a network's own, as float32; the network may be on the meta device.

    Raises :class:`WeightsError` naming ``source`` unless keys and shapes are the network's, and all numbers finite.
    """
    own = network.state_dict()
    shared = own.keys() & tensors.keys()
    wrong_shape = [
        f"{k} {tuple(tensors[k].shape)} for {tuple(own[k].shape)}" for k in shared if own[k].shape != tensors[k].shape
    ]
    report(source, own.keys() - shared, tensors.keys() - shared, wrong_shape)
    check_finite(tensors, source)
    # a clone, so that two networks filled from one file share nothing
    network.load_state_dict({k: v.to(torch.float32, copy=True) for k, v in tensors.items()}, assign=True)


def report(source: Path, missing: Iterable[Any], unexpected: Iterable[Any], mismatched: Iterable[Any]) -> None:
    """Raises :class:`WeightsError` with counts and a few names of what does not fit; returns where all does."""
    kinds = {"missing": list(missing), "unexpected": list(unexpected), "mismatched": list(mismatched)}
    wrong = [f"{len(keys)} {kind}_keys ({few(keys)})" for kind, keys in kinds.items() if keys]
    if wrong:
        raise WeightsError(f"{source}: weights and config.json do not fit: {', '.join(wrong)}; export it again")


def check_finite(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Raises :class:`WeightsError` naming the tensors that hold NaN or infinity.

    A sum is one pass over memory and carries any of them; only where it is not finite, each number is looked at.
    """
    suspect = {k: v for k, v in tensors.items() if v.is_floating_point() and not v.sum(dtype=torch.float32).isfinite()}
    bad = [k for k, v in suspect.items() if not v.isfinite().all()]
    if bad:
        raise WeightsError(
            f"{source}: {len(bad)} tensors hold NaN or infinity ({few(bad)}); take weights from before the run diverged"
        )


def few(keys: Iterable[Any], count: int = 3) -> str:
    """The first names of many."""
    names = sorted(map(str, keys))
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
