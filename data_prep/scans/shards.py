"""Textured scans of heads → shards with exact depth.

Every subfolder of FOLDER that holds a mesh is a scan (:mod:`data_prep.scans.files`), and so is FOLDER itself if it
holds one; so is every mesh of FaceScape's layout. A scan is brought into head axes by mediapipe's landmarks on it,
photographed by the renderer of :mod:`data_prep.scans.place` from a ring of views or by the cameras of its
``scan.json``, cropped as preparation crops, and becomes one sample of stills. Whatever is wrong with a scan is a row of
the manifest, and the rest goes on.

Skin, by ``--region``: ``face`` is mediapipe's oval without the eyes, as in fitted data; ``mesh`` is everything that is
seen. A scan with a ``mask`` has its own. Nothing else tells skin from hair or clothes on a scan.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from data_prep.choices import CAMERA_DISTANCE_MM, FACE, MESH, RING_YAWS_DEG
from data_prep.clips.quality import FAILED, KEPT, reason_kind
from data_prep.engines.records import MANIFEST
from data_prep.fit.render import HeadRenderer
from data_prep.head.files import FaceModel, load_face_model
from data_prep.scans import place as scan
from data_prep.scans.files import FACESCAPE, MESHES, ScanError, read_notes, read_picture, read_scan
from jdap.geometry import project
from jdap.io.files import replace_folder, write_whole
from jdap.io.progress import track
from jdap.shards.sample import Sample
from jdap.shards.schema import STUDIO, Record
from jdap.shards.writer import ShardWriter


class ScansError(ValueError):
    """A mistake in the command's arguments, told in one line."""


@dataclass(frozen=True)
class Ring:
    """Views of scans that bring no cameras: every yaw with every pitch (degrees) and distance (mm)."""

    yaws: Sequence[float] = RING_YAWS_DEG
    pitches: Sequence[float] = (0.0,)
    distances_mm: Sequence[float] = (CAMERA_DISTANCE_MM,)


@dataclass(frozen=True)
class ScanSettings:
    """What the command line says; ``size`` is the side of the pictures, pixels."""

    size: int = 512
    ring: Ring = Ring()
    region: str = FACE
    mm_per_unit: float | None = None
    seed: int = 0
    device: str = "cpu"
    mean_head: bool = False


def find_scans(folder: Path) -> list[Path]:
    """Folders that hold a mesh, and FaceScape's meshes, by name. Raises :class:`ScansError` where there is none."""
    if not folder.is_dir():
        raise ScansError(f"{folder}: no such folder of scans")
    meshes = [path for path in folder.rglob("*") if path.suffix.lower() in MESHES and path.is_file()]
    held = {path if path.parent.name == FACESCAPE else path.parent for path in meshes}
    if not held:
        raise ScansError(f"{folder}: no scan in it: a scan is a folder with a mesh ({', '.join(MESHES)})")
    return sorted(held)


def make_sample(folder: Path, name: str, settings: ScanSettings, face: FaceModel) -> Sample:
    """One scan's sample; ``name`` tells it from others. Raises :class:`ScanError` where it is of no use."""
    notes = read_notes(folder)
    read = read_scan(folder, notes.mm_per_unit or settings.mm_per_unit)
    head = scan.place(read, face.model, face.correspondence)
    if notes.mask is not None:
        grey = np.asarray(read_picture(notes.mask, notes.mask, "L"), np.float32) / 255
        head = replace(head, mask_1HW=torch.from_numpy(grey)[None])
    elif settings.region == MESH:
        head = replace(head, face_T=torch.ones_like(head.face_T))
    poses = [scan.pose_before(head, shot) for shot in notes.cameras]
    head = head.to(settings.device)
    # A scan's backgrounds follow from its name: they do not change with the scans beside it.
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(digest,)))
    if notes.cameras:
        views = [
            scan.photograph(head, *pose, shot.camera, settings.size, rng)
            for pose, shot in zip(poses, notes.cameras, strict=True)
        ]
    else:
        ring = settings.ring
        views = [
            scan.render_view(head, yaw, settings.size, rng, pitch_deg=pitch, distance_mm=distance)
            for pitch, distance, yaw in product(ring.pitches, ring.distances_mm, ring.yaws)
        ]
    blind = [i for i, view in enumerate(views) if not view.skin_SS.any()]
    if blind:
        raise ScanError(f"{folder}: no skin is seen in view {blind[0]} of {len(views)}")
    return _sample(notes.person_id, name, views, head, settings, face)


