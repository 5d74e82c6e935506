"""What of a head is changed: expressions by their names, and a turn.

Names of expressions are ARKit's with ``_L`` and ``_R`` (``jawOpen``, ``mouthSmile_L``); without a side a name stands
for both, and mediapipe's spelling (``mouthSmileLeft``) is understood.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jdap.geometry import axis_angle_to_matrix

#: Turns → how far either way, in degrees; beyond that the photo does not show what would be seen.
TURNS = {"yaw": 45.0, "pitch": 30.0, "roll": 45.0}
_SIDES = {"left": "_L", "right": "_R"}


class PoseError(ValueError):
    """A change that cannot be made; the message is one line and says what to do."""


@dataclass(frozen=True)
class Change:
    """``expression``: name → strength, 0 … 1, in place of what the photo shows; other expressions stay.

    ``yaw``, ``pitch``, ``roll``: degrees by which the head turns beyond its pose in the photo: to the picture's right,
    upwards, and clockwise.

    Raises :class:`PoseError` for what is out of range.
    """

    expression: Mapping[str, float] = field(default_factory=dict)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def __post_init__(self) -> None:
        for name, most in TURNS.items():
            if not -most <= (value := getattr(self, name)) <= most:
                raise PoseError(f"{name} must be within −{most:g} … {most:g} degrees, got {value:g}")
        for name, value in self.expression.items():
            if not 0 <= value <= 1:
                raise PoseError(f"{name} must be within 0 … 1, got {value:g}")

    def on(self, expression_E: Tensor, names: Sequence[str]) -> Tensor:
        """(E,): an expression of these ``names``, changed. Raises :class:`PoseError` for a name that is not there."""
        changed = expression_E.clone()
        for name, value in self.expression.items():
            changed[[names.index(one) for one in named(name, names)]] = value
        return changed

    def rotation(self) -> Tensor:
        """(3, 3): the turn, in the camera's axes (x right, y down, z forward)."""
        # A face looks at the camera, along -z: to turn it right is a negative turn about y, upwards one about x.
        turns = torch.tensor([[0.0, -self.yaw, 0.0], [-self.pitch, 0.0, 0.0], [0.0, 0.0, self.roll]]) * math.pi / 180
        yaw, pitch, roll = axis_angle_to_matrix(turns)
        return roll @ yaw @ pitch

    def said(self) -> list[str]:
        """``NAME=VALUE`` of all that is changed."""
        turns = {name: getattr(self, name) for name in TURNS if getattr(self, name)}
        return [f"{name}={value:g}" for name, value in {**self.expression, **turns}.items()]


def read_change(settings: Iterable[tuple[str, float]], names: Sequence[str]) -> Change:
    """The change that pairs of name and value ask for, of a head with expressions of these ``names``.

    Later ones win. Raises :class:`PoseError` for a name that is not known, with the nearest, and for a value that is
    out of range.
    """
    expression: dict[str, float] = {}
    turns: dict[str, float] = {}
    for name, value in settings:
        if name.lower() in TURNS:
            turns[name.lower()] = float(value)
        else:
            expression |= dict.fromkeys(named(name, names), float(value))
    return Change(expression, **turns)


def named(name: str, names: Sequence[str]) -> list[str]:
    """The expressions that a name means: one, or both sides. Raises :class:`PoseError`."""
    wanted = name.lower()
    for word, side in _SIDES.items():
        if wanted.endswith(word) and wanted.removesuffix(word) + side.lower() in map(str.lower, names):
            wanted = wanted.removesuffix(word) + side.lower()
    found = [one for one in names if one.lower() == wanted or one.lower().rpartition("_")[0] == wanted]
    if found:
        return found
    offered = list(dict.fromkeys([*TURNS, *(one.removesuffix("_L").removesuffix("_R") for one in names)]))
    lower = {one.lower(): one for one in [*offered, *names]}
    near = difflib.get_close_matches(wanted, lower, n=1, cutoff=0.5)
    guess = f"; the nearest is {lower[near[0]]}" if near else ""
    raise PoseError(f"no expression is called {name!r}{guess}; there are {', '.join(offered)}")


def read_setting(text: str) -> tuple[str, float]:
    """``jawOpen=.6`` → its name and value. Raises :class:`PoseError`."""
    name, equals, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (name and equals and math.isfinite(value)):
        raise PoseError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def read_sweep(text: str) -> tuple[str, float, float]:
    """``yaw=-25:25`` → its name and two values. Raises :class:`PoseError`."""
    name, _, numbers = text.partition("=")
    try:
        first, last = (float(word) for word in numbers.split(":"))
    except ValueError:
        first = last = math.nan
    if not (name and math.isfinite(first) and math.isfinite(last)):
        raise PoseError(f"must be NAME=FROM:TO, got {text!r}")
    return name, first, last


def there_and_back(first: float, last: float, count: int) -> list[float]:
    """``count`` values from ``first`` to ``last`` and back, slow at the ends; the next would be the first again."""
    return [first + (last - first) * (1 - math.cos(2 * math.pi * k / count)) / 2 for k in range(count)]
