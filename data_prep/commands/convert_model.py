"""``python -m data_prep convert-model --kind flame|bfm|ict FILE --out MODEL``: a face model of the user's own, for
``--face-model MODEL``.

FLAME and the Basel Face Models are licensed to their holders, so nothing of them ships. ``docs/face_models.md`` has
the layouts that are read, and what becomes of them.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from data_prep.convert.derive import mirror_pairs, read_obj, refine_on, render_correspondence
from data_prep.convert.layouts import FLAME_MM, read_bfm, read_flame
from data_prep.convert.transfer import transfer
from data_prep.head import assets
from data_prep.head.files import FaceModel, check_suffix, load_face_model, save_face_model
from data_prep.head.ict import ModelFileError
from data_prep.head.landmarks import load_correspondence
from data_prep.head.model import load_ict


def run(args: argparse.Namespace) -> int:
    """Convert, and print how well the face was recognised."""
    check_suffix(args.out)
    if args.out.exists() and not args.overwrite:
        raise ModelFileError(f"{args.out} exists: name another file, or replace it with --overwrite")
    if args.mm_per_unit is not None and not 0 < args.mm_per_unit < float("inf"):
        raise ModelFileError(f"--mm-per-unit must be positive, got {args.mm_per_unit}")
    console = Console()
    face = convert(args.file, args.kind, args.shape_modes, args.mm_per_unit, console)
    save_face_model(args.out, face)
    model = face.model
    console.print(
        f"written: {args.out}: {len(model.mean_V3)} vertices, {len(model.identity_KV3)} identity modes, "
        f"{len(model.expression_names)} expressions; look at it with "
        f"`python -m data_prep correspond --face-model {args.out} --picture PNG`",
        markup=False,
        soft_wrap=True,
    )
    return 0


def convert(
    path: Path,
    kind: str,
    shape_modes: int | None = None,
    mm_per_unit: float | None = None,
    console: Console | None = None,
) -> FaceModel:
    """The converted model. Raises ModelFileError naming the file and what is wrong with it."""
    if not path.exists():
        raise ModelFileError(f"{path}: no such file")
    if kind == "ict":
        return FaceModel(load_ict(path), load_correspondence(), kind, path.name)
    if kind == "flame":
        raw = read_flame(path, FLAME_MM if mm_per_unit is None else mm_per_unit, shape_modes)
    else:
        raw = read_bfm(path, mm_per_unit)
    with path.open("rb") as file:
        source = f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    face, how = transfer(str(path), raw, load_face_model(), kind, source)
    if console is not None:
        console.print(
            f"registered: face {how.scale:.3f} times ICT's mean, landmarks {how.landmarks_off:.2f} mm off its skin "
            f"(median); expressions move the face by {how.expression_rms:.2f} mm rms"
            + (f", its own miss {how.expression_left_rms:.2f} mm of it" if face.own_expression_EJ.size else ""),
            soft_wrap=True,
        )
    return face


def correspond(path: Path, out: Path | None, picture: Path | None, people: list[Path]) -> int:
    """``python -m data_prep correspond --face-model``: refine a model's landmarks on people, write it, draw it."""
    if people and out is None:
        raise ModelFileError("--people moves the landmarks: name with --out the file of the refined model")
    if out is not None:
        check_suffix(out)
    console, face = Console(), load_face_model(path)
    canonical_mm, _ = read_obj(assets.fetch("canonical_face"))
    refined = refine_on(people, face.correspondence, face.model, mirror_pairs(canonical_mm), console)
    if out is not None:
        save_face_model(out, replace(face, correspondence=refined))
        console.print(f"written: {out}", soft_wrap=True)
    if picture is not None:
        render_correspondence(refined, face.model, picture)
        console.print(f"picture: {picture}", soft_wrap=True)
    return 0
