"""The microphone: what was spoken as the clip's sound, 16 kHz mono.

Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import numpy as np
from scipy import signal

from data_prep.studio.speech.espeak import Utterance
from jdap.units import SAMPLE_RATE

#: Level of the voice while it speaks, dB re full scale (RMS over what is within 30 dB of the loudest 20 ms).
LEVEL_DB = (-30.0, -18.0)
ROOM_CHANCE, NOISE_CHANCE = 0.5, 0.5
#: Reverberation time (to -60 dB) of a room, and the echoes' energy beneath that of the direct sound.
REVERBERATION_S, ECHO_DB = (0.15, 0.5), (-22.0, -8.0)
#: Noise under the voice's level, dB.
NOISE_DB = (-50.0, -25.0)
_WINDOW = SAMPLE_RATE // 50


def samples(utterance: Utterance) -> np.ndarray:
    """(N,) float64 in [-1, 1]: the utterance at 16 kHz, by a polyphase filter without delay."""
    sound = np.frombuffer(utterance.pcm, "<i2") / 32768
    divisor = np.gcd(SAMPLE_RATE, utterance.rate_hz)
    return signal.resample_poly(sound, SAMPLE_RATE // divisor, utterance.rate_hz // divisor)


def record(rng: np.random.Generator, dry_N: np.ndarray) -> np.ndarray:
    """(N,) float32 in [-1, 1]: dry sound of level 1 (:func:`speech_level`) at a random level, in a room, with noise.

    Nothing is delayed: rooms only add echoes after the direct sound. A longer sound begins like a shorter one.
    """
    level_db, room, noise = rng.uniform(*LEVEL_DB), rng.random() < ROOM_CHANCE, rng.random() < NOISE_CHANCE
    echoes, echo_db = rng.standard_normal(SAMPLE_RATE), rng.uniform(*ECHO_DB)
    decay_s, noise_db = rng.uniform(*REVERBERATION_S), rng.uniform(*NOISE_DB)
    hiss = rng.spawn(1)[0]
    wet = dry_N * 10 ** (level_db / 20)
    if room:
        time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        tail = echoes * 10 ** (-3 * time_s / decay_s) * (time_s > 0.004)
        tail *= 10 ** (echo_db / 20) / np.linalg.norm(tail)
        wet = wet + signal.fftconvolve(wet, tail)[: len(wet)]
    if noise:
        # Rooms hum more than they hiss: noise through a pole at 0.9 of the sampling circle.
        coloured = signal.lfilter([np.sqrt(1 - 0.81)], [1, -0.9], hiss.standard_normal(len(wet)))
        wet = wet + 10 ** ((level_db + noise_db) / 20) * coloured
    return np.clip(wet, -1, 1).astype(np.float32)


def speech_level(sound_N: np.ndarray) -> float:
    """RMS of the stretches of 20 ms that are within 30 dB of the loudest one; 0 for silence."""
    whole = len(sound_N) // _WINDOW * _WINDOW
    if not whole:
        return 0.0
    power = np.square(sound_N[:whole], dtype=np.float64).reshape(-1, _WINDOW).mean(1)
    return float(np.sqrt(power[power >= 1e-3 * power.max()].mean()))
