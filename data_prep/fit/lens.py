"""The lens: of a video whose faces are near, by what perspective does to them; of a photo, by its EXIF.

The guess (:func:`data_prep.fit.fit.default_camera`) keeps faces 600 mm away; a selfie's is at 300 to 400 mm, and under
the guess it has to nod by degrees. So where a face is wide enough to be near, the focal length is fitted with a wide
prior around the guess, one for the video, by the key frames of all its tracks: each track's answer weighs by its
posterior precision. It counts where the face then comes out near; elsewhere perspective says too little, mediapipe's
own errors would decide, and the guess stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from data_prep.fit.fit import (
    CHEEKS,
    FACE_WIDTH_MM,
    FARTHEST_FACE_MM,
    PHOTO_FACE_MM,
    FitSettings,
    Observed,
    default_camera,
    fit_focal,
)
from data_prep.head.landmarks import Correspondence
from data_prep.head.model import MorphableModel
from jdap.geometry import PinholeCamera

#: From this share of the picture's longer side on a face may be near.
WIDE_FACE = 0.2
#: Prior of the logarithm of the focal length, around the guess; and by how many frames of a track it is fitted.
LENS_SD, LENS_FRAMES = 0.35, 8
#: A face that comes out nearer than this is near: of 14 real clips none does (522 to 957 mm), of drawn selfies all do.
NEAR_MM = 480.0
#: A lens that EXIF tells is not believed where the face would be nearer than this: nobody holds a phone so near.
NEAREST_EXIF_MM = 200.0


def find_lens(
    tracks: Sequence[Observed], model: MorphableModel, correspondence: Correspondence, camera: PinholeCamera
) -> PinholeCamera:
    """``camera``, the guess for a video, with the focal length that its tracks tell where their faces are near."""
    near = [track for track in tracks if _width_px(track) >= WIDE_FACE * max(camera.width, camera.height)]
    if not near:
        return camera
    loose = replace(FitSettings(), focal_sd=LENS_SD, key_frames=LENS_FRAMES)
    near = [replace(track, camera=camera) for track in near]
    log_f_B, variance_B, far_mm_B = fit_focal(near, model, correspondence, loose)
    if float(far_mm_B.median()) > NEAR_MM:
        return camera
    log_f = (log_f_B / variance_B).sum() / (1 / variance_B).sum()
    return replace(camera, f_px=camera.f_px * float(log_f.exp()))


def believable(focal_px: float, face_px: float) -> bool:
    """Whether a photo's lens may have this focal length, where a face is ``face_px`` wide, cheek to cheek.

    Not so where the face would be nearer than :data:`NEAREST_EXIF_MM` or farther than files can hold: then the photo
    was cut, or the number is wrong.
    """
    return NEAREST_EXIF_MM <= focal_px * FACE_WIDTH_MM / face_px <= FARTHEST_FACE_MM


def photo_camera(width: int, height: int, face_px: float, focal_px: float | None = None) -> tuple[PinholeCamera, bool]:
    """The camera of a photo with a face of this width (cheek to cheek, pixels), and whether ``focal_px`` counts: what
    EXIF says of its lens, or None. Where it is not :func:`believable` the lens is the guess for photos.
    """
    guess = default_camera(width, height, face_px, PHOTO_FACE_MM)
    if focal_px is None or not believable(focal_px, face_px):
        return guess, False
    return replace(guess, f_px=focal_px), True


def _width_px(track: Observed) -> float:
    points = track.landmarks_px_FN3[..., :2]
    return float((points[:, CHEEKS[0]] - points[:, CHEEKS[1]]).norm(dim=-1).quantile(0.95))
