"""HEIC files with a depth image inside, as phones write them. pillow-heif writes pictures but no depth: so a second
picture is written, and the file's boxes (ISO/IEC 23008-12) are then changed to say that it is the first one's depth.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

DEPTH_TYPE = b"urn:mpeg:hevc:2015:auxid:2\0"
#: Boxes that hold boxes → bytes before the first of them.
WITHIN = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iref": 4}


def write_heic(path: Path, rgb_HW3: np.ndarray, steps_HW: np.ndarray, kind: int, ends: dict[str, float]) -> None:
    """A photo with its depth (H, W) uint8 of representation ``kind`` (0: inverse of z, 1: disparity, 2: z); ``ends``:
    what of ``z_near``, ``z_far``, ``d_min`` and ``d_max`` is told."""
    import pillow_heif

    file = pillow_heif.from_pillow(Image.fromarray(rgb_HW3))
    file.add_frombytes("L", steps_HW.shape[::-1], steps_HW.tobytes())
    file.save(path, quality=-1)
    data = path.read_bytes()
    before = dict(boxes(data, 0, len(data)))[b"meta"]
    meta = _box(b"meta", _with_depth(data[before[0] + 8 : before[1]], _told(kind, ends)))
    grown = len(meta) - (before[1] - before[0])
    path.write_bytes(_moved(data[: before[0]] + meta + data[before[1] :], grown))


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Kind and place of the boxes in some bytes."""
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, (start, start + size)
        start += size


def _with_depth(content: bytes, told: bytes) -> bytes:
    """The content of ``meta`` in which item 2 is the depth of item 1."""
    found = content[:4]
    for kind, (low, high) in boxes(content, 4, len(content)):
        body = content[low + 8 : high]
        if kind == b"iprp":
            inner = dict(boxes(body, 0, len(body)))
            properties = body[inner[b"ipco"][0] + 8 : inner[b"ipco"][1]]
            number = 1 + len(list(boxes(properties, 0, len(properties))))
            properties += _box(b"auxC", bytes(4) + DEPTH_TYPE + told)
            body = _box(b"ipco", properties) + _box(b"ipma", _and_property(body[inner[b"ipma"][0] + 8 :], number))
        found += _box(kind, body)
    return found + _box(b"iref", bytes(4) + _box(b"auxl", struct.pack(">HHH", 2, 1, 1)))


def _and_property(ipma: bytes, number: int) -> bytes:
    """Item 2, the last one, has this property, too."""
    count, at = struct.unpack(">I", ipma[4:8])[0], 8
    for _ in range(count - 1):
        at += 3 + ipma[at + 2]
    return ipma[: at + 2] + bytes([ipma[at + 2] + 1]) + ipma[at + 3 :] + bytes([0x80 | number])


def _moved(data: bytes, by: int) -> bytes:
    """The file, whose ``iloc`` says where its pictures lie now (version 0, offsets of 4 bytes, one extent an item)."""
    low, high = dict(boxes(data, 0, len(data)))[b"meta"]
    at = dict(boxes(data, low + 12, high))[b"iloc"][0] + 8
    found = bytearray(data)
    assert data[at] == 0
    assert data[at + 4 : at + 6] == b"\x44\x40"
    count, at = struct.unpack(">H", data[at + 6 : at + 8])[0], at + 8
    for _ in range(count):
        base = at + 4
        first = base + 4 + 2
        (offset,) = struct.unpack(">I", data[first : first + 4])
        found[first : first + 4] = struct.pack(">I", offset + by)
        at = first + 8
    return bytes(found)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _told(kind: int, ends: dict[str, float]) -> bytes:
    """HEVC's message on how depth is represented (SEI 177)."""
    names = ("z_near", "z_far", "d_min", "d_max")
    bits = "".join("1" if name in ends else "0" for name in names) + _golomb(kind)
    if "d_min" in ends or "d_max" in ends:
        bits += _golomb(0)
    bits += "".join(_real(ends[name]) for name in names if name in ends) + "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8)
    message = bytes([39 << 1, 1, 177, len(payload)]) + payload
    return struct.pack(">II", len(message) + 4, len(message)) + message


def _golomb(number: int) -> str:
    bits = f"{number + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _real(value: float) -> str:
    """Sign, 7 bits of exponent, the length of the mantissa, the mantissa."""
    mantissa, exponent = np.frexp(abs(value))
    return f"{int(value < 0)}{exponent - 1 + 31:07b}{31:05b}{round((2 * mantissa - 1) * 2**32):032b}"
