"""What head, brows and lids do with the words: nods and raised brows on stressed syllables, blinks where a phrase
ends, head and brows that rise with a question.

That brows and head mark accents, just ahead of them, and lids phrase ends, is long known (Ekman, "About brows", 1979;
Hadar et al., "Head movement correlates of juncture and stress", 1983). How often and how far is our choice, in
docs/speech.md.

Shapes: F frames, N segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.studio.speech.visemes import Segment

NOD_CHANCE, NOD_DEG, NOD_S = 0.45, (0.8, 3.5), 0.45
BROW_CHANCE, BROW, BROW_S = 0.22, (0.15, 0.55), 0.6
BLINK_CHANCE, BLINK_AFTER_S, PHRASE_PAUSE_S = 0.6, (-0.05, 0.2), 0.12
QUESTION_CHANCE, QUESTION_S, QUESTION_DEG = 0.75, 1.1, (1.5, 5.0)
#: Gestures peak this much before the middle of the vowel.
AHEAD_S = 0.06


@dataclass(frozen=True)
class Gestures:
    """Of each frame: ``angles_deg_F3`` added to yaw, pitch (down) and roll, ``brow_F`` 0 … 1; ``blinks_s`` times."""

    angles_deg_F3: np.ndarray
    brow_F: np.ndarray
    blinks_s: np.ndarray


def draw_gestures(
    rng: np.random.Generator,
    heard: list[Segment],
    loudness_N: np.ndarray,
    questions_s: list[float],
    time_F: np.ndarray,
) -> Gestures:
    """Random gestures for the sounds that are heard; ``questions_s``: when questions end.

    They are drawn sound by sound: what comes later changes nothing before.
    """
    angles, brow, blinks = np.zeros((len(time_F), 3)), np.zeros(len(time_F)), []
    for segment, loud in zip(heard, loudness_N, strict=True):
        # As many numbers for each sound, used or not.
        chances, amounts, sideways = rng.random(3), rng.random(3), rng.normal(0, 0.35, 2)
        middle_s = (segment.start_s + segment.end_s) / 2 - AHEAD_S
        if segment.viseme.vowel and segment.stress == 1:
            if chances[0] < NOD_CHANCE:
                nod = _within(NOD_DEG, amounts[0]) * np.clip(loud, 0.6, 1.5) * _pulse(time_F - middle_s, NOD_S)
                angles += nod[:, None] * np.array([sideways[0], 1.0, 0.5 * sideways[1]])
            if chances[1] < BROW_CHANCE:
                brow = np.maximum(brow, _within(BROW, amounts[1]) * _pulse(time_F - middle_s, BROW_S))
        if segment.pause and segment.end_s - segment.start_s > PHRASE_PAUSE_S and chances[2] < BLINK_CHANCE:
            blinks.append(segment.start_s + _within(BLINK_AFTER_S, amounts[2]))
    for end_s in questions_s:
        asks, amount, tilt = rng.random() < QUESTION_CHANCE, rng.random(), rng.normal(0, 0.6)
        if asks:
            rise = _pulse(time_F - (end_s - QUESTION_S / 4), QUESTION_S)
            angles += _within(QUESTION_DEG, amount) * rise[:, None] * np.array([0.0, -1.0, tilt])
            brow = np.maximum(brow, (0.25 + 0.35 * amount) * rise)
    return Gestures(angles, brow, np.array(blinks))


def _within(limits: tuple[float, float], share: float) -> float:
    return limits[0] + share * (limits[1] - limits[0])


def _pulse(from_peak_s: np.ndarray, width_s: float) -> np.ndarray:
    """1 at the peak, smoothly 0 from half the width on."""
    return np.cos(np.pi * np.clip(from_peak_s / width_s, -0.5, 0.5)) ** 2
