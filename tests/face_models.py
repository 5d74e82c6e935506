"""Face models drawn in the layouts of FLAME and of the Basel Face Models, from ICT-FaceKit's mean head.

``from face_models import shuffled, shell, write_flame, …``. Nothing of FLAME or Basel is in them but the layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_prep.head.model import MorphableModel, head_to_camera
from jdap.shape.rasterise import interpolate, rasterise


@dataclass(frozen=True)
class Drawn:
    """``mean`` (V, 3), ``identity`` (K, V, 3), ``expression`` (J, V, 3), mm; ``faces`` (T, 3); ``ict_vertex`` (V,) of
    a shuffled model."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    faces: np.ndarray
    ict_vertex: np.ndarray | None = None


def shuffled(ict: MorphableModel, modes: int, seed: int = 0) -> Drawn:
    """ICT's drawn mesh with its vertices and triangles in another order, clockwise, and moved."""
    drawn, rng = ict.drawn(), np.random.default_rng(seed)
    used, faces = (x.numpy() for x in drawn.faces_T3.unique(return_inverse=True))
    order = rng.permutation(len(used))
    place = np.argsort(order)
    source = used[order]
    return Drawn(
        ict.mean_V3.numpy()[source] + np.array([3.0, -40.0, 25.0]),
        ict.identity_KV3.numpy()[:modes, source],
        ict.expression_EV3.numpy()[:, source],
        place[faces][rng.permutation(len(faces))][:, ::-1],
        source,
    )


def shell(ict: MorphableModel, modes: int, side: int = 110, components: int = 40) -> Drawn:
    """The front of ICT's head on a grid of points, as another topology has it: one skin over face and eyes.

    Expressions are the principal components of ICT's, one standard deviation over its 53.
    """
    drawn = ict.drawn()
    vertices = head_to_camera(drawn.mean_V3[None], torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 5000.0]]))
    camera = torch.tensor([[5000 / 230 * side, side / 2, side / 2]])
    seen = rasterise(vertices, drawn.faces_T3, camera, side, side)
    number = np.full((side, side), -1)
    mask = seen.mask[0].numpy()
    number[mask] = np.arange(mask.sum())
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    depth = seen.depth_mm[0].numpy()
    corner = np.stack([depth[:-1, :-1], depth[1:, :-1], depth[1:, 1:], depth[:-1, 1:]])
    whole = (np.stack([a, b, c, d]) >= 0).all(0) & (np.ptp(corner, axis=0) < 15)
    faces = np.concatenate([np.stack([a, b, c], -1)[whole], np.stack([a, c, d], -1)[whole]])
    used, faces = np.unique(faces, return_inverse=True)

    def sampled(values_RV3: torch.Tensor) -> np.ndarray:
        rows = [interpolate(seen, drawn.faces_T3, value[None])[0].numpy()[mask][used] for value in values_RV3]
        return np.stack(rows)

    moves = sampled(ict.expression_EV3)
    _, widths, rows = np.linalg.svd(moves.reshape(len(moves), -1), full_matrices=False)
    own = (rows * (widths / np.sqrt(len(moves)))[:, None])[:components]
    return Drawn(
        sampled(ict.mean_V3[None])[0],
        sampled(ict.identity_KV3[:modes]),
        own.reshape(-1, len(used), 3),
        faces.reshape(-1, 3),
    )


def flame_members(drawn: Drawn) -> dict[str, np.ndarray]:
    """FLAME's layout: metres, directions last."""
    directions = np.concatenate([drawn.identity, drawn.expression]).transpose(1, 2, 0) / 1000
    return {"v_template": drawn.mean / 1000, "shapedirs": directions, "f": drawn.faces.astype(np.uint32)}


def write_bfm_2009(path: Path, drawn: Drawn) -> None:
    """A version 5 .mat: micrometres, x y z in one column, unit components and their deviations, counted from 1."""
    import scipy.io

    rows = drawn.identity.reshape(len(drawn.identity), -1)
    deviation = np.linalg.norm(rows, axis=1)
    members = {
        "shapeMU": drawn.mean.reshape(-1, 1) * 1000,
        "shapePC": (rows / deviation[:, None]).T,
        "shapeEV": deviation[:, None] * 1000,
        "tl": drawn.faces + 1.0,
    }
    scipy.io.savemat(path, {name: array.astype(np.float32) for name, array in members.items()})


def write_bfm_2017(path: Path, drawn: Drawn) -> None:
    """Statismo's .h5: millimetres, unit components and variances; half of the mean head is mean expression."""
    import h5py

    with h5py.File(path, "w") as file:
        for part, modes, share in (("shape", drawn.identity, 0.75), ("expression", drawn.expression, 0.25)):
            rows = modes.reshape(len(modes), -1)
            variance = np.square(rows).sum(1)
            file[f"{part}/model/mean"] = drawn.mean.reshape(-1) * share
            file[f"{part}/model/pcaBasis"] = (rows / np.sqrt(variance)[:, None]).T
            file[f"{part}/model/pcaVariance"] = variance
            file[f"{part}/representer/cells"] = drawn.faces.T.astype(np.int32)
