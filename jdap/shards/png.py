"""Grey PNG files of depth and masks, written in the way that suits them.

Pillow tries all five filters of PNG line by line, and keeps the one whose bytes are smallest; which says little of what
compresses well. Depth is smooth: what a pixel has over the one above it (the filter "up") takes fewer bytes, and a
third of the time, both to write and to read. Masks are runs of equal values: no filter at all. The container is that of
the PNG specification (W3C, third edition, sections 5 and 9); zlib-ng compresses.

Shapes: H x W pixels.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from zlib_ng import zlib_ng

#: Level of compression: docs/coding.md says what others take.
PNG_LEVEL = 5
WINDOW_BITS, MOST_MEMORY = 15, 9
NO_FILTER, UP = 0, 2
_SIGNATURE, _GREY = b"\x89PNG\r\n\x1a\n", 0


def encode_smooth(values_HW: np.ndarray) -> bytes:
    """(H, W) uint8 or uint16 that changes little from line to line → grey PNG of 8 or 16 bits."""
    bits = 8 * values_HW.dtype.itemsize
    lines = np.ascontiguousarray(values_HW, values_HW.dtype.newbyteorder(">")).view(np.uint8)
    filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    filtered[:, 0], filtered[:1, 1:] = UP, lines[:1]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])  # modulo 256, as PNG wants it
    return _file(filtered, values_HW.shape, bits)


def encode_runs(values_HW: np.ndarray) -> bytes:
    """(H, W) bool or uint8 of long runs of equal values → grey PNG of 1 or 8 bits."""
    lines = np.packbits(values_HW, axis=1) if values_HW.dtype == np.bool_ else values_HW
    filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    filtered[:, 0], filtered[:, 1:] = NO_FILTER, lines
    return _file(filtered, values_HW.shape, 1 if values_HW.dtype == np.bool_ else 8)


def _file(lines: np.ndarray, size: tuple[int, ...], bits: int) -> bytes:
    """A grey PNG of lines that begin with their filter's number."""
    height, width = size
    deflate = zlib_ng.compressobj(PNG_LEVEL, zlib.DEFLATED, WINDOW_BITS, MOST_MEMORY)
    header = struct.pack(">IIBBBBB", width, height, bits, _GREY, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", deflate.compress(lines) + deflate.flush()), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
