"""Renders of a scanned, textured head: real pictures, as it were, whose depth is known exactly.

A scan is a folder with one OBJ file (y up, looking along +z roughly, millimetres), its material file and the texture
that this names. mediapipe finds the face in a first drawing, the landmarks are lifted onto the surface, and the mean
head of the morphable model is laid on them rigidly (:func:`place`): from then on the scan is in head axes, so that
turns, the crop, the face's region and the baseline of the posed mean head mean what they mean elsewhere.

A picture (:func:`draw`) is the texture as it is, with the light that it was taken in, before a background. RGB is the
mean of :data:`SAMPLES` x :data:`SAMPLES` samples a pixel in linear light; depth and masks are taken at the pixels'
centres, so they are exact.

Shapes: V vertices, U texture coordinates, T triangles, N landmarks, H x W texels, S x S pixels, G = SAMPLES * S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from scipy.spatial.transform import Rotation
from torch import Tensor

from data_prep.correspondence import FACE_OVAL, LANDMARKS, Correspondence, encircled
from data_prep.depth import HeadRenderer
from data_prep.looks.backdrop import draw_background
from data_prep.looks.picture import srgb_encode
from data_prep.morphable import HEAD_TO_VIEWER, MorphableModel, head_to_camera
from data_prep.morphable_ict import read_mesh
from data_prep.render import Fragments, interpolate, per_face, rasterise
from data_prep.video import FPS
from jdap.faces import crop
from jdap.faces.landmarker import Landmarker
from jdap.geometry import PinholeCamera, project

#: Samples a pixel along each side: a texel of a scan is about an eighth of a pixel of 128.
SAMPLES = 8
#: How far the head's origin stands off, and the picture that is then cropped: 40 degrees across.
DISTANCE_MM = 800.0
PHOTO = PinholeCamera(f_px=1407.0, cx_px=512.0, cy_px=512.0, width=1024, height=1024)
#: A scan whose face is larger or smaller than the mean head's by more than this is not in millimetres.
LIKELY_SCALE = (0.75, 1.33)
STUDIO_GREY = torch.tensor([0.2, 0.2, 0.2])
#: mediapipe's rims of the two eyes, in order around each.
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)


class ScanError(ValueError):
    """A scan that cannot be read or used; the message names the folder or file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A textured mesh.

    * ``vertices_mm_V3`` float32, axes of a head: x to its left, y up, z out of the face
    * ``faces_T3``, ``faces_uv_T3`` int64: rows of the vertices and of ``uv_U2`` float32 (v up, (0, 0) … (1, 1))
    * ``texture_3HW`` float32, linear light, 0 … 1
    """

    name: str
    vertices_mm_V3: Tensor
    faces_T3: Tensor
    uv_U2: Tensor
    faces_uv_T3: Tensor
    texture_3HW: Tensor

    def to(self, device: torch.device | str) -> Scan:
        """The same on another device."""
        tensors = (self.vertices_mm_V3, self.faces_T3, self.uv_U2, self.faces_uv_T3, self.texture_3HW)
        return Scan(self.name, *(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True, eq=False)
class Head:
    """A scan in head axes: ``landmarks_mm_N3`` (468, 3) on it, and ``face_T`` bool: the skin of the face.

    The face is what lies inside mediapipe's oval and outside of the eyes, as in fitted data (:mod:`data_prep.depth`).
    """

    scan: Scan
    landmarks_mm_N3: Tensor
    face_T: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """One picture of a scan: ``rgb_SS3`` uint8, ``depth_mm_SS`` float32 z-depth (0 = none), ``skin_SS`` bool, the
    ``camera_px_3`` (f, cx, cy) of the crop, and the head's pose as in :func:`data_prep.morphable.head_to_camera`.
    """

    rgb_SS3: np.ndarray
    depth_mm_SS: np.ndarray
    skin_SS: np.ndarray
    camera_px_3: Tensor
    rotation_3: Tensor
    translation_mm_3: Tensor


def read_scan(folder: Path) -> Scan:
    """Read a scan's folder. Raises :class:`ScanError`, or ModelFileError for a broken OBJ file, naming the file."""
    meshes = sorted(folder.glob("*.obj"))
    if len(meshes) != 1:
        raise ScanError(
            f"{folder}: a scan's folder holds one OBJ file with its material and texture, found {len(meshes)}"
        )
    mesh = read_mesh(meshes[0])
    for faces, points in (("faces", "neutral"), ("faces_uv", "uv")):
        if mesh[faces].min() < 0 or mesh[faces].max() >= len(mesh[points]):
            raise ScanError(f"{meshes[0]}: faces name vertices or texture coordinates that it does not hold")
    path = _texture_of(meshes[0])
    try:
        srgb = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ScanError(f"{path}: the texture of {meshes[0].name} cannot be read: {error}") from error
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return Scan(
        folder.resolve().name,
        torch.from_numpy(mesh["neutral"]),
        torch.from_numpy(mesh["faces"]).long(),
        torch.from_numpy(mesh["uv"]),
        torch.from_numpy(mesh["faces_uv"]).long(),
        torch.from_numpy(linear.astype(np.float32)).permute(2, 0, 1).contiguous(),
    )


