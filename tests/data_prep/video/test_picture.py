"""Colours, turns and mirrors of pictures, against what is worked out here on its own."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_prep.video.video import FrameReader, UnreadableVideo, open_video

PATCHES = np.array(
    [[224, 172, 148], [190, 138, 78], [134, 88, 46], [230, 48, 26], [90, 240, 60], [44, 20, 210], [128] * 3, [20] * 3],
    np.float64,
)
#: The four sides of a picture as (a, b, c, d), and what is right by numpy.
TURNS = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "on its head": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "anticlockwise": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "left and right": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "up and down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    "across the other way": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
}


def write(path: Path, planes: list[np.ndarray], form: str, tags: dict[str, int], frames: int = 3, codec: str = "ffv1"):
    """A picture's planes as they are, with colour tags; Matroska and FFV1 keep both."""
    height, width = planes[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for k in range(frames):
            frame = av.VideoFrame(width, height, form)
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
                rows[:, : values.shape[1]] = values
                plane.update(rows)
            for name, value in tags.items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def patches(width: int, height: int) -> np.ndarray:
    """(H, W, 3) float of 255: four patches above four."""
    return np.kron(PATCHES.reshape(2, 4, 3), np.ones((height // 2, width // 4, 1)))


def code(rgb: np.ndarray, kr: float, kb: float, bits: int, full: bool) -> list[np.ndarray]:
    """RGB in [0, 1] → planes of YCbCr 4:4:4, by a matrix's red and blue."""
    y = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
    cb, cr = (rgb[..., 2] - y) / (2 - 2 * kb), (rgb[..., 0] - y) / (2 - 2 * kr)
    unit = 1 << (bits - 8)
    if full:
        top = 256 * unit - 1
        coded = [y * top, cb * top + 128 * unit, cr * top + 128 * unit]
    else:
        coded = [(219 * y + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit]
    return [np.rint(x).clip(0, 256 * unit - 1).astype(np.uint8 if bits == 8 else np.uint16) for x in coded]


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def first(path: Path) -> np.ndarray:
    return next(FrameReader(open_video(path)).read(0, 1)).astype(int)


def worst(seen: np.ndarray, width: int, height: int) -> float:
    """The largest difference from the patches, in their middles, of 255."""
    wanted = patches(width, height)
    rows, columns = (np.arange(2) * 2 + 1) * height // 4, (np.arange(4) * 2 + 1) * width // 8
    return float(np.abs(seen - wanted)[np.ix_(rows, columns)].max())


TO_2020 = np.array([[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]])
TO_P3 = np.array([[0.822462, 0.177538, 0.0], [0.033194, 0.966806, 0.0], [0.017083, 0.072397, 0.910520]])


def pq(nits: np.ndarray) -> np.ndarray:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = (nits / 10000) ** m1
    return ((c1 + c2 * p) / (1 + c3 * p)) ** m2


def hlg(nits: np.ndarray) -> np.ndarray:
    """By a display of 1000 cd/m²: its gamma of 1.2 taken back, then the camera's curve."""
    shown = nits / 1000
    luminance = shown @ np.array([0.2627, 0.6780, 0.0593])
    scene = shown * luminance[..., None] ** (1 / 1.2 - 1)
    a = 0.17883277
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


@pytest.mark.parametrize(("curve", "transfer"), [(pq, 16), (hlg, 18)], ids=["pq", "hlg"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("said", [True, False], ids=["all tags", "transfer alone"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_hdr_is_tone_mapped(tmp_path: Path, curve, transfer: int, full: bool, said: bool, bits: int) -> None:
    coded = curve((linear(patches(64, 32) / 255) @ TO_2020.T).clip(0) * 203)
    tags = {"color_trc": transfer, "color_range": 2 if full else 1}
    tags |= {"colorspace": 9, "color_primaries": 9} if said else {}
    form = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    path = write(tmp_path / "a.mkv", code(coded, 0.2627, 0.0593, bits, full), form, tags)
    assert worst(first(path), 64, 32) <= 8
    assert open_video(path).decoder == "pyav"


def test_highlights_end_at_white_and_stay_in_order(tmp_path: Path) -> None:
    nits = np.array([100, 180, 203, 250, 400, 1000, 4000, 10000], np.float64)
    coded = np.kron(pq(nits)[None, :, None].repeat(3, 2), np.ones((16, 8, 1)))
    tags = {"color_trc": 16, "color_range": 1, "colorspace": 9, "color_primaries": 9}
    path = write(tmp_path / "a.mkv", code(coded, 0.2627, 0.0593, 10, False), "yuv444p10le", tags)
    seen = first(path)[8, 4::8, 0]
    assert (np.diff(seen) >= 0).all()
    assert seen[2] >= 247
    assert seen[-1] == 255
    assert seen[0] == pytest.approx(255 * (1.055 * (100 / 203) ** (1 / 2.4) - 0.055), abs=2)


MATRICES = {"601": (0.299, 0.114, 6), "pal": (0.299, 0.114, 5), "709": (0.2126, 0.0722, 1), "240": (0.212, 0.087, 7)}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("bits", [8, 10])
def test_standard_colours_are_right(tmp_path: Path, name: str, full: bool, bits: int) -> None:
    kr, kb, tag = MATRICES[name]
    planes = code(patches(64, 32) / 255, kr, kb, bits, full)
    tags = {"colorspace": tag, "color_range": 2 if full else 1, "color_trc": 1, "color_primaries": 1}
    path = write(tmp_path / "a.mkv", planes, "yuv444p" if bits == 8 else "yuv444p10le", tags)
    assert worst(first(path), 64, 32) <= 3


@pytest.mark.parametrize(("width", "height", "name"), [(1024, 576, "601"), (1280, 720, "709"), (720, 1280, "709")])
def test_pictures_that_say_nothing_are_taken_by_their_size(tmp_path: Path, width: int, height: int, name: str) -> None:
    kr, kb, _ = MATRICES[name]
    path = write(tmp_path / "a.mkv", code(patches(width, height) / 255, kr, kb, 8, False), "yuv444p", {}, frames=2)
    assert worst(first(path), width, height) <= 3


@pytest.mark.parametrize(("primaries", "matrix"), [(9, TO_2020), (12, TO_P3)], ids=["2020", "p3"])
def test_wide_primaries_become_those_of_srgb(tmp_path: Path, primaries: int, matrix: np.ndarray) -> None:
    light = (linear(patches(64, 32) / 255) @ matrix.T).clip(0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 14, "color_primaries": primaries}
    path = write(tmp_path / "a.mkv", code(coded, 0.2627, 0.0593, 10, False), "yuv444p10le", tags)
    assert worst(first(path), 64, 32) <= 4


def test_a_matrix_that_is_not_read_is_told(tmp_path: Path) -> None:
    planes = code(patches(64, 32) / 255, 0.2627, 0.0593, 10, False)
    path = write(tmp_path / "a.mkv", planes, "yuv444p10le", {"colorspace": 14, "color_range": 1})
    with pytest.raises(UnreadableVideo, match=r"a\.mkv: .*matrix 14"):
        open_video(path)


def film(path: Path, picture: np.ndarray) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def lay(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Set the display matrix of an mp4's first track."""
    data, one = bytearray(path.read_bytes()), 1 << 16
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    numbers = (round(one * x) for x in (a, b, 0, c, d, 0, 0, 0))
    data[at : at + 36] = struct.pack(">9i", *numbers, 1 << 30)
    path.write_bytes(data)
    return path


def marked() -> np.ndarray:
    """(48, 96, 3): every corner another grey, so that each turn and mirror shows."""
    picture = np.full((48, 96, 3), 128, np.uint8)
    for k, corner in enumerate((np.s_[:24, :48], np.s_[:24, 48:], np.s_[24:, :48], np.s_[24:, 48:])):
        picture[corner] = 40 + 60 * k
    return picture


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("length", [1.0, 2.0])
def test_turns_and_mirrors_are_honoured(tmp_path: Path, name: str, length: float) -> None:
    numbers, right = TURNS[name]
    path = lay(film(tmp_path / "a.mp4", marked()), *(length * x for x in numbers))
    wanted = right(marked())
    video = open_video(path)
    assert (video.height, video.width) == wanted.shape[:2]
    for decoder in {video.decoder, "pyav"}:
        seen = next(FrameReader(type(video)(**{**vars(video), "decoder": decoder})).read(0, 1))
        assert np.abs(seen.astype(int) - wanted).mean() < 4, decoder


def test_a_matrix_that_does_more_is_told(tmp_path: Path) -> None:
    path = lay(film(tmp_path / "a.mp4", marked()), 0.87, 0.5, -0.5, 0.87)
    with pytest.raises(UnreadableVideo, match=r"a\.mp4: .*display matrix"):
        open_video(path)


def test_what_pyav_does_not_know_of_a_frame_is_no_obstacle(tmp_path: Path) -> None:
    """EXIF, as pictures of cameras have it, and the film of some; spatial video has other such things."""
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "a.mov", "TIFF", exif=exif)
    assert open_video(tmp_path / "a.mov").frames == 1
