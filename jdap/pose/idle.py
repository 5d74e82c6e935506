"""What a head does by itself while somebody speaks: it sways a little, and blinks.

Motion is a sum of a few slow waves and blinks come at random, both functions of the seed and the time alone: a longer
video begins like a shorter one.
"""

from __future__ import annotations

import math
from bisect import bisect

import numpy as np

from jdap.pose.change import Change

#: Degrees of yaw, pitch and roll (about one standard deviation), and how fast they sway, Hz.
SWAY_DEG = {"yaw": (2.2, 0.22), "pitch": (1.2, 0.3), "roll": (0.9, 0.18)}
WAVES = 4
#: Sway begins within so many seconds: the first frame is the photo.
EASE_S = 1.0
#: Blinks: seconds between them on average beside the least, and how long half of one lasts.
BETWEEN_S, BLINK_LEAST_S, HALF_S = 2.7, 0.6, 0.12
BLINK = "eyeBlink"
#: The most that sway can be strengthened: all waves together then turn the head by less than it may be turned.
MOST_STRENGTH = 7.0


class Idle:
    """Sway and blinks of one video; ``strength`` scales the sway, and at 0 there are no blinks either.

    Raises ValueError for a strength that is not within 0 … :data:`MOST_STRENGTH`.
    """

    def __init__(self, seed: int = 0, strength: float = 1.0) -> None:
        if not 0 <= strength <= MOST_STRENGTH:
            raise ValueError(f"the strength of motion must be within 0 … {MOST_STRENGTH:g}, got {strength}")
        rng, self._blinks = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        self.strength = strength
        shape = (len(SWAY_DEG), WAVES)
        hertz = np.array([rate for _, rate in SWAY_DEG.values()])[:, None]
        self._hertz, self._phase = hertz * rng.uniform(0.4, 1.6, shape), rng.uniform(0, 2 * np.pi, shape)
        self._degrees = strength * np.array([most for most, _ in SWAY_DEG.values()])[:, None] * math.sqrt(2 / WAVES)
        self._times_s = [self._blinks.uniform(BLINK_LEAST_S, BETWEEN_S)]

    def turn(self, time_s: float) -> Change:
        """How far the head is turned at a time."""
        waves = np.sin(2 * np.pi * self._hertz * time_s + self._phase)
        ease = min(time_s / EASE_S, 1.0)
        degrees = (self._degrees * waves).sum(1) * ease * ease * (3 - 2 * ease)
        return Change(**dict(zip(SWAY_DEG, degrees.tolist(), strict=True)))

    def lids(self, time_s: float) -> float:
        """How far the lids are shut at a time, 0 … 1."""
        if not self.strength:
            return 0.0
        while self._times_s[-1] < time_s + BLINK_LEAST_S:
            self._times_s.append(self._times_s[-1] + BLINK_LEAST_S + self._blinks.exponential(BETWEEN_S))
        after = bisect(self._times_s, time_s)
        apart_s = min(abs(time_s - blink_s) for blink_s in self._times_s[max(after - 1, 0) : after + 1])
        return float(np.clip(1.25 - apart_s / HALF_S, 0, 1))
