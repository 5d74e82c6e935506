"""What a foreign face model lacks, carried over from ICT-FaceKit by the shape of its face.

FLAME and the Basel models bring identity modes, and expressions by principal components. A fit and a renderer of this
project need more: where mediapipe's landmarks lie, which triangles are skin, and expressions by ARKit's names, for
which mediapipe gives a prior. All of it is on ICT-FaceKit, so ICT's mean head is registered to the foreign one:

1. Both mean heads are drawn alike, and mediapipe's landmarks on both drawings are lifted onto the surfaces. From them
   follows a similarity (Umeyama 1991), and whether the foreign face is of a head's size.
2. Iterated closest points lay ICT's skin on the foreign surface by an affine map: landmarks on drawings are some
   millimetres off, surfaces are not. Then Laplacian non-rigid ICP (:func:`data_prep.convert.derive.settle`) lays
   the refined landmarks of :mod:`data_prep.head.landmarks` on the foreign skin, and a biharmonic warp of space (radial
   basis ``r``) by these 468 points carries the whole mean head.
3. The foreign head is shifted so that its landmarks' mean is ICT's: the origin of head space. It is neither turned nor
   scaled.
4. Each foreign triangle is of the part that is nearest on the carried head, and each foreign vertex moves with the
   expressions of the nearest point, scaled by the size of the faces.
5. Where the model has expressions of its own, each of ICT's is replaced by the nearest that these can make: the
   maximum a posteriori coefficients ``c`` of ``|B c - t|² / (1 mm)² + |c|²``, the face worth 1,000 vertices.

A model that is ICT's own mesh in another order comes back as it is (a test holds it).

Shapes: N landmarks, V vertices, T triangles, E ICT's expressions, J the model's own, P points, D of the donor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from data_prep.convert.derive import NORMAL_COSINE, read_obj, settle, similarity
from data_prep.convert.layouts import RawModel
from data_prep.head import assets
from data_prep.head.closest import closest_points
from data_prep.head.files import FaceModel
from data_prep.head.ict import ModelFileError
from data_prep.head.landmarks import FACE_OVAL, Correspondence
from data_prep.head.model import PART_NAMES, MorphableModel
from data_prep.scans.place import LIKELY_SCALE, STUDIO_GREY, ScanError, lift_landmarks
from jdap.geometry import vertex_normals
from jdap.shape.rasterise import Fragments, interpolate

#: Heads, with or without a neck and shoulders, are this high, mm. Checked before anything is drawn.
LIKELY_HEIGHT_MM = (120.0, 800.0)
#: Skin in the drawings (linear RGB), the same on all heads.
PAINT = (0.6, 0.35, 0.25)
#: A vertex moves with the carried head up to the first distance (mm), and not at all beyond the second.
FOLLOWS_MM = (6.0, 20.0)
#: Triangles further from the carried head than this (mm) are neither face nor skin: bust and back.
BELONGS_MM = 20.0
#: Of the maximum a posteriori expressions: vertices that count as independent.
INDEPENDENT = 1000.0
#: Iterated closest points: rounds, every how many vertices of ICT's skin, the distance (mm) at which one counts half,
#: and the share of distances across the normal.
ICP_ROUNDS, SPARSE, TRIM_MM, SLIDE = 15, 12, 3.0, 0.01
#: Radial basis functions let points miss by a share of a millimetre.
SMOOTHING = 1.0
#: Points that are looked up at a time, among so many triangles each.
VERTICES_AT_ONCE, CANDIDATES = 4096, 16


@dataclass(frozen=True)
class TransferQuality:
    """How well it went, millimetres unless noted.

    * ``scale``: the face's size as a share of ICT's mean head's
    * ``landmarks_off``: median distance of the carried landmarks from the model's skin before they are put on it
    * ``expression_rms``, ``expression_left_rms``: root mean square motion of the face over ICT's expressions, and what
      the model's own cannot make of it (0 where it has none)
    """

    scale: float
    landmarks_off: float
    expression_rms: float
    expression_left_rms: float


def transfer(name: str, raw: RawModel, donor: FaceModel, kind: str, source: str) -> tuple[FaceModel, TransferQuality]:
    """The foreign model with everything of the donor's (ICT-FaceKit); ``name`` is for messages.

    Raises ModelFileError where the model is no face, or not in millimetres.
    """
    ict = donor.model.drawn()
    height = float(np.ptp(raw.mean_V3[:, 1]))
    if not LIKELY_HEIGHT_MM[0] <= height <= LIKELY_HEIGHT_MM[1]:
        raise ModelFileError(
            f"{name}: its mean head is {height:.3g} mm high; say with --mm-per-unit in which unit it is"
        )
    mean, faces = raw.mean_V3.astype(float), raw.faces_T3
    rest = ict.mean_V3.double().numpy()
    matrix = _align(_similarity(name, raw, ict), ict, mean, faces)
    skin, _ = _parts(mean, faces, _mapped(matrix, rest), ict)
    if not skin.any():
        raise ModelFileError(f"{name}: nothing of it lies where a face's skin does; is its mesh a face?")
    points = donor.correspondence.points(donor.model.mean_V3[None])[0].double().numpy()
    _, canonical_faces = read_obj(assets.fetch("canonical_face"))
    settled = settle(_mapped(matrix, points), canonical_faces, mean, faces[skin])
    shift = points.mean(0) - settled.mean(0)
    settled, mean = settled + shift, mean + shift
    head = RBFInterpolator(points, settled, kernel="linear", degree=1, smoothing=SMOOTHING)(rest)
    skin, part = _parts(mean, faces, head, ict)
    closest, triangle, weights = closest_points(settled, mean, faces[skin])
    correspondence = Correspondence(
        torch.from_numpy(faces[skin][triangle]),
        torch.from_numpy(weights).float(),
        donor.correspondence.trust_N.clone(),
    )
    scale, face = float(np.cbrt(np.linalg.det(matrix[:, :3]))), np.unique(faces[skin])
    moved = scale * _expressions(mean, faces, head, ict)
    expression, own, left = _in_own(moved, raw, face)
    model = MorphableModel(
        mean_V3=torch.from_numpy(mean).float(),
        identity_KV3=torch.from_numpy(raw.identity_KV3),
        expression_EV3=torch.from_numpy(expression),
        expression_names=ict.expression_names,
        faces_T3=torch.from_numpy(faces),
        face_part_T=torch.from_numpy(part),
        drawn_T=torch.ones(len(part), dtype=torch.bool),
        skin_T=torch.from_numpy(skin),
        uv_U2=torch.from_numpy(raw.uv_U2),
        uv_faces_T3=torch.from_numpy(raw.uv_faces_T3),
    )
    report = TransferQuality(
        scale,
        float(np.median(np.linalg.norm(settled - closest, axis=1))),
        float(np.sqrt(np.square(moved[:, face]).sum(2).mean())),
        left,
    )
    return FaceModel(model, correspondence, kind, source, own), report


def _landmarks(name: str, vertices_mm_V3: Tensor, faces_T3: Tensor) -> tuple[Tensor, Tensor]:
    """mediapipe's landmarks on a mean head that is drawn in one colour, and which of them hit it."""
    corners = vertices_mm_V3[faces_T3].flatten(0, 1)
    middle = (corners.amax(0) + corners.amin(0)) / 2
    colour = torch.tensor(PAINT)

    def paint(fragments: Fragments, vertices_1V3: Tensor) -> Tensor:
        normals = interpolate(fragments, faces_T3, vertex_normals(vertices_1V3, faces_T3))
        towards = -torch.nn.functional.normalize(normals, dim=-1)[0, ..., 2:]
        return torch.where(fragments.mask[0, ..., None], (0.05 + 0.95 * towards.clamp_min(0)) * colour, STUDIO_GREY)

    try:
        points, seen = lift_landmarks(name, vertices_mm_V3 - middle, faces_T3, paint)
    except ScanError as error:
        raise ModelFileError(str(error)) from error
    return points + middle, seen