def _texture_of(mesh: Path) -> Path:
    """The picture that the OBJ's material file names."""
    for library in _values(mesh, "mtllib"):
        if (mesh.parent / library).is_file():
            for name in _values(mesh.parent / library, "map_Kd"):
                return mesh.parent / name
    raise ScanError(f"{mesh}: names no material file with a texture (mtllib, and map_Kd in it) that is there")


def _values(path: Path, key: str) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split(None, 1)[1].strip() for line in lines if line.startswith(f"{key} ")]


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
            f"{scan.name}: its face is {size:.3g} times as large as a head's in millimetres; scale its OBJ file"
        )
    head = replace(scan, vertices_mm_V3=(centred.vertices_mm_V3 - b[0]) @ rotation + a[0])
    # A landmark that fell beside the mesh takes its place on the mean head.
    landmarks_N3 = torch.where(seen_N[:, None], (lifted_N3 - b[0]) @ rotation + a[0], mean_N3)
    return Head(head, landmarks_N3, face_region(head, landmarks_N3))


def face_region(scan: Scan, landmarks_mm_N3: Tensor) -> Tensor:
    """(T,) bool: triangles of a scan in head axes that lie in the face's oval and in no eye, by their centres."""
    centres = scan.vertices_mm_V3[scan.faces_T3].mean(1)
    face = encircled(centres, landmarks_mm_N3[list(FACE_OVAL)])
    for eye in EYES:
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
    upright = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, DISTANCE_MM]])
    vertices = head_to_camera(vertices_mm_V3[None], *upright)
    camera = PHOTO.as_tensor()[None]
    fragments = rasterise(vertices, faces_T3, camera, PHOTO.height, PHOTO.width)
    rgb = srgb_encode(paint(fragments, vertices))
    with Landmarker() as landmarker:
        faces = landmarker.find((rgb * 255).round().byte().numpy())
    if not faces:
        raise ScanError(f"{name}: no face is found on it; it must look along +z with y up")
    at_N2 = torch.from_numpy(faces[0].landmarks_px_N3[:LANDMARKS, :2])
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
    uv = interpolate(fragments, scan.faces_uv_T3, scan.uv_U2[None])
    # Texture coordinates run up from the lower left corner of the picture; grid_sample's down, -1 … 1.
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    texture = F.grid_sample(scan.texture_3HW[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where(fragments.mask[0, ..., None], texture[0].permute(1, 2, 0), background_GG3)


def draw(head: Head, yaw_deg: float, size: int, rng: np.random.Generator, plain: bool = False) -> View:
    """The scan turned by ``yaw_deg`` (positive: to its right), cropped by the rule of :mod:`jdap.faces.crop`.

    ``rng`` draws the background: one colour when ``plain``, else as in the studio.
    """
    scan, device = head.scan, head.scan.vertices_mm_V3.device
    rotation = torch.tensor([[0.0, float(np.deg2rad(yaw_deg)), 0.0]], device=device)
    translation = torch.tensor([[0.0, 0.0, DISTANCE_MM]], device=device)
    photo = PHOTO.as_tensor()[None].to(device)
    points_px = project(head_to_camera(head.landmarks_mm_N3[None], rotation, translation), photo)
    window = crop.head_windows(points_px.cpu().numpy(), PHOTO.width, PHOTO.height, FPS)
    camera = torch.from_numpy(crop.window_cameras(PHOTO, window, size)).to(device)

    vertices = head_to_camera(scan.vertices_mm_V3[None], rotation, translation)
    exact = rasterise(vertices, scan.faces_T3, camera, size, size)
    fine = rasterise(vertices, scan.faces_T3, camera * SAMPLES, size * SAMPLES, size * SAMPLES)
    background = draw_background(rng).draw(size * SAMPLES, device)
    if plain:
        background = background.mean((0, 1)).expand_as(background)
    rgb = F.avg_pool2d(_paint(scan, fine, background).permute(2, 0, 1)[None], SAMPLES)[0]
    return View(
        (srgb_encode(rgb).permute(1, 2, 0) * 255).round().byte().cpu().numpy(),
        exact.depth_mm[0].cpu().numpy(),
        per_face(exact, head.face_T)[0].bool().cpu().numpy(),
        camera[0],
        rotation[0],
        translation[0],
    )


def mean_heads(views: Sequence[View], renderer: HeadRenderer) -> np.ndarray:
    """(F, S, S) float32 mm: the morphable model's mean head where each view has its head."""
    rotation, translation, camera = (
        torch.stack([getattr(view, name) for view in views])
        for name in ("rotation_3", "translation_mm_3", "camera_px_3")
    )
    return renderer.draw_mean(rotation, translation, camera, len(views[0].depth_mm_SS))