def _sample(
    person_id: str, name: str, views: list[scan.View], head: scan.Head, settings: ScanSettings, face: FaceModel
) -> Sample:
    camera, rotation, translation = (
        torch.stack([getattr(view, field) for view in views]).cpu()
        for field in ("camera_px_3", "rotation_3", "translation_mm_3")
    )
    points = scan.head_to_camera(head.landmarks_mm_N3.cpu()[None], rotation, translation)
    none = np.zeros((len(views), 0), np.float32)  # no model was fitted
    arrays = {
        "camera_px": camera.numpy(),
        "rotation": rotation.numpy(),
        "translation_mm": translation.numpy(),
        "identity": none,
        "expression": none,
        "landmarks_px": project(points, camera).numpy().astype(np.float32),
    }
    record = Record(
        clip_id=f"scan-{_safe(name)}",
        person_id=_safe(person_id),
        depth_source=STUDIO,
        frames=len(views),
        size_px=settings.size,
        fps=0.0,
        source=name,
        software={package: version(package) for package in ("jdap", "torch", "mediapipe")},
    )
    mean = None
    if settings.mean_head:
        model, correspondence = face.model.to(settings.device), face.correspondence.to(settings.device)
        mean = scan.mean_heads(views, HeadRenderer(model, correspondence))
    rgb, depth, skin = (np.stack([getattr(v, f) for v in views]) for f in ("rgb_SS3", "depth_mm_SS", "skin_SS"))
    return Sample(record, rgb, depth, skin, arrays, mean_head_mm_FHW=mean)


def _safe(name: str) -> str:
    """An id that is safe in keys; names that lose something by it keep a hash of what they were."""
    safe = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:48] or "scan"
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def prepare_scans(folder: Path, out: Path, settings: ScanSettings, overwrite: bool = False) -> list[dict[str, Any]]:
    """Every scan below ``folder`` into shards at ``out``, which is there whole or not at all; the manifest's rows.

    Raises :class:`ScansError` where ``out`` holds something already and ``overwrite`` is not set, or no scan is found.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise ScansError(f"{out} exists and is not empty: name another folder, or replace it with --overwrite")
    folders, face = find_scans(folder), load_face_model()
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    try:
        with ShardWriter(part, "scans") as writer:
            for each in track(folders, "scan", Console(stderr=True)):
                rows.append(
                    _row(each, os.path.relpath(each.resolve(), folder.resolve().parent), settings, face, writer)
                )
        write_whole(part / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())
        replace_folder(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return rows


def _row(folder: Path, name: str, settings: ScanSettings, face: FaceModel, writer: ShardWriter) -> dict[str, Any]:
    """Make one scan's sample and store it; what became of it."""
    row: dict[str, Any] = {"source": str(folder), "clip_id": f"scan-{_safe(name)}", "status": KEPT, "reason": ""}
    started = time.perf_counter()
    try:
        sample = make_sample(folder, name, settings, face)
    except (ScanError, OSError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{folder}").lstrip(":/ ")
        writer.reject(reason_kind(reason))
        return row | {"status": FAILED, "reason": reason, "frames": 0}
    writer.add_seconds("render", time.perf_counter() - started)
    writer.write(sample)
    return row | {"frames": sample.record.frames, "person_id": sample.record.person_id}
