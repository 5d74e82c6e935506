"""Deriving :mod:`data_prep.head.landmarks`: mediapipe's canonical face, registered to the ICT mean head.

1. Similarity (Umeyama 1991) on the inner landmarks that both faces share: the 68 multi-PIE points.
2. Thin-plate radial basis functions carry the canonical face so that the shared landmarks meet.
3. Laplacian non-rigid ICP: pull every vertex to the closest skin point with a compatible normal, while the Laplacian
   coordinates of step 2 hold the shape; stiffness falls from round to round.
4. The closest skin point of each vertex is its triangle and barycentric weights, averaged with its mirror image (both
   faces are symmetric, so what differs between the halves is noise).

Shapes: N canonical vertices, P query points, T triangles, K candidate triangles.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from data_prep.convert.refine import person_of, refine
from data_prep.head import assets
from data_prep.head.closest import closest_points, face_normals
from data_prep.head.landmarks import FACE_OVAL, LANDMARK_COUNT, Correspondence, encode_correspondence
from data_prep.head.model import MorphableModel, head_to_camera, load_ict
from jdap.geometry import project, vertex_normals
from jdap.io.files import write_whole
from jdap.io.progress import track
from jdap.shape.rasterise import interpolate, rasterise

#: The multi-PIE points 17 … 67 (brows, nose, eyes, lips) and 8 (chin), as vertices of ICT-FaceKit (its README) …
ICT_SHARED = (
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213),
    *(6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966, 966),
)
#: … and as mediapipe landmarks (the topology picture of its canonical face).
MEDIAPIPE_SHARED = (
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291),
    *(405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87, 152),
)
#: Laplacian stiffness of the rounds of the registration, against a weight of 1 on each closest point.
STIFFNESS = tuple(np.geomspace(50.0, 1.0, 12))
#: Weight of the shared landmarks in the registration: they start it, the surface finishes it.
LANDMARK_WEIGHT = 1.0
#: A closest point counts while its normal is within 60 degrees.
NORMAL_COSINE = 0.5


def main(out: Path, picture: Path | None, people: list[Path]) -> int:
    """Derive the correspondence, refine it on videos of people, write it to ``out``, draw it; prints what changed."""
    console = Console()
    model = load_ict()
    vertices_mm, faces = read_obj(assets.fetch("canonical_face"))
    registered_mm = register(vertices_mm, faces, model)
    correspondence, distance_mm = attach(registered_mm, vertices_mm, model)
    console.print(
        f"registered: {len(distance_mm)} landmarks, off the skin by {np.median(distance_mm):.2f} mm (median), "
        f"{np.quantile(distance_mm, 0.95):.2f} mm (95 %)"
    )
    correspondence = refine_on(people, correspondence, model, mirror_pairs(vertices_mm), console)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, encode_correspondence(correspondence))
    console.print(f"written: {out}", soft_wrap=True)
    if picture is not None:
        render_correspondence(correspondence, model, picture)
        console.print(f"picture: {picture}")
    return 0


def refine_on(
    people: list[Path], correspondence: Correspondence, model: MorphableModel, pairs: np.ndarray, console: Console
) -> Correspondence:
    """The correspondence, refined on videos of people (as it is where there are none); prints how far it moved."""
    if not people:
        return correspondence
    found = [person_of(path, model) for path in track(people, "person", Console(stderr=True))]
    refined = refine(correspondence, found, model, pairs)
    moved = (refined.points(model.mean_V3[None]) - correspondence.points(model.mean_V3[None]))[0].norm(dim=-1)
    console.print(f"refined on {len(found)} people: moved by {float(moved.median()):.2f} mm (median)")
    return refined


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """mediapipe's canonical face: vertices (468, 3) in millimetres (the file is in cm) and triangles (T, 3)."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    vertices = np.array([[float(x) for x in line[1:4]] for line in lines if line[:1] == ["v"]]) * 10
    faces = np.array([[int(c.split("/")[0]) - 1 for c in line[1:4]] for line in lines if line[:1] == ["f"]])
    if vertices.shape != (LANDMARK_COUNT, 3):
        raise ValueError(
            f"{path} is not mediapipe's canonical face: it has {len(vertices)} vertices, not {LANDMARK_COUNT}"
        )
    return vertices, faces


def similarity(source_N3: np.ndarray, target_N3: np.ndarray) -> np.ndarray:
    """The (3, 4) matrix [s R | t] that takes source to target in least squares (Umeyama 1991), det R = +1."""
    a, b = source_N3 - source_N3.mean(0), target_N3 - target_N3.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scaled = (d * sign).sum() / (a**2).sum() * (u * sign) @ vt
    return np.column_stack([scaled, target_N3.mean(0) - scaled @ source_N3.mean(0)])


