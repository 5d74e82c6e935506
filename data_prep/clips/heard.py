"""Scores of what is heard: a voice, loudness, and how far the voice stands out; what they mean: docs/data.md.

Sound is mono at 16 kHz. Shapes: S audio samples, F frames at 25 fps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation, maximum_filter1d, median_filter, minimum_filter1d
from scipy.signal import lfilter

from data_prep.choices import SILERO
from jdap.units import FPS, SAMPLE_RATE

TICK_SAMPLES = round(SAMPLE_RATE / FPS)
#: Voice: the band of speech, in Hz, no more than this under the clip's loud parts and above this level, dB.
VOICE_HZ, UNDER_LOUD_DB, QUIET_DB = (200.0, 3500.0), 25.0, -50.0
#: Noise has a flat spectrum: geometric over arithmetic mean of its power, 0.56 for white noise; a voice is under this.
FLATNESS = 0.4
#: Lips that move by this much within this many frames on either side are moving.
LIPS_MOVE_MM, LIPS_REACH = 1.0, 5
#: Loudness is that of so many frames around each, 0.4 s; under this, LUFS, there is silence.
MOMENT_FRAMES, SILENT_LUFS = 10, -70.0
#: The background is heard this many frames away from a voice, in at least so many frames; a ratio of more is this, dB.
AWAY, PAUSE_FRAMES, MOST_SNR_DB = 3, 8, 60.0
#: silero-vad judges so many samples at a time; a voice is what it holds for at least so likely (its authors' default).
SILERO_SAMPLES, LIKELY = 512, 0.5


def voice_detector(kind: str) -> Callable[[np.ndarray, int], np.ndarray]:
    """(sound (S,), F) → (F,) 1 where somebody speaks: by a rule (:func:`voice`), or by :data:`SILERO`.

    Raises ImportError where silero-vad is not installed.
    """
    if kind == SILERO:
        _silero()
        return silero_voice
    return voice


def voice(audio_S: np.ndarray, frames: int) -> np.ndarray:
    """(F,) 1 where somebody speaks: in the band of speech it is loud (:data:`UNDER_LOUD_DB`) and not just noise."""
    samples = round(SAMPLE_RATE / FPS)
    audio = np.pad(audio_S[: frames * samples], (0, max(0, frames * samples - len(audio_S))))
    around = np.pad(audio, samples // 2)
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * samples)[::samples][:frames]
    power = np.abs(np.fft.rfft(windows * np.hanning(2 * samples), axis=1)) ** 2 / (2 * samples) ** 2
    hz = np.fft.rfftfreq(2 * samples, 1 / SAMPLE_RATE)
    band = power[:, (hz >= VOICE_HZ[0]) & (hz <= VOICE_HZ[1])] + 1e-14
    level_db = 10 * np.log10(band.sum(1))
    flat = np.exp(np.log(band).mean(1)) / band.mean(1)
    loud = level_db > max(QUIET_DB, float(np.quantile(level_db, 0.95)) - UNDER_LOUD_DB)
    heard = (loud & (flat < FLATNESS)).astype(np.float32)
    return median_filter(heard, 5, mode="nearest")


def speech(voice_F: np.ndarray, lip_opening_mm_F: np.ndarray) -> np.ndarray:
    """(F,) 1 where a voice is heard while the lips move (:data:`LIPS_MOVE_MM`)."""
    reach = 2 * LIPS_REACH + 1
    moved = maximum_filter1d(lip_opening_mm_F, reach) - minimum_filter1d(lip_opening_mm_F, reach)
    return (voice_F * (moved > LIPS_MOVE_MM)).astype(np.float32)


def silero_voice(audio_S: np.ndarray, frames: int) -> np.ndarray:
    """(F,) 1 where silero-vad hears a voice; its network comes with its package, and nothing is fetched."""
    audio = np.pad(audio_S[: frames * TICK_SAMPLES], (0, max(0, frames * TICK_SAMPLES - len(audio_S))))
    with torch.inference_mode():
        likely = _silero().audio_forward(torch.from_numpy(audio.astype(np.float32)), SAMPLE_RATE)[0].numpy()
    middle = ((np.arange(frames) + 0.5) * TICK_SAMPLES / SILERO_SAMPLES).astype(int).clip(0, len(likely) - 1)
    return (likely[middle] >= LIKELY).astype(np.float32)


@functools.cache
def _silero() -> torch.jit.ScriptModule:
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ImportError("--voice silero needs silero-vad: pip install 'jdap[vad]'", name="silero_vad")
    # Not by the package itself, which sets torch's number of threads for the whole process.
    return torch.jit.load(str(Path(package.origin).parent / "data" / "silero_vad.jit"), map_location="cpu").eval()


def loudness(audio_S: np.ndarray, frames: int) -> np.ndarray:
    """(F,) float32 LUFS: momentary loudness of 0.4 s around each frame, NaN for silence.

    ITU-R BS.1770: power behind a filter for the head and one for low tones, -0.691 dB.
    """
    audio = np.pad(audio_S[: frames * TICK_SAMPLES], (0, max(0, frames * TICK_SAMPLES - len(audio_S))))
    for numerator, denominator in _k_weighting():
        audio = lfilter(numerator, denominator, audio.astype(np.float64))
    power = np.square(audio).reshape(frames, TICK_SAMPLES).mean(1)
    low = (np.arange(frames) - MOMENT_FRAMES // 2).clip(0, max(frames - MOMENT_FRAMES, 0))
    total = np.concatenate([[0.0], power.cumsum()])
    high = np.minimum(low + MOMENT_FRAMES, frames)
    level = -0.691 + 10 * np.log10(((total[high] - total[low]) / (high - low)).clip(1e-12))
    return np.where(level > SILENT_LUFS, level, np.nan).astype(np.float32)


@functools.cache
def _k_weighting() -> tuple[tuple[list[float], list[float]], ...]:
    """The two filters of BS.1770 at 16 kHz, by the bilinear transform: a shelf of 4 dB from 1682 Hz on, and a high pass
    at 38 Hz. The standard lists their coefficients at 48 kHz only; these analogue ones give them there."""
    filters = []
    for hz, q, gain_db in ((1681.97445, 0.70717524, 3.99984385), (38.1354709, 0.50032704, None)):
        k = math.tan(math.pi * hz / SAMPLE_RATE)
        whole = 1 + k / q + k * k
        denominator = [1.0, 2 * (k * k - 1) / whole, (1 - k / q + k * k) / whole]
        if gain_db is None:
            filters.append(([1.0, -2.0, 1.0], denominator))
            continue
        high, band = 10 ** (gain_db / 20), 10 ** (gain_db / 20 * 0.49966677)
        shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
        filters.append(([x / whole for x in shelf], denominator))
    return tuple(filters)


def snr_db(audio_S: np.ndarray, voice_F: np.ndarray) -> float | None:
    """How much more power there is while a voice is heard than what is heard in its pauses, dB: the voice's own power
    over the background's. None without a voice, or without :data:`PAUSE_FRAMES` of pauses."""
    frames = min(len(voice_F), len(audio_S) // TICK_SAMPLES)
    power = np.square(audio_S[: frames * TICK_SAMPLES].astype(np.float64)).reshape(frames, TICK_SAMPLES).mean(1)
    heard = voice_F[:frames] > 0
    pause = ~binary_dilation(heard, iterations=AWAY)
    if not heard.any() or pause.sum() < PAUSE_FRAMES:
        return None
    background = float(power[pause].mean())
    own = float(power[heard].mean()) - background
    return float(np.clip(10 * np.log10(max(own, 1e-12) / max(background, 1e-12)), -MOST_SNR_DB, MOST_SNR_DB))
