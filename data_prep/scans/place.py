"""Renders of a scanned, textured head: real pictures, as it were, whose depth is known exactly.

A scan is a textured mesh (:mod:`data_prep.scans.files`), y up and looking along +z roughly. mediapipe finds the face in
a first drawing, the landmarks are lifted onto the surface, and the mean head of the morphable model is laid on them
rigidly (:func:`place`): from then on the scan is in head axes, so that turns, the crop, the face's region and the
baseline of the posed mean head mean what they mean elsewhere.

A picture (:func:`render_view`) is the texture as it is, with the light that it was taken in, before a background. RGB
is the mean of :data:`SAMPLES` x :data:`SAMPLES` samples a pixel in linear light; depth and masks are taken at the
pixels' centres, so they are exact.

Shapes: V vertices, U texture coordinates, T triangles, N landmarks, H x W texels, S x S pixels, G = SAMPLES * S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from data_prep.choices import CAMERA_DISTANCE_MM
from data_prep.fit.render import HeadRenderer
from data_prep.head.landmarks import FACE_OVAL, LANDMARK_COUNT, Correspondence, encircled
from data_prep.head.model import MorphableModel, head_to_camera
from data_prep.scans.files import Scan, ScanError, Shot
from data_prep.studio.looks.backdrop import draw_background
from jdap import srgb
from jdap.faces import crop
from jdap.faces.landmarker import Landmarker
from jdap.geometry import HEAD_TO_VIEWER, PinholeCamera, axis_angle_to_matrix, head_axis_angle, project
from jdap.shape.rasterise import Fragments, interpolate, per_face, rasterise
from jdap.units import FPS

#: Samples a pixel along each side: a texel of a scan is about an eighth of a pixel of 128.
SAMPLES = 8
#: … which larger pictures need less of: from this size on there are fewer, by the size, but not under …
SAMPLES_UP_TO, FEWEST_SAMPLES = 128, 2
#: A mesh is at least this far before a camera.
NEAREST_MM = 50.0
#: How far the head's origin stands off, and the picture that is then cropped: 40 degrees across.
PHOTO = PinholeCamera(f_px=1407.0, cx_px=512.0, cy_px=512.0, width=1024, height=1024)
#: A scan whose face is larger or smaller than the mean head's by more than this is not in millimetres.
LIKELY_SCALE = (0.75, 1.33)
STUDIO_GREY = torch.tensor([0.2, 0.2, 0.2])
#: mediapipe's rims of the two eyes, in order around each.
EYE_RIMS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)


@dataclass(frozen=True, eq=False)
class Head:
    """A scan in head axes: ``landmarks_mm_N3`` (468, 3) on it, and ``face_T`` bool: the skin of the face.

    The face is what lies inside mediapipe's oval and outside of the eyes, as in fitted data
    (:mod:`data_prep.fit.render`). ``mask_1HW`` float, on the texture's coordinates, takes its place where it is given:
    skin is where it is over half. ``turn_33`` and ``shift_mm_3`` brought the mesh here: ``head = mesh @ turn + shift``.
    """

    scan: Scan
    landmarks_mm_N3: Tensor
    face_T: Tensor
    mask_1HW: Tensor | None = None
    turn_33: Tensor = field(default_factory=lambda: torch.eye(3))
    shift_mm_3: Tensor = field(default_factory=lambda: torch.zeros(3))

    def to(self, device: torch.device | str) -> Head:
        """The same on another device."""
        mask = None if self.mask_1HW is None else self.mask_1HW.to(device)
        parts = (self.landmarks_mm_N3, self.face_T, self.turn_33, self.shift_mm_3)
        landmarks, face, turn, shift = (part.to(device) for part in parts)
        return Head(self.scan.to(device), landmarks, face, mask, turn, shift)


@dataclass(frozen=True, eq=False)
class View:
    """One picture of a scan: ``rgb_SS3`` uint8, ``depth_mm_SS`` float32 z-depth (0 = none), ``skin_SS`` bool, the
    ``camera_px_3`` (f, cx, cy) of the crop, and the head's pose as in :func:`data_prep.head.model.head_to_camera`.
    """

    rgb_SS3: np.ndarray
    depth_mm_SS: np.ndarray
    skin_SS: np.ndarray
    camera_px_3: Tensor
    rotation_3: Tensor
    translation_mm_3: Tensor


def place(scan: Scan, model: MorphableModel, correspondence: Correspondence) -> Head:
    """Bring a scan into head axes by its own face.

    The rotation and shift are those that lay the mean head's landmarks on the scan's with least squares, weighted by
    trust: the pose is *known* from the true surface, which is more than a picture tells. Raises :class:`ScanError`
    where no face is found or the size is not that of a face in millimetres.
    """
    middle = (scan.vertices_mm_V3.amax(0) + scan.vertices_mm_V3.amin(0)) / 2
    centred = replace(scan, vertices_mm_V3=scan.vertices_mm_V3 - middle)
    lifted_N3, seen_N = lift_landmarks(
        scan.name, centred.vertices_mm_V3, scan.faces_T3, lambda seen, _: _paint(centred, seen, STUDIO_GREY)
    )
    mean_N3 = correspondence.points(model.mean_V3[None])[0]
    weight = correspondence.trust_N * seen_N
    a, b = (_centred(points, weight) for points in (mean_N3, lifted_N3))
    turn, _ = Rotation.align_vectors(b[1].numpy(), a[1].numpy(), weights=weight.numpy())
    rotation = torch.from_numpy(turn.as_matrix()).float()
    size = float(((b[1] @ rotation * a[1]).sum(1) * weight).sum() / (a[1].square().sum(1) * weight).sum())
    if not LIKELY_SCALE[0] <= size <= LIKELY_SCALE[1]:
        raise ScanError(
            f"{scan.name}: its face is {size:.3g} times as large as a head's in millimetres; set mm_per_unit"
        )
    head = replace(scan, vertices_mm_V3=(centred.vertices_mm_V3 - b[0]) @ rotation + a[0])
    # A landmark that fell beside the mesh takes its place on the mean head.
    landmarks_N3 = torch.where(seen_N[:, None], (lifted_N3 - b[0]) @ rotation + a[0], mean_N3)
    face_T, shift = face_region(head, landmarks_N3), a[0] - (middle + b[0]) @ rotation
    return Head(head, landmarks_N3, face_T, turn_33=rotation, shift_mm_3=shift)


def face_region(scan: Scan, landmarks_mm_N3: Tensor) -> Tensor:
    """(T,) bool: triangles of a scan in head axes that lie in the face's oval and in no eye, by their centres."""
    centres = scan.vertices_mm_V3[scan.faces_T3].mean(1)
    face = encircled(centres, landmarks_mm_N3[list(FACE_OVAL)])
    for eye in EYE_RIMS:
        face &= ~encircled(centres, landmarks_mm_N3[list(eye)])
    # The oval is a cone in longitude and height: the back of a closed head would lie in none of it but for its crown.
    return face & (centres[:, 2] > 0)


