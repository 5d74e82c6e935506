"""Several channels of sound as one, as loud as a player makes them.

A player lays a film's channels on two loudspeakers: the centre at 0.71 in both, what is beside and behind at 0.71 in
its own one, and the low effects nowhere (ITU-R BS.775). One channel is the mean of those two. So the dialogue of a 5.1
film is as loud beside a stereo recording as it is at home, and a mean over six channels is not (16 dB too quiet).

Shapes: N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SQRT_HALF = 0.7071
#: Share of each channel in the one: half of what it has in the two loudspeakers together.
_FRONT, _CENTRE, _ASIDE = 0.5, SQRT_HALF, 0.5 * SQRT_HALF
_SHARES = {
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "BC"), _FRONT),
    "FC": _CENTRE,
    **dict.fromkeys(("SL", "SR", "BL", "BR", "WL", "WR", "TFL", "TFR", "TBL", "TBR", "TSL", "TSR"), _ASIDE),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
#: Channels cancel where the one has less than this share of the power of what they add to it (-20 dB) …
CANCELLED = 0.01
#: … and that is heard at all: -60 dB.
AUDIBLE = 1e-6


def shares(names: Sequence[str]) -> np.ndarray:
    """(C,) float32, what each channel adds to the one. Channels without a place of their own are averaged."""
    known = [_SHARES.get(name) for name in names]
    if len(names) == 1 or not all(share is not None for share in known) or not any(known):
        return np.full(len(names), 1 / len(names), np.float32)
    return np.array(known, np.float32)


def mix(samples_NC: np.ndarray, shares_C: np.ndarray) -> np.ndarray:
    """(N,) float32: the channels as one, nowhere louder than the loudest of them."""
    loudest = np.abs(samples_NC).max(1)
    return np.clip(samples_NC @ shares_C, -loudest, loudest).astype(np.float32)


def cancels(samples_NC: np.ndarray, shares_C: np.ndarray, one_N: np.ndarray) -> bool:
    """Whether what the channels add to the one is heard and, out of phase, leaves nothing of one another there."""
    power = float(np.square(samples_NC * shares_C).sum(1).mean())
    return power > AUDIBLE and float(np.square(one_N).mean()) < CANCELLED * power
