"""The mouth in time: visemes blended by dominance, lips that meet where the sound needs it, measured in millimetres.

1. Each sound s pulls each expression towards its target T_s with the dominance D_s(t) = a_s exp(-|τ| / r), where τ is
   how far t is from the middle half of the sound: F(t) = Σ D_s T_s / Σ D_s (Cohen & Massaro, "Modeling coarticulation
   in synthetic visual speech", 1993). The rate r is longer before a sound than after it, so lips round ahead; all of
   it leads the sound by :data:`LEAD_S`.
2. Dominance alone never quite closes a mouth. So closures are events with an interval of their own (as "lip aperture"
   is in articulatory phonology), read from the sound, and the opening they leave is solved for on the mesh of the very
   head: expressions are linear, so the lips' opening is too, and ``mouthClose`` takes up what the jaw has opened.

Shapes: F frames, E expressions, N segments, J = len(TARGETS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.head.mouth import CLOSES, Mouth
from data_prep.studio.speech.visemes import VISEME_TARGETS, Segment

#: Jaw and lips are ahead of the sound that they make.
LEAD_S = 0.02
#: Rates of dominance before and after a sound, for the jaw and for the lips.
JAW_RATE_S, LIP_RATE_S = (0.045, 0.045), (0.085, 0.06)
#: A lips' closure: how long its flanks are, and the shortest one, which at 25 fps still holds a frame.
FLANK_S, SHORTEST_S = 0.06, 0.046
#: espeak times voiceless stops at their release, after this much silence.
STOP_SILENCE_S = 0.045
#: Lips that meet are pressed by this much mouthPress.
PRESS = 0.25
#: The lower lip at the upper teeth.
BITE = {"jawOpen": 0.02, "mouthRollLower": 0.35, "mouthUpperUp": 0.16, "mouthShrugLower": 0.1}
#: Pauses close the lips as far as this person's do at rest, from this long after the sound to this long before.
AFTER_S, BEFORE_S = 0.16, 0.12


@dataclass(frozen=True)
class Style:
    """How somebody speaks: ``openness`` and ``rounding`` scale the targets of jaw and lips, ``articulation`` the
    dominance of one sound over the next; ``rest`` 0 … 1 is how far lips close in pauses; ``lopsided`` -1 … 1 how
    much more the left side does."""

    openness: float
    rounding: float
    articulation: float
    rest: float
    lopsided: float


def draw_style(rng: np.random.Generator) -> Style:
    """A random style; distributions in docs/speech.md."""
    return Style(
        openness=float(np.clip(rng.lognormal(0, 0.18), 0.7, 1.4)),
        rounding=float(np.clip(rng.lognormal(0, 0.15), 0.7, 1.3)),
        articulation=float(rng.uniform(0.75, 1.3)),
        rest=float(1 - 0.5 * rng.uniform(0, 1) ** 2),
        lopsided=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
    )


def speak_face(
    mouth: Mouth,
    style: Style,
    heard: list[Segment],
    loudness_N: np.ndarray,
    time_F: np.ndarray,
    mood: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """(F,) amounts of the expressions of the whole mouth, 0 … 1, at the times ``time_F`` (s).

    ``loudness_N``: for each segment, the level of its sound over the usual one, as a factor around 1. ``mood``: (F,)
    amounts of other expressions that the mouth has beside speech, a smile say; they are in the result.
    """
    bite = _events(heard, time_F, "bite")
    out = dict(mood)
    spoken = _blend(style, heard, loudness_N, time_F)
    for name in dict.fromkeys((*spoken, *BITE)):
        _add(mouth, style, out, name, (1 - bite) * spoken.get(name, 0.0) + bite * BITE.get(name, 0.0))
    shut = _events(heard, time_F, "shut")
    _add(mouth, style, out, "mouthPress", PRESS * shut**2)
    # Expressions stop at 1: what is solved for is what is left to be closed then.
    out = {name: np.clip(amount, 0, 1) for name, amount in out.items()}
    column = {name: i for i, name in enumerate(mouth.names)}
    open_F3 = mouth.rest_mm_3 + sum(amount[:, None] * mouth.opens_mm_E3[column[name]] for name, amount in out.items())
    out[CLOSES] = mouth.closing(open_F3, np.maximum(shut, style.rest * _pauses(heard, time_F)))
    return out


def _add(mouth: Mouth, style: Style, out: dict[str, np.ndarray], name: str, amount: np.ndarray) -> None:
    """Add to an expression, or to its two halves, which are lopsided."""
    halves = ((name, 0.0),) if name in mouth.names else ((name + "_L", style.lopsided), (name + "_R", -style.lopsided))
    for half, more in halves:
        out[half] = out.get(half, 0.0) + amount * (1 + more)


def _blend(style: Style, heard: list[Segment], loudness_N: np.ndarray, time_F: np.ndarray) -> dict[str, np.ndarray]:
    """Dominance: the amounts of :data:`VISEME_TARGETS`."""
    targets_NJ = np.array([segment.viseme.targets for segment in heard])
    stress_N = np.array([segment.stress for segment in heard])
    vowel_N = np.array([segment.viseme.vowel for segment in heard])
    # Stressed and loud vowels are wider: half of them for an octave of pressure.
    emphasis_N = np.where(vowel_N, (0.85 + 0.25 * stress_N) * np.clip(np.sqrt(loudness_N), 0.75, 1.25), 1.0)
    targets_NJ[:, 0] *= style.openness * emphasis_N
    targets_NJ[:, 1:] *= style.rounding
    starts, ends = (np.array([getattr(s, name) for s in heard]) - LEAD_S for name in ("start_s", "end_s"))
    quarter = (ends - starts) / 4
    early_FN = np.maximum(starts + quarter - time_F[:, None], 0)
    late_FN = np.maximum(time_F[:, None] - (ends - quarter), 0)
    holds = np.array([(s.viseme.jaw_hold, s.viseme.lip_hold) for s in heard]) ** style.articulation
    out = {}
    for j, name in enumerate(VISEME_TARGETS):
        before_s, after_s = LIP_RATE_S if j else JAW_RATE_S
        dominance_FN = holds[:, min(j, 1)] * np.exp(-style.articulation * (early_FN / before_s + late_FN / after_s))
        out[name] = dominance_FN @ targets_NJ[:, j] / dominance_FN.sum(1)
    return out


def contact(segment: Segment) -> tuple[float, float]:
    """When (s) the lips of this sound meet, and when they part: at least :data:`SHORTEST_S` apart."""
    if segment.viseme.released:
        return segment.start_s - max(STOP_SILENCE_S, SHORTEST_S), segment.start_s
    end = segment.end_s if segment.parted_s is None else segment.parted_s
    return min(segment.start_s, end - SHORTEST_S), end


def _events(heard: list[Segment], time_F: np.ndarray, kind: str) -> np.ndarray:
    """(F,) how far the contacts ``shut`` or ``bite`` are made."""
    made = np.zeros(len(time_F))
    for segment in heard:
        if amount := getattr(segment.viseme, kind):
            start, end = contact(segment)
            made = np.maximum(made, amount * _rise(np.minimum(time_F - start, end - time_F), FLANK_S))
    return made


def _pauses(heard: list[Segment], time_F: np.ndarray) -> np.ndarray:
    """(F,) how far into a pause this is, 0 … 1. Pauses that follow one another are one."""
    inside, start = np.zeros(len(time_F)), None
    for segment, after in zip(heard, [*heard[1:], None], strict=True):
        if not segment.pause:
            continue
        start = segment.start_s if start is None else start
        if after is None or not after.pause:
            # Lips that are about to close do not open first.
            end = segment.end_s + (BEFORE_S if after is not None and after.viseme.shut == 1 else 0.0)
            until = np.minimum((time_F - start) / AFTER_S, (end - time_F) / BEFORE_S)
            inside, start = np.maximum(inside, _smooth(np.clip(until, 0, 1))), None
    return inside


def _rise(inside_s: np.ndarray, flank_s: float) -> np.ndarray:
    """1 inside an interval, smoothly 0 from ``flank_s`` outside of it on."""
    return _smooth(np.clip(1 + inside_s / flank_s, 0, 1))


def _smooth(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)
