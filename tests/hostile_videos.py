"""Files that are hard to read as videos, each by a seed: for one run of ``prepare`` over all of them.

They are cut, mangled, or say what is not so; or no videos at all; or no files. No face is in any of them.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from videos import write

Maker = Callable[[Path], object]
#: Containers with the coder that each takes.
KINDS: dict[str, dict[str, str]] = {
    **{"mp4": {}, "mov": {}, "m4v": {}, "mkv": {}, "ts": {}, "flv": {"codec": "flv"}},
    **{"avi": {"codec": "mpeg4"}, "mpg": {"codec": "mpeg1video"}, "webm": {"codec": "libvpx-vp9"}},
    **{"wmv": {"codec": "wmv2"}, "3gp": {"codec": "mpeg4"}, "ogv": {"codec": "ffv1", "container": "matroska"}},
}


def noise(count: int = 6, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Frames of coarse noise that moves; no face is in them."""
    rng = np.random.default_rng(seed)
    tiles = np.kron(rng.integers(0, 255, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1)))
    return [np.roll(tiles[:height, :width], 2 * k, 1).astype(np.uint8) for k in range(count)]


def tone(seconds: float) -> np.ndarray:
    return 0.3 * np.sin(np.arange(round(seconds * 16000)) * 0.1)[None].astype(np.float32)


def whole(path: Path, kind: str) -> bytes:
    """The bytes of a sound file of a kind; nothing stays at ``path``."""
    # With an extension of its own, by which the container is chosen.
    file = write(path.with_name(f"whole.{kind}"), noise(), **KINDS[kind])  # type: ignore[arg-type]
    data = file.read_bytes()
    file.unlink()
    return data


