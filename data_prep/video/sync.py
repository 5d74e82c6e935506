"""Audio-visual sync by a user's SyncNet: how far sound and lips belong together, and by how much they are apart.

Chung & Zisserman, "Out of time: automated lip sync in the wild", 2016: 5 pictures of a face (224 x 224, BGR, 0 … 255)
and the 20 frames of MFCC that sound with them become two vectors of 1024 numbers that are near where they belong
together. Distances are averaged over a clip for every shift of the sound by up to :data:`MOST_SHIFT` pictures. The
confidence is their median minus their minimum, and the offset is where the minimum lies. Clips of speech that belong
together have about 5 and more with the published weights; without those weights the numbers mean nothing. Of generated
clips the minimum is called LSE-D and the confidence LSE-C (Prajwal et al., "A lip sync expert is all you need", 2020).

The network is the user's (:mod:`data_prep.video.syncnet`).

Shapes: F pictures, K = F − 4 windows of five, S audio samples, M = frames of MFCC.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import dct
from scipy.ndimage import median_filter
from torch import Tensor, nn

from data_prep.video.syncnet import MFCC_WINDOW, SYNC_SIDE_PX, WINDOW, Embedders
from jdap.faces import crop
from jdap.faces.landmarker import face_box
from jdap.units import SAMPLE_RATE

#: A picture lasts 40 ms, a frame of MFCC 10 ms.
MFCC_A_PICTURE = 4
MOST_SHIFT = 15
#: The picture is this many half face sizes wide, and its middle this many below the face's.
CROP, DROP = 2.8, 0.4
#: Windows that go through the network at a time.
WINDOWS_AT_ONCE = 16


class Sync(NamedTuple):
    """How far sound and lips belong together: confidence (LSE-C; more is better), the offset in pictures (positive: the
    sound comes late), and the distance there (LSE-D; less is better)."""

    confidence: float
    offset: float
    distance: float


class SyncMeter:
    """Takes in the pictures of a clip one by one; memory holds :data:`WINDOWS_AT_ONCE` + 4 of them."""

    def __init__(self, net: Embedders, landmarks_px_FN: np.ndarray, device: str = "cpu"):
        self._net, self._device = net, device
        self._windows = face_windows(landmarks_px_FN)
        self._pictures: list[np.ndarray] = []
        self._lips: list[Tensor] = []

    def add(self, k: int, rgb_HW3: np.ndarray) -> None:
        """Picture ``k`` of the clip, the whole frame (H, W, 3) uint8."""
        self._pictures.append(crop.crop_frame(rgb_HW3, self._windows[k], SYNC_SIDE_PX, black=True)[..., ::-1])
        if len(self._pictures) == WINDOWS_AT_ONCE + WINDOW - 1:
            self._embed()

    def finish(self, audio_S: np.ndarray) -> Sync:
        """What the pictures have to do with a sound at 16 kHz that begins with the first of them; NaN of sound that is
        shorter than a window. May be asked of several sounds.

        Raises ValueError for less than :data:`WINDOW` pictures.
        """
        self._embed()
        if not self._lips:
            raise ValueError(f"sync needs {WINDOW} pictures")
        lips = torch.cat(self._lips)
        mfccs = torch.from_numpy(mfcc(audio_S)).float()
        count = min(len(lips), (mfccs.shape[1] - MFCC_WINDOW) // MFCC_A_PICTURE + 1)
        if count < 1:
            return Sync(float("nan"), float("nan"), float("nan"))
        windows = mfccs.unfold(1, MFCC_WINDOW, MFCC_A_PICTURE)[:, :count].transpose(0, 1)[:, None]
        with torch.inference_mode():
            heard = torch.cat(
                [self._net.forward_aud(part.to(self._device)).cpu() for part in windows.split(WINDOWS_AT_ONCE)]
            )
        return best_shift(lips[:count], heard)

    def _embed(self) -> None:
        if len(self._pictures) < WINDOW:
            return
        bgr = torch.from_numpy(np.stack(self._pictures)).to(self._device, torch.float32).permute(3, 0, 1, 2)
        windows = bgr.unfold(1, WINDOW, 1).permute(1, 0, 4, 2, 3)
        with torch.inference_mode():
            self._lips.append(self._net.forward_lip(windows.contiguous()).cpu())
        self._pictures = self._pictures[-(WINDOW - 1) :]


def best_shift(lips_KD: Tensor, heard_KD: Tensor) -> Sync:
    """From vectors of pictures and sound (K, D); see the module. Beyond the ends sound is 0."""
    padded = nn.functional.pad(heard_KD, (0, 0, MOST_SHIFT, MOST_SHIFT))
    shifts = range(2 * MOST_SHIFT + 1)
    distance = torch.stack([(lips_KD - padded[s : s + len(lips_KD)]).norm(dim=1).mean() for s in shifts])
    best = int(distance.argmin())
    return Sync(float(distance.median() - distance[best]), float(best - MOST_SHIFT), float(distance[best]))


def face_windows(landmarks_px_FN: np.ndarray) -> np.ndarray:
    """(F, 3) left, top, size of the pictures that SyncNet is shown: the face's box, its middle and size smoothed."""
    boxes = np.stack([face_box(points) for points in landmarks_px_FN])
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1) / 2
    middle, half = median_filter(middle, (13, 1), mode="nearest"), median_filter(half, 13, mode="nearest")
    size = CROP * half
    return np.column_stack([middle[:, 0] - size / 2, middle[:, 1] + DROP * half - size / 2, size])


def mfcc(audio_S: np.ndarray) -> np.ndarray:
    """(13, M) float32: cepstra of windows of 25 ms every 10 ms, of samples in [-1, 1] at 16 kHz.

    26 mel filters on a 512-point spectrum, pre-emphasis 0.97, rectangular windows, orthonormal DCT-II, liftering by
    22; the first is the window's log energy. So were the published weights trained (python_speech_features 0.6), on
    16-bit numbers.
    """
    signal = np.rint(np.clip(audio_S.astype(np.float64), -1, 1) * 32767)
    signal = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])
    length, hop, points = SAMPLE_RATE // 40, SAMPLE_RATE // 100, 512
    count = 1 if len(signal) <= length else 1 + -(-(len(signal) - length) // hop)
    signal = np.pad(signal, (0, max(0, (count - 1) * hop + length - len(signal))))
    windows = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop][:count]
    power = np.abs(np.fft.rfft(windows, points)) ** 2 / points
    tiny = np.finfo(float).eps
    energy = power.sum(1)
    mels = np.log(np.maximum(power @ _mel_filters(points).T, tiny))
    cepstra = dct(mels, type=2, axis=1, norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstra[:, 0] = np.log(np.maximum(energy, tiny))
    return cepstra.T.astype(np.float32)


def _mel_filters(points: int) -> np.ndarray:
    """(26, points / 2 + 1): triangles between equal steps of the mel scale, 0 … 8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, 28) / 2595) - 1)
    edges = np.floor((points + 1) * hz / SAMPLE_RATE)
    bins = np.arange(points // 2 + 1)[None]
    low, middle, high = (edges[i : i + 26, None] for i in range(3))
    up = np.where((bins >= low) & (bins < middle), (bins - low) / np.maximum(middle - low, 1), 0)
    down = np.where((bins >= middle) & (bins < high), (high - bins) / np.maximum(high - middle, 1), 0)
    return up + down
