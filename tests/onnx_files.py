"""A file of ONNX written by hand: one convolution of 1 x 1, so that what it says is known. No package writes it."""

import struct
from pathlib import Path

import numpy as np


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


def _value(name: str, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, n) if isinstance(n, int) else _field(2, n.encode())) for n in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def write_convolution(
    path: Path, weight_KC: np.ndarray, bias_K: np.ndarray, side: int | str = 16, batch: int | str = "n"
) -> Path:
    """``out = weight · in + bias`` at each pixel, (N, C, side, side) → (N, K, side, side)."""
    classes, colours = weight_KC.shape
    inputs = b"".join(_field(1, name) for name in (b"in", b"weight", b"bias"))
    node = inputs + _field(2, b"out") + _field(4, b"Conv")
    graph = _field(1, node) + _field(2, b"head")
    graph += _field(5, _tensor("weight", weight_KC[:, :, None, None])) + _field(5, _tensor("bias", bias_K))
    graph += _field(11, _value("in", (batch, colours, side, side)))
    graph += _field(12, _value("out", (batch, classes, side, side)))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 17)))
    return path
