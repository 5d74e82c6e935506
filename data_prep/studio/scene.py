"""What the studio is asked for and what comes back: a person, a take, scenes; pictures and all that is known of them.

Shapes: F frames of a person, S x S pixels, K identity modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.studio.looks import backdrop, light, picture
from data_prep.studio.looks.person import PersonLook
from data_prep.studio.motion import performance
from data_prep.studio.truth import Truth


@dataclass(frozen=True, eq=False)
class Person:
    """Who is photographed: ``person_id``, ``identity_K`` in standard deviations, and the look."""

    person_id: str
    identity_K: np.ndarray
    look: PersonLook


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about one frame but the person and its take."""

    lighting: light.Lighting
    background: backdrop.Background
    sensor: picture.Sensor


def draw_scene(rng: np.random.Generator, backgrounds: Sequence[Path] = ()) -> Scene:
    """Random light, background (half of them crops of the pictures ``backgrounds``, if there are any) and sensor."""
    return Scene(light.draw_lighting(rng), backdrop.draw_background(rng, backgrounds), picture.draw_sensor(rng))


@dataclass(frozen=True, eq=False)
class Shoot:
    """What one person is photographed in: a take of F frames and F ``scenes``; frames that share one scene object share
    its exposure. ``relit`` are F other lights for a second picture of each frame, or none."""

    person: Person
    take: performance.Take
    scenes: Sequence[Scene]
    relit: Sequence[light.Lighting] = ()


@dataclass(frozen=True, eq=False)
class ScenePictures:
    """What comes of a shoot: ``rgb_FSS3`` uint8; ``depth_mm_FSS`` float32 z-depth, 0 = nothing; ``skin_FSS`` bool;
    ``truth`` if it was asked for; of a shoot that was relit ``relit_FSS3`` uint8, and its ``relit_truth``."""

    rgb_FSS3: np.ndarray
    depth_mm_FSS: np.ndarray
    skin_FSS: np.ndarray
    truth: Truth | None = None
    relit_FSS3: np.ndarray | None = None
    relit_truth: Truth | None = None