def _similarity(name: str, raw: RawModel, ict: MorphableModel) -> np.ndarray:
    """The (3, 4) similarity from ICT's mean head to the foreign one, by their landmarks."""
    own_N3, own_seen = _landmarks(name, torch.from_numpy(raw.mean_V3), torch.from_numpy(raw.faces_T3))
    ict_N3, ict_seen = _landmarks("ICT-FaceKit", ict.mean_V3, ict.faces_T3)
    seen = own_seen & ict_seen
    seen[list(FACE_OVAL)] = False  # these slide along the contour
    matrix = similarity(ict_N3[seen].double().numpy(), own_N3[seen].double().numpy())
    scale = float(np.cbrt(np.linalg.det(matrix[:, :3])))
    if not LIKELY_SCALE[0] <= scale <= LIKELY_SCALE[1]:
        raise ModelFileError(f"{name}: its face is {scale:.3g} times as large as a head's; set --mm-per-unit")
    return matrix


def _mapped(matrix: np.ndarray, points_P3: np.ndarray) -> np.ndarray:
    return points_P3 @ matrix[:, :3].T + matrix[:, 3]


def _align(matrix: np.ndarray, ict: MorphableModel, mean: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The (3, 4) affine map that lays ICT's skin on the other surface, from a first one: iterated closest points.

    Distances count along the surface's normal, and a little (:data:`SLIDE`) across it, which ties down what slides.
    """
    skin = np.unique(ict.skin_faces().numpy())[::SPARSE]
    points = ict.mean_V3.double().numpy()[skin]
    normals = vertex_normals(ict.mean_V3[None].double(), ict.skin_faces())[0].numpy()[skin]
    with_one = np.column_stack([points, np.ones(len(points))])
    for _ in range(ICP_ROUNDS):
        moved = with_one @ matrix.T
        closest, triangle, _ = closest_points(moved, mean, faces, CANDIDATES, normals)
        corners = mean[faces[triangle]]
        normal = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        facing = (normals * normal).sum(1) > NORMAL_COSINE
        distance = np.linalg.norm(closest - moved, axis=1)
        used = facing & (distance < BELONGS_MM)
        weight = used / (1 + np.square(distance / TRIM_MM))
        # Of each point, the offset along the normal and, weakly, as it is: both linear in the twelve numbers.
        rows = [(normal[:, :, None] * with_one[:, None, :]).reshape(len(points), 12)]
        right = [(normal * closest).sum(1)]
        scale = [weight]
        for axis in range(3):
            row = np.zeros((len(points), 3, 4))
            row[:, axis] = with_one
            rows.append(row.reshape(len(points), 12))
            right.append(closest[:, axis])
            scale.append(weight * SLIDE)
        a, b, w = np.concatenate(rows), np.concatenate(right), np.sqrt(np.concatenate(scale))
        matrix = np.linalg.lstsq(a * w[:, None], b * w, rcond=None)[0].reshape(3, 4)
    return matrix


def _unit(vectors_P3: np.ndarray) -> np.ndarray:
    return vectors_P3 / np.linalg.norm(vectors_P3, axis=1, keepdims=True).clip(1e-12)


def _nearest(
    points_P3: np.ndarray, normals_P3: np.ndarray, donor_D3: np.ndarray, ict: MorphableModel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distance mm, triangle, barycentric weights) of the nearest point of the carried head."""
    faces, found = ict.faces_T3.numpy(), []
    for low in range(0, len(points_P3), VERTICES_AT_ONCE):
        part = slice(low, low + VERTICES_AT_ONCE)
        found.append(closest_points(points_P3[part], donor_D3, faces, CANDIDATES, normals_P3[part]))
    closest, triangle, weights = (np.concatenate(values) for values in zip(*found, strict=True))
    return np.linalg.norm(closest - points_P3, axis=1), triangle, weights


def _parts(
    mean: np.ndarray, faces: np.ndarray, donor_D3: np.ndarray, ict: MorphableModel
) -> tuple[np.ndarray, np.ndarray]:
    """(T,) bool skin and (T,) int64 part of each triangle, by its centre."""
    corners = mean[faces]
    normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    distance, triangle, _ = _nearest(corners.mean(1), normals, donor_D3, ict)
    near = distance < BELONGS_MM
    part = np.where(near, ict.face_part_T.numpy()[triangle], PART_NAMES.index("head_neck"))
    return near & ict.skin_T.numpy()[triangle], part.astype(np.int64)


def _expressions(mean: np.ndarray, faces: np.ndarray, donor_D3: np.ndarray, ict: MorphableModel) -> np.ndarray:
    """(E, V, 3) mm: ICT's expressions at the nearest points of the carried head, fading out beside it."""
    normals = vertex_normals(torch.from_numpy(mean)[None], torch.from_numpy(faces))[0].numpy()
    distance, triangle, weights = _nearest(mean, normals, donor_D3, ict)
    near, far = FOLLOWS_MM
    weights = weights * ((far - distance) / (far - near)).clip(0, 1)[:, None]
    corners = ict.faces_T3.numpy()[triangle]
    offsets = ict.expression_EV3.numpy()
    out = np.empty((len(offsets), *mean.shape), np.float32)
    for expression, offset in zip(out, offsets, strict=True):
        expression[:] = (offset[corners] * weights[..., None]).sum(1)
    return out


def _in_own(moved: np.ndarray, raw: RawModel, face: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(E, V, 3) what the model's own expressions make of ``moved``, their coefficients (E, J), and what is left on the
    vertices ``face`` (mm, root mean square); ``moved`` itself where it has none.
    """
    if not len(raw.expression_JV3):
        return moved, np.zeros((len(moved), 0), np.float32), 0.0
    basis = raw.expression_JV3[:, face].reshape(len(raw.expression_JV3), -1).astype(float)
    goal = moved[:, face].reshape(len(moved), -1).astype(float)
    share = INDEPENDENT / len(face)
    own = np.linalg.solve(share * basis @ basis.T + np.eye(len(basis)), share * basis @ goal.T).T
    left = np.square((own @ basis - goal).reshape(len(moved), -1, 3)).sum(2).mean()
    made = np.tensordot(own.astype(np.float32), raw.expression_JV3, 1)
    return made, own.astype(np.float32), float(np.sqrt(left))