def lift_landmarks(
    name: str, vertices_mm_V3: Tensor, faces_T3: Tensor, paint: Callable[[Fragments, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """mediapipe's landmarks on a mesh (468, 3), by a drawing of it from the front, and which of them hit it.

    The mesh has head axes and is centred on the origin; ``paint(fragments, camera-space vertices (1, V, 3))`` gives the
    picture, linear RGB (:data:`PHOTO`'s height, width, 3). Raises :class:`ScanError` where no face is found.
    """
    upright = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, CAMERA_DISTANCE_MM]])
    vertices = head_to_camera(vertices_mm_V3[None], *upright)
    camera = PHOTO.as_tensor()[None]
    fragments = rasterise(vertices, faces_T3, camera, PHOTO.height, PHOTO.width)
    rgb = srgb.from_linear(paint(fragments, vertices))
    with Landmarker() as landmarker:
        faces = landmarker.find((rgb * 255).round().byte().numpy())
    if not faces:
        raise ScanError(f"{name}: no face is found on it; it must look along +z with y up")
    at_N2 = torch.from_numpy(faces[0].landmarks_px_N3[:LANDMARK_COUNT, :2])
    u, v = at_N2.floor().long().clamp(0, PHOTO.width - 1).unbind(1)
    depth_N = fragments.depth_mm[0, v, u]
    rays = torch.cat([(at_N2 - camera[0, 1:]) / camera[0, 0], torch.ones(len(at_N2), 1)], 1)
    points = (rays * depth_N[:, None] - upright[1]) * torch.tensor(HEAD_TO_VIEWER)
    return points, depth_N > 0


