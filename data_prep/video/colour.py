"""Any decoded frame as sRGB, by what its track says of matrix, range, transfer and primaries.

* matrix: BT.601, BT.709, BT.2020, SMPTE 240M, FCC, limited or full range. Pictures that say nothing are BT.709 where
  they are wider than 1279 or higher than 576 pixels, BT.601 where they are not, as players take them.
* primaries: BT.2020 and P3 are brought to those of sRGB in linear light; all others differ too little to be touched.
* transfer: HLG and PQ are brought to sRGB: white is at 203 cd/m² (ITU-R BT.2408), HLG is shown as by a display of
  1000 cd/m² (BT.2100). Light up to 0.9 of white is kept as it is; brighter light is bent to end at white, the three
  colours together. Every other transfer is taken for that of sRGB, as players do.

Shapes: H x W pixels.
"""

from __future__ import annotations

import functools

import av
import numpy as np
import torch

from data_prep.video.error import UnreadableVideo
from jdap import srgb
from jdap.media.containers import MAX_PIXELS

#: Codes of ITU-T H.273 for a matrix → those of FFmpeg's scaler. 2 and 3 say nothing.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_UNSAID = (2, 3)
_BT601, _BT709, _BT2020 = 6, 1, 9
#: From here on pictures that say nothing are high definition.
HD_WIDTH, HD_HEIGHT = 1280, 577
LIMITED, FULL_RANGE = 1, 2
PQ, HLG = 16, 18
#: Light of white, and of the display that HLG is shown on, cd/m².
WHITE, DISPLAY = 203.0, 1000.0
#: Where light begins to be bent, of white.
KNEE = 0.9
#: Linear light in wide primaries → in those of sRGB, both with white D65 (DCI's own white is green).
_TO_SRGB = {
    9: np.array([[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]),
    12: np.array([[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]]),
}
_TO_SRGB[11] = _TO_SRGB[12]
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
#: FFmpeg's scaler writes 16 bits so that this is 1; tables of them have 4096 entries.
_ONE, _SHIFT = 65280, 4
#: Rows that are worked on at a time: what they take fits into a processor's cache.
_ROWS = 32


def to_srgb(frame: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 sRGB of a frame as it is coded, not turned.

    Raises :class:`data_prep.video.error.UnreadableVideo` for pictures that are too large, or of a matrix not named
    above.
    """
    if frame.width * frame.height > MAX_PIXELS:
        raise UnreadableVideo(
            f"its picture of {frame.width} x {frame.height} has over {MAX_PIXELS} pixels; make it smaller"
        )
    hdr = frame.color_trc in (PQ, HLG)
    primaries = _BT2020 if hdr and frame.color_primaries in _UNSAID else frame.color_primaries
    if not hdr and primaries not in _TO_SRGB:
        return _convert(frame, "rgb24", hdr)
    return _mapped(_convert(frame, "rgb48le", hdr), frame.color_trc, primaries)


def is_plain(frame: av.VideoFrame) -> bool:
    """Whether a decoder that knows the common matrices and nothing else gives the same colours."""
    said = frame.colorspace in (1, 5, 6) or (frame.colorspace in _UNSAID and _matrix(frame, False) == _BT601)
    wide = frame.color_trc in (PQ, HLG) or frame.color_primaries in _TO_SRGB
    return said and not wide and not frame.format.is_rgb


def _matrix(frame: av.VideoFrame, hdr: bool) -> int:
    if frame.colorspace not in _UNSAID:
        return frame.colorspace
    if hdr:
        return _BT2020
    return _BT709 if frame.width >= HD_WIDTH or frame.height >= HD_HEIGHT else _BT601


def _convert(frame: av.VideoFrame, form: str, hdr: bool) -> np.ndarray:
    """(H, W, 3) of 8 or 16 bits, by the frame's matrix and range."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format=form)
    matrix = _MATRICES.get(_matrix(frame, hdr))
    if matrix is None:
        raise UnreadableVideo(
            f"its colours are coded by matrix {frame.colorspace} of H.273, which is not read; encode it as BT.709"
        )
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    rgb = frame.reformat(format=form, src_colorspace=matrix, src_color_range=FULL_RANGE if full else LIMITED)
    return rgb.to_ndarray()


def _mapped(rgb_HW3: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """16 bits a colour → (H, W, 3) uint8 sRGB, tone-mapped where the transfer is HLG or PQ."""
    table = _light(transfer)
    matrix = _TO_SRGB.get(primaries, np.eye(3)).T.astype(np.float32)
    out = np.empty(rgb_HW3.shape, np.uint8)
    for top in range(0, len(out), _ROWS):
        light = table[rgb_HW3[top : top + _ROWS] >> _SHIFT]
        if transfer == HLG:  # the display's gamma, by the light that reaches the eye
            light *= np.power(light @ _LUMINANCE, 0.2)[..., None] * np.float32(DISPLAY / WHITE)
        light = (light @ matrix).clip(0)
        if transfer in (PQ, HLG):
            light *= _bend(light.max(-1, keepdims=True))
        out[top : top + _ROWS] = _srgb()[(light.clip(0, 1) * 65535 + 0.5).astype(np.uint16)]
    return out


def _bend(brightest: np.ndarray) -> np.ndarray:
    """What light is multiplied by so that its brightest colour ends at 1, smoothly from :data:`KNEE` on."""
    room = 1 - KNEE
    bent = KNEE + room * (1 - np.exp(-(brightest - KNEE).clip(0) / room))
    return np.where(brightest > KNEE, bent / brightest.clip(KNEE), 1).astype(np.float32)


@functools.cache
def _light(transfer: int) -> np.ndarray:
    """(4096,) float32: signal → light, of white; of HLG the scene's, of its own full scale."""
    signal = ((np.arange(4096) << _SHIFT) + (1 << _SHIFT) / 2) / _ONE
    signal = signal.clip(0, 1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        light = 10000 / WHITE * ((power - c1).clip(0) / (c2 - c3 * power)) ** (1 / m1)
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = srgb.to_linear(torch.from_numpy(signal)).numpy()
    return light.astype(np.float32)


@functools.cache
def _srgb() -> np.ndarray:
    """(65536,) uint8: linear light of 16 bits → sRGB."""
    signal = srgb.from_linear(torch.arange(65536, dtype=torch.float64) / 65535)
    return np.asarray((255 * signal).round().byte())