def register(vertices_mm: np.ndarray, faces: np.ndarray, model: MorphableModel) -> np.ndarray:
    """The canonical face's vertices (N, 3), carried onto the skin of the mean head in head space (mm)."""
    target = model.mean_V3.double().numpy()
    skin = model.skin_faces().numpy()
    shared, goal = list(MEDIAPIPE_SHARED), target[list(ICT_SHARED)]
    matrix = similarity(vertices_mm[shared], goal)
    aligned = vertices_mm @ matrix[:, :3].T + matrix[:, 3]
    warp = RBFInterpolator(aligned[shared], goal - aligned[shared], kernel="thin_plate_spline", smoothing=1.0)
    warped = aligned + warp(aligned)

    return settle(warped, faces, target, skin, np.array(shared), goal)


def settle(
    start_mm: np.ndarray,
    faces: np.ndarray,
    target: np.ndarray,
    skin: np.ndarray,
    shared: np.ndarray | None = None,
    goal: np.ndarray | None = None,
) -> np.ndarray:
    """Laplacian non-rigid ICP: points (N, 3) with triangles ``faces``, pulled onto the triangles ``skin`` of the
    vertices ``target``; the points ``shared`` (S,), if any, are held near ``goal`` (S, 3).
    """
    laplacian = _laplacian(len(start_mm), faces)
    shape = laplacian @ start_mm
    pinned = np.zeros(len(start_mm))
    pins = np.zeros_like(start_mm)
    if shared is not None:
        pinned[shared], pins[shared] = LANDMARK_WEIGHT, goal
    moved = start_mm
    for stiffness in STIFFNESS:
        closest, triangle, _ = closest_points(moved, target, skin)
        cosine = (_vertex_normals(moved, faces) * face_normals(target, skin)[triangle]).sum(1)
        weight = (cosine > NORMAL_COSINE).astype(float)
        normal = np.diag(weight + pinned) + stiffness * laplacian.T @ laplacian
        right = weight[:, None] * closest + pinned[:, None] * pins + stiffness * laplacian.T @ shape
        moved = np.linalg.solve(normal, right)
    return moved


def attach(
    registered_mm: np.ndarray, canonical_mm: np.ndarray, model: MorphableModel
) -> tuple[Correspondence, np.ndarray]:
    """The skin points under registered vertices, made symmetric, and how far (mm) the vertices were off the skin.

    A vertex and its mirror image (:func:`mirror_pairs`) are averaged before they are attached.
    """
    pairs = mirror_pairs(canonical_mm)
    flip = np.array([-1.0, 1.0, 1.0])
    symmetric = (registered_mm + registered_mm[pairs] * flip) / 2
    skin = model.skin_faces().numpy()
    closest, triangle, weights = closest_points(symmetric, model.mean_V3.double().numpy(), skin)
    distance = np.linalg.norm(symmetric - closest, axis=1)
    corners = torch.from_numpy(skin[triangle])
    made = Correspondence(corners, torch.from_numpy(weights).float(), torch.ones(len(pairs)))
    return made, distance


def mirror_pairs(canonical_mm: np.ndarray) -> np.ndarray:
    """(468,) int: the landmark that lies at the mirror image (x → -x) of each landmark of the canonical face."""
    distance, pairs = cKDTree(canonical_mm).query(canonical_mm * [-1, 1, 1])
    if distance.max() > 0.5 or not (pairs[pairs] == np.arange(len(pairs))).all():
        raise ValueError("the canonical face is not symmetric: is it mediapipe's canonical_face_model.obj?")
    return pairs


def _laplacian(vertices: int, faces: np.ndarray) -> np.ndarray:
    """The (N, N) graph Laplacian: a vertex minus the mean of its neighbours."""
    neighbours = np.zeros((vertices, vertices))
    for i in range(3):
        j = (i + 1) % 3
        neighbours[faces[:, i], faces[:, j]] = neighbours[faces[:, j], faces[:, i]] = 1
    return np.eye(vertices) - neighbours / neighbours.sum(1, keepdims=True)


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    normals = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(faces))
    return normals[0].numpy()


def render_correspondence(correspondence: Correspondence, model: MorphableModel, path: Path, size: int = 900) -> None:
    """A PNG of the landmarks (dots, the face oval's in red) on the mean head, frontal and three-quarter."""
    views = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.8, 0.0]])
    drawn = model.drawn()
    camera = torch.tensor([[2.6 * size, size / 2, size / 2]]).expand(2, -1)
    posed = head_to_camera(model.mean_V3[None], views, torch.tensor([[0.0, 0.0, 700.0]]))
    fragments = rasterise(posed, drawn.faces_T3, camera, size, size)
    normals = vertex_normals(posed, drawn.faces_T3)
    shade = 0.25 + 0.7 * -interpolate(fragments, drawn.faces_T3, normals)[..., 2].clamp(-1, 0)
    points = project(correspondence.points(posed), camera)
    figure, axes = plt.subplots(1, 2, figsize=(18, 9))
    for i, axis in enumerate(axes):
        axis.imshow(torch.where(fragments.mask[i], shade[i], 1.0), cmap="gray", vmin=0, vmax=1)
        axis.scatter(*points[i].T, s=6, c="tab:blue")
        axis.scatter(*points[i, list(FACE_OVAL)].T, s=10, c="tab:red")
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    plt.close(figure)