def _centred(points_N3: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    mean = (points_N3 * weight_N[:, None]).sum(0) / weight_N.sum()
    return mean, points_N3 - mean


def _paint(scan: Scan, fragments: Fragments, background_GG3: Tensor) -> Tensor:
    """Linear RGB (G, G, 3) of the scan's texture over a background."""
    texture = _sample(scan.texture_3HW, scan, fragments)
    return torch.where(fragments.mask[0, ..., None], texture.permute(1, 2, 0), background_GG3)


def _sample(picture_CHW: Tensor, scan: Scan, fragments: Fragments) -> Tensor:
    """(C, G, G): a picture on the texture coordinates, where each pixel sees the scan."""
    uv = interpolate(fragments, scan.faces_uv_T3, scan.uv_U2[None])
    # Texture coordinates run up from the lower left corner of the picture; grid_sample's down, -1 … 1.
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    return F.grid_sample(picture_CHW[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def render_view(
    head: Head,
    yaw_deg: float,
    size: int,
    rng: np.random.Generator,
    plain: bool = False,
    pitch_deg: float = 0.0,
    distance_mm: float = CAMERA_DISTANCE_MM,
) -> View:
    """The scan turned by ``yaw_deg`` (positive: to its right), after nodding by ``pitch_deg`` (positive: down).

    The focal length grows with the distance, so that the head fills as much of the picture.
    """
    if pitch_deg:
        turn = Rotation.from_euler("YX", [yaw_deg, pitch_deg], degrees=True).as_rotvec()
    else:
        turn = np.array([0.0, float(np.deg2rad(yaw_deg)), 0.0])
    photo = replace(PHOTO, f_px=PHOTO.f_px * distance_mm / CAMERA_DISTANCE_MM)
    translation = torch.tensor([[0.0, 0.0, distance_mm]])
    return photograph(head, torch.from_numpy(turn).float()[None], translation, photo, size, rng, plain)


def photograph(
    head: Head,
    rotation_13: Tensor,
    translation_mm_13: Tensor,
    photo: PinholeCamera,
    size: int,
    rng: np.random.Generator,
    plain: bool = False,
) -> View:
    """The scan before a camera, cropped by the rule of :mod:`jdap.faces.crop`.

    ``rng`` draws the background: one colour when ``plain``, else as in the studio.
    """
    scan, device = head.scan, head.scan.vertices_mm_V3.device
    rotation, translation = rotation_13.to(device), translation_mm_13.to(device)
    full = photo.as_tensor()[None].to(device)
    points_px = project(head_to_camera(head.landmarks_mm_N3[None], rotation, translation), full)
    window = crop.head_windows(points_px.cpu().numpy(), photo.width, photo.height, FPS)
    camera = torch.from_numpy(crop.window_cameras(photo, window, size)).to(device)

    samples = min(SAMPLES, max(FEWEST_SAMPLES, SAMPLES * SAMPLES_UP_TO // size))
    vertices = head_to_camera(scan.vertices_mm_V3[None], rotation, translation)
    exact = rasterise(vertices, scan.faces_T3, camera, size, size)
    fine = rasterise(vertices, scan.faces_T3, camera * samples, size * samples, size * samples)
    background = draw_background(rng).render(size * samples, device)
    if plain:
        background = background.mean((0, 1)).expand_as(background)
    rgb = F.avg_pool2d(_paint(scan, fine, background).permute(2, 0, 1)[None], samples)[0]
    if head.mask_1HW is None:
        skin = per_face(exact, head.face_T)[0].bool()
    else:
        skin = exact.mask[0] & (_sample(head.mask_1HW, scan, exact)[0] > 0.5)
    return View(
        (srgb.from_linear(rgb).permute(1, 2, 0) * 255).round().byte().cpu().numpy(),
        exact.depth_mm[0].cpu().numpy(),
        skin.cpu().numpy(),
        camera[0],
        rotation[0],
        translation[0],
    )


def pose_before(head: Head, shot: Shot) -> tuple[Tensor, Tensor]:
    """The head's rotation (1, 3) and translation (1, 3) mm before a camera that was given in the mesh's axes.

    Raises :class:`ScanError` where the head is not in front of it.
    """
    turn, shift = head.turn_33.cpu().double(), head.shift_mm_3.cpu().double()
    matrix = axis_angle_to_matrix(torch.tensor([shot.rotation], dtype=torch.float64))[0] @ turn
    translation = torch.tensor(shot.translation_mm, dtype=torch.float64) - matrix @ shift
    rotation = head_axis_angle(matrix[None]).float()
    posed = head_to_camera(head.scan.vertices_mm_V3.cpu()[None], rotation, translation.float()[None])
    if posed[..., 2].min() < NEAREST_MM:
        raise ScanError(f"{head.scan.name}: a camera of its scan.json does not have the whole mesh in front of it")
    return rotation, translation.float()[None]


def mean_heads(views: Sequence[View], renderer: HeadRenderer) -> np.ndarray:
    """(F, S, S) float32 mm: the morphable model's mean head where each view has its head."""
    rotation, translation, camera = (
        torch.stack([getattr(view, name) for view in views])
        for name in ("rotation_3", "translation_mm_3", "camera_px_3")
    )
    return renderer.render_mean(rotation, translation, camera, len(views[0].depth_mm_SS))
