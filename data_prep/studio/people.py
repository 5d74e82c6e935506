"""People of the studio as samples: who they are, what they do before the camera, and what is stored of it.

A person is a pure function of (seed, index): the splits are disjoint ranges of the index, so held-out people share
no random stream, and thus no identity coefficients, with training ones. Neither the number of people nor of workers
nor the device changes what is drawn, and a still does not depend on how many follow it.

Shapes: F frames, S x S pixels, K identity modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from data_prep.choices import SPLIT_START
from data_prep.head.mouth import measure_mouth
from data_prep.studio.looks.light import draw_lighting
from data_prep.studio.looks.person import draw_look
from data_prep.studio.motion import performance
from data_prep.studio.photograph import Studio
from data_prep.studio.scene import Person, ScenePictures, Shoot, draw_scene
from data_prep.studio.speech.talk import Talk, draw_talk
from jdap.shards.sample import Sample
from jdap.shards.schema import STUDIO, Record
from jdap.units import FPS

#: Identity coefficients are standard normal, redrawn beyond this many standard deviations.
MAX_IDENTITY_SD = 2.0
_LOOK, _IDENTITY, _TAKE, _RELIGHT = range(4)


def draw_person(seed: int, index: int, modes: int) -> Person:
    """The person of this seed and index, with ``modes`` identity coefficients."""
    rng = _stream(seed, index, _IDENTITY)
    identity = rng.standard_normal(modes)
    while (wide := np.abs(identity) > MAX_IDENTITY_SD).any():
        identity[wide] = rng.standard_normal(int(wide.sum()))
    return Person(person_id_of(seed, index), identity.astype(np.float32), draw_look(_stream(seed, index, _LOOK)))


def person_id_of(seed: int, index: int) -> str:
    """What the person of this seed and index is called."""
    return f"studio-{seed}-{index}"


def split_of(index: int) -> str:
    """The split of the person ``index``."""
    return max((name for name, start in SPLIT_START.items() if start <= index), key=SPLIT_START.__getitem__)


def _stream(seed: int, index: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, *purpose)))


@dataclass(frozen=True)
class PersonJob:
    """What is made of each person: ``frames`` stills, independent or of one sitting, or a clip of as many frames at
    25 fps, silent or talking.

    ``kind`` is one of :data:`data_prep.choices.PERSON_KINDS`; ``size`` is the side of the pictures, pixels;
    ``mean_head`` adds the depth of the posed mean head, ``truth`` what :class:`data_prep.studio.truth.Truth` holds,
    ``relight`` a second picture of each frame in other light; ``shadows`` are those of the head on itself; depth is
    rounded to ``depth_step_mm``, which makes files smaller (0: to what they hold).
    """

    seed: int
    frames: int
    size: int
    kind: str = "stills"
    mean_head: bool = False
    backgrounds: tuple[Path, ...] = ()
    truth: bool = False
    relight: bool = False
    shadows: bool = True
    depth_step_mm: float = 0.0


def make_sample(studio: Studio, job: PersonJob, index: int) -> Sample:
    """The sample of the person (``job.seed``, ``index``)."""
    return make_batch(studio, job, [index])[0]


def make_batch(studio: Studio, job: PersonJob, indices: Sequence[int]) -> list[Sample]:
    """The samples of several people, photographed together; each is what it would be alone."""
    planned = [plan(studio, job, index) for index in indices]
    # Light is asked of the truth, and relit pictures are of no use without it.
    shots = studio.photograph(
        [shoot for shoot, _ in planned], job.size, shadows=job.shadows, truth=job.truth or job.relight
    )
    return [_sample(studio, job, shoot, talk, shot) for (shoot, talk), shot in zip(planned, shots, strict=True)]


def plan(studio: Studio, job: PersonJob, index: int) -> tuple[Shoot, Talk | None]:
    """What happens before the camera, and what is said."""
    names = studio.bust.model.expression_names
    person = draw_person(job.seed, index, len(studio.bust.model.identity_KV3))
    talk = None
    if job.kind == "talk":
        rng = _stream(job.seed, index, _TAKE, 2)
        scenes = [draw_scene(rng, job.backgrounds)] * job.frames
        mouth = measure_mouth(studio.bust.model, person.identity_K)
        talk = draw_talk(rng, mouth, job.frames, job.size, split_of(index))
        take = talk.take
    elif job.kind == "clips":
        rng = _stream(job.seed, index, _TAKE, 0)
        scenes = [draw_scene(rng, job.backgrounds)] * job.frames
        take = performance.draw_clip(rng, names, job.frames, job.size)
    else:
        sitting = job.kind == "sittings"
        streams = [_stream(job.seed, index, _TAKE, 3 if sitting else 1, i) for i in range(job.frames)]
        if sitting:
            scenes = [draw_scene(_stream(job.seed, index, _TAKE, 3), job.backgrounds)] * job.frames
        else:
            scenes = [draw_scene(rng, job.backgrounds) for rng in streams]
        take = performance.join([performance.draw_still(rng, names, job.size) for rng in streams])
    if not job.relight:
        return Shoot(person, take, scenes), talk
    if job.kind == "stills":
        relit = [draw_lighting(_stream(job.seed, index, _RELIGHT, 1, i)) for i in range(job.frames)]
    else:
        relit = [draw_lighting(_stream(job.seed, index, _RELIGHT, 0))] * job.frames
    return Shoot(person, take, scenes, relit), talk


def _sample(studio: Studio, job: PersonJob, shoot: Shoot, talk: Talk | None, shot: ScenePictures) -> Sample:
    person, take = shoot.person, shoot.take
    arrays = {
        "camera_px": take.camera_px_F3,
        "rotation": take.rotation_F3,
        "translation_mm": take.translation_mm_F3,
        "identity": np.repeat(person.identity_K[None], job.frames, 0),
        "expression": take.expression_FE,
    }
    maps: dict[str, np.ndarray] = {}
    if shot.truth is not None:
        arrays |= shot.truth.lights()
        maps |= shot.truth.maps() if job.truth else {}
    if shot.relit_truth is not None and shot.relit_FSS3 is not None:
        arrays |= shot.relit_truth.lights("relit", "relit_gain")
        maps["relit"] = shot.relit_FSS3
    record = Record(
        clip_id=f"{person.person_id}-{job.kind}",
        person_id=person.person_id,
        depth_source=STUDIO,
        frames=job.frames,
        size_px=job.size,
        fps=float(FPS) if job.kind in ("clips", "talk") else 0.0,
        source="ICT-FaceKit",
        scores={"lip_opening_mm": [round(float(mm), 2) for mm in talk.opening_mm_F]} if talk else {},
        software={"jdap": _version(), "torch": torch.__version__},
        speech=talk.record() if talk else {},
    )
    mean_mm = studio.mean_head(take, job.size) if job.mean_head else None
    return Sample(
        record,
        shot.rgb_FSS3,
        _stepped(shot.depth_mm_FSS, job.depth_step_mm),
        shot.skin_FSS,
        arrays,
        talk.audio_N if talk else None,
        mean_head_mm_FHW=mean_mm,
        maps=maps,
    )


def _stepped(depth_mm: np.ndarray, step_mm: float) -> np.ndarray:
    """Depth (0 = no value) in whole steps; what has a value keeps one."""
    if step_mm == 0:
        return depth_mm
    steps = np.maximum(np.rint(depth_mm / step_mm), depth_mm > 0)
    return (steps * step_mm).astype(np.float32)


def _version() -> str:
    try:
        return version("jdap")
    except PackageNotFoundError:
        return "source"