def cut(kind: str, rng: random.Random) -> Maker:
    """Anywhere, and in the front as well."""

    def make(path: Path) -> None:
        data = whole(path, kind)
        low = rng.choice([0, 0, rng.randrange(len(data) // 3)])
        path.write_bytes(data[low : rng.randrange(low + 1, len(data))])

    return make


def flipped(kind: str, rng: random.Random, share: float = 0.01) -> Maker:
    """Random bytes in random places."""

    def make(path: Path) -> None:
        data = bytearray(whole(path, kind))
        for _ in range(max(3, round(share * len(data)))):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        path.write_bytes(data)

    return make


def holed(kind: str, rng: random.Random) -> Maker:
    """A page is lost, or written twice."""

    def make(path: Path) -> None:
        data, at = whole(path, kind), rng.randrange(200, 1000)
        path.write_bytes(data[:at] + rng.choice([b"", bytes(512), data[:600]]) + data[at + 512 :])

    return make


def boxed(name: bytes, offset: int, value: bytes) -> Maker:
    """An mp4 whose box of this name has other bytes, ``offset`` after its name."""

    def make(path: Path) -> None:
        data = bytearray(whole(path, "mp4"))
        at = data.index(name) + 4 + offset
        data[at : at + len(value)] = value
        path.write_bytes(data)

    return make


def stamped(times: list[float]) -> Maker:
    """Every picture by itself, at these seconds."""
    return lambda path: write(path, noise(len(times)), times, codec="ffv1", pix_fmt="bgr0")


def bytes_of(data: bytes | str) -> Maker:
    return lambda path: path.write_bytes(data.encode() if isinstance(data, str) else data)


def coded(codec: str, pix_fmt: str, count: int = 4, height: int = 48, width: int = 64, **options: object) -> Maker:
    alpha = pix_fmt in ("argb", "rgba", "bgra", "yuva420p", "yuva444p10le")

    def make(path: Path) -> None:
        frames = noise(count, height, width)
        if alpha:
            frames = [np.dstack([frame, frame[..., 0]]) for frame in frames]
        write(path, frames, codec=codec, pix_fmt=pix_fmt, **options)  # type: ignore[arg-type]

    return make


def pictures(kind: str, count: int = 4) -> Maker:
    def make(path: Path) -> None:
        shown = [Image.fromarray(frame) for frame in noise(count)]
        shown[0].save(path, kind, save_all=True, append_images=shown[1:], duration=40)

    return make


def tracks(path: Path, count: int = 20) -> None:
    """Many tracks of pictures."""
    import av

    with av.open(str(path), "w", format="matroska") as out:
        streams = [out.add_stream("mjpeg", rate=25) for _ in range(count)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for frame in noise(2):
            for stream in streams:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        for stream in streams:
            out.mux(stream.encode())


def nested(path: Path) -> None:
    """Boxes within boxes, 3000 deep."""
    data = b""
    for _ in range(3000):
        data = struct.pack(">I", len(data) + 8) + b"moov" + data
    path.write_bytes(struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + data)


def sparse(path: Path, head: bytes, size: int) -> None:
    """A file of many bytes that takes no room."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def bound(path: Path) -> None:
    """A socket; its address may be no longer than 107 bytes, so it is made from within its folder."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def makers(seed: int) -> dict[str, Maker]:
    """File name → what makes it."""
    rng, far = random.Random(seed), b"\xff" * 4
    found: dict[str, Maker] = {}
    for kind in KINDS:
        found |= {
            f"cut.{kind}": cut(kind, rng),
            f"flipped.{kind}": flipped(kind, rng),
            f"holed.{kind}": holed(kind, rng),
        }
    found |= {
        # -- mp4 boxes that lie
        "stts huge.mp4": boxed(b"stts", 4, far),
        "stts long frames.mp4": boxed(b"stts", 12, far),
        "stsz huge frames.mp4": boxed(b"stsz", 12, b"\x7f\xff\xff\xff"),
        "stsz many.mp4": boxed(b"stsz", 8, far),
        "stsc wild.mp4": boxed(b"stsc", 8, far * 2),
        "stco beyond.mp4": boxed(b"stco", 8, far),
        "timescale 0.mp4": boxed(b"mdhd", 12, bytes(4)),
        "tkhd no size.mp4": boxed(b"tkhd", 76, bytes(8)),
        "tkhd large.mp4": boxed(b"tkhd", 76, far * 2),
        "coded large.mp4": boxed(b"avc1", 24, b"\xff\xff\xff\xff"),
        "avcC cut.mp4": boxed(b"avcC", -8, struct.pack(">I", 9)),
        "handler.mp4": boxed(b"hdlr", 8, b"text"),
        "matrix 0.mp4": boxed(b"tkhd", 40, bytes(36)),
        "box to the end.mp4": boxed(b"mdat", -8, bytes(4)),
        "box over the end.mp4": boxed(b"mdat", -8, far),
        "nested.mp4": nested,
        "twice.mp4": lambda p: p.write_bytes(whole(p, "mp4") * 2),
        "garbage first.mp4": lambda p: p.write_bytes(bytes(rng.randbytes(3000)) + whole(p, "mp4")),
        "half a gigabyte of nothing.mp4": lambda p: sparse(p, b"", 512 << 20),
        "4 GB behind it.mkv": lambda p: sparse(p, whole(p, "mkv"), 4 << 30),
        # -- stamps
        "all at once.mkv": stamped([0.0] * 8),
        "centuries.mkv": stamped([0.0, 0.04, 3e9]),
        "every hour.mkv": stamped([3600.0 * k for k in range(6)]),
        "two ages.mkv": stamped([*(k / 25 for k in range(8)), *(1e6 + k / 25 for k in range(8))]),
        "microseconds.mkv": stamped([k / 1000 for k in range(30)]),
        # -- coders and forms of pixels
        "hevc 10 bit.mp4": coded("libx265", "yuv420p10le", codec_options={"x265-params": "log-level=none"}),
        "av1.mp4": coded("libsvtav1", "yuv420p", height=64, codec_options={"svtav1-params": "lp=1"}),
        "prores alpha.mov": coded("prores_ks", "yuva444p10le"),
        "dnxhd.mov": coded("dnxhd", "yuv422p", height=720, width=1280, count=2, codec_options={"b": "90M"}),
        "vp9 alpha.webm": coded("libvpx-vp9", "yuva420p"),
        "qtrle alpha.mov": coded("qtrle", "argb"),
        "huffyuv.avi": coded("huffyuv", "yuv422p"),
        "raw.avi": coded("rawvideo", "bgr24"),
        "raw 16 bit grey.mkv": coded("ffv1", "gray16le"),
        "ffv1 alpha.mkv": coded("ffv1", "bgra"),
        "yuv410.mkv": coded("ffv1", "yuv410p"),
        "yuv444 12 bit.mkv": coded("ffv1", "yuv444p12le"),
        "planar rgb 14 bit.mkv": coded("ffv1", "gbrp14le"),
        "zmbv.avi": coded("zmbv", "bgr0"),
        "msmpeg4.avi": coded("msmpeg4v2", "yuv420p"),
        "cinepak.mov": coded("cinepak", "rgb24"),
        "mjpeg.avi": coded("mjpeg", "yuvj420p"),
        "intra refresh.mp4": coded("libx264", "yuv420p", count=30, codec_options={"intra-refresh": "1", "g": "10"}),
        "3 x 4000.mkv": coded("ffv1", "bgr0", height=4000, width=3, count=2),
        "many tracks.mkv": tracks,
        # -- pictures, and what is none
        "apng.mp4": pictures("PNG"),
        "webp.mp4": pictures("WEBP"),
        "tiff.mov": pictures("TIFF"),
        "gif.webm": pictures("GIF"),
        "pdf.mp4": pictures("PDF"),
        "still.avi": lambda p: Image.fromarray(noise()[0]).save(p, "JPEG"),
        "bmp.mkv": lambda p: Image.fromarray(noise()[0]).save(p, "BMP"),
        "svg.mp4": bytes_of("<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
        "subtitles.mkv": bytes_of("1\n00:00:00,000 --> 00:00:09,000\nHello\n\n" * 30),
        "webvtt.mp4": bytes_of("WEBVTT\n\n00:00.000 --> 00:09.000\nHello\n"),
        "metadata.mp4": bytes_of(";FFMETADATA1\ntitle=a\n[CHAPTER]\nSTART=0\nEND=1\n"),
        "ansi.mp4": bytes_of("\x1b[31mred\x1b[0m\n" * 100),
        "zeros.mp4": bytes_of(bytes(4096)),
        "ones.ts": bytes_of(b"\xff" * 4096),
        "sync bytes.ts": bytes_of((b"\x47" + b"\xff" * 187) * 40),
        "start codes.mpg": bytes_of(b"\0\0\1\xba\0\0\1\xbb" * 200),
        "start codes.264.mp4": bytes_of(b"\0\0\0\1\x67\x42\0\x0a\0\0\0\1\x68\xce" * 30),
        "riff.avi": bytes_of(b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrl"),
        "ebml.webm": bytes_of(b"\x1a\x45\xdf\xa3\xff" * 50),
        "flv.flv": bytes_of(b"FLV\x01\x05\0\0\0\x09" + b"\xff" * 300),
        "speech.mov": lambda p: write(p, [], sound=tone(0.3), container="wav", audio_codec="pcm_s16le"),
        # -- lists that point elsewhere
        "sdp.mp4": bytes_of("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        "hls behind a mark.ts": bytes_of("\ufeff#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
        "dash.mp4": bytes_of("<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period/></MPD>"),
        "concat absolute.mkv": bytes_of("ffconcat version 1.0\nfile /etc/hostname\n"),
        "vobsub.mpg": bytes_of("# VobSub index file, v7\ntimestamp: 00:00:00:000, filepos: 000000000\n"),
        "m3u of itself.mp4": bytes_of("#EXTM3U\nm3u of itself.mp4\n"),
        "smil.mov": bytes_of("<smil><body><video src='http://127.0.0.1:9/a.mp4'/></body></smil>"),
        # -- names
        "%03d.mp4": coded("libx264", "yuv420p"),
        " leading and trailing .mp4": coded("libx264", "yuv420p"),
        "tab\tand \x1b[31mcolour.mp4": coded("libx264", "yuv420p"),
        "right\u202eto left.mp4": coded("libx264", "yuv420p"),
        "pipe:0.mp4": coded("libx264", "yuv420p"),
        "http:__x|y.mp4": coded("libx264", "yuv420p"),
        "back\\slash.mp4": coded("libx264", "yuv420p"),
        "a.b..mp4": coded("libx264", "yuv420p"),
        "e\u0301 and \u00e9.mp4": coded("libx264", "yuv420p"),
        os.fsdecode(b"\xff\xfe\xc3.mp4"): coded("libx264", "yuv420p"),
        # -- no files
        "socket.mp4": bound,
        "pipe.mov": lambda p: os.mkfifo(p),
        "folder.mp4": lambda p: p.mkdir(),
        "folder in folders.mkv": lambda p: (p / "a.mp4" / "b.mp4").mkdir(parents=True),
        "device.mp4": lambda p: p.symlink_to("/dev/zero"),
        "nowhere.mp4": lambda p: p.symlink_to("../nowhere"),
        "round.mp4": lambda p: p.symlink_to(p),
        "up.mp4": lambda p: p.symlink_to(p.parent, target_is_directory=True),
        "no rights.mp4": lambda p: (p.write_bytes(whole(p, "mp4")), p.chmod(0)),
    }
    return found


def write_all(folder: Path, seed: int = 0) -> list[str]:
    """Write all of them; their names."""
    folder.mkdir()
    made = makers(seed)
    for name, make in made.items():
        make(folder / name)
    return list(made)
