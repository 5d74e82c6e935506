"""Files of ONNX written by hand: some nodes, so that what they say is known. No package writes them."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Shape = tuple[int | str, ...]


class Node(NamedTuple):
    """An operation from values to one value, by their names, with whole numbers or lists of them to tune it."""

    operation: str
    takes: Sequence[str]
    gives: str
    told: Mapping[str, int | Sequence[int]] = {}


def _field(number: int, data: bytes | int) -> bytes:
    """A field of a protocol buffer: a whole number, or bytes."""
    if isinstance(data, int):
        return _varint(number << 3) + _varint(data)
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_field(1, n) for n in values.shape)
    floats = struct.pack(f"<{values.size}f", *values.ravel().tolist())
    return dims + _field(2, 1) + _field(8, name.encode()) + _field(9, floats)


def _value(name: str, shape: Shape) -> bytes:
    dims = b"".join(_field(1, _field(1, n) if isinstance(n, int) else _field(2, n.encode())) for n in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _field(1, name.encode()) + _field(3, value) + _field(20, 2)
    return _field(1, name.encode()) + b"".join(_field(8, one) for one in value) + _field(20, 7)


def write_network(
    path: Path,
    nodes: Sequence[Node],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A network of float32, opset 17. A word in place of a number leaves a side of a shape open."""
    graph = b""
    for node in nodes:
        names = b"".join(_field(1, name.encode()) for name in node.takes) + _field(2, node.gives.encode())
        told = b"".join(_field(5, _attribute(*one)) for one in node.told.items())
        graph += _field(1, names + _field(4, node.operation.encode()) + told)
    graph += _field(2, b"network")
    graph += b"".join(_field(5, _tensor(*one)) for one in (tensors or {}).items())
    graph += b"".join(_field(11, _value(*one)) for one in inputs.items())
    graph += b"".join(_field(12, _value(*one)) for one in outputs.items())
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 17)))
    return path


def write_convolution(
    path: Path, weight_KC: np.ndarray, bias_K: np.ndarray, side: int | str = 16, batch: int | str = "n"
) -> Path:
    """``out = weight · in + bias`` at each pixel, (N, C, side, side) → (N, K, side, side)."""
    classes, colours = weight_KC.shape
    return write_network(
        path,
        [Node("Conv", ["in", "weight", "bias"], "out")],
        {"in": (batch, colours, side, side)},
        {"out": (batch, classes, side, side)},
        {"weight": weight_KC[:, :, None, None], "bias": bias_K},
    )


def write_mean(path: Path, shape: Shape, over: Sequence[int]) -> Path:
    """The mean of the input over some of its sides, which are gone then."""
    kept = tuple(side for k, side in enumerate(shape) if k not in over)
    return write_network(
        path, [Node("ReduceMean", ["in"], "out", {"axes": over, "keepdims": 0})], {"in": shape}, {"out": kept}
    )


def write_flatten(path: Path, shape: Shape) -> Path:
    """The numbers of the input as they are, in one row each."""
    return write_network(path, [Node("Flatten", ["in"], "out", {"axis": 1})], {"in": shape}, {"out": (shape[0], "e")})
