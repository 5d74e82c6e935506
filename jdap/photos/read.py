"""Reading any photo as upright sRGB.

Shapes: H x W pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from jdap.photos.lens import exif_focal_px

#: What shows through transparent pixels, sRGB of 255: neither light nor dark.
BEHIND = 128


#: Brands that files of HEIC and HEIF name.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class PhotoError(ValueError):
    """A photo of which nothing can be made; the message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, upright.

    * ``rgb_HW3`` uint8 sRGB; transparent pixels are laid on grey
    * ``empty_HW`` bool or None: pixels that are wholly transparent, where there are any
    * ``orientation``: the EXIF orientation (1 … 8) that was applied
    * ``turned``: by how many quarters anticlockwise it was turned after that, because its faces did not stand
    * ``notes``: what was done that its owner may want to know
    * ``focal_px``: focal length in its pixels by its EXIF (:func:`jdap.photos.lens.exif_focal_px`), or None
    """

    rgb_HW3: np.ndarray
    empty_HW: np.ndarray | None = None
    orientation: int = 1
    notes: tuple[str, ...] = field(default=())
    turned: int = 0
    focal_px: float | None = None

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.rgb_HW3.shape[1]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.rgb_HW3.shape[0]

    def turn(self, quarters: int) -> Photo:
        """The photo turned by so many quarters anticlockwise."""
        rgb = np.ascontiguousarray(np.rot90(self.rgb_HW3, quarters))
        empty = None if self.empty_HW is None else np.ascontiguousarray(np.rot90(self.empty_HW, quarters))
        return replace(self, rgb_HW3=rgb, empty_HW=empty, turned=(self.turned + quarters) % 4)


def read_photo(path: Path, most_pixels: int | None = None, kinds: tuple[str, ...] | None = None) -> Photo:
    """Read a picture of any kind that Pillow knows: any EXIF orientation, grey, palette, CMYK, alpha, 8 or 16 bits.

    Colours are turned into sRGB by the picture's own colour profile where it has one. Of several frames the first
    counts. A file of strangers can be limited to ``most_pixels``, which are counted before it is decoded, and to
    ``kinds``, Pillow's names of formats. Raises :class:`PhotoError` for a file that is missing, no picture, damaged, or
    too large.
    """
    if path.is_dir():
        raise PhotoError(f"{path}: a folder that cannot be searched; change its rights")
    if not path.is_file():
        what = "a pipe or a device, no file of a picture" if path.exists() else "no such file"
        raise PhotoError(f"{path}: {what}")
    try:
        with warnings.catch_warnings():
            # Phones take more pixels than Pillow finds likely; what it refuses as an attack is still refused.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=kinds) as image:
                if most_pixels is not None and image.width * image.height > most_pixels:
                    raise PhotoError(
                        f"{path}: {image.width} x {image.height} pixels are too many; make it smaller, of "
                        f"{most_pixels / 1e6:g} million at most"
                    )
                return upright_photo(path, image)
    except UnidentifiedImageError as error:
        if not path.stat().st_size:
            raise PhotoError(f"{path}: the file is empty; copy or download it again") from error
        if _is_heic(path):
            raise PhotoError(f"{path}: HEIC, which is not read; convert it to JPEG or PNG") from error
        raise PhotoError(f"{path}: no picture of a known kind; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise PhotoError(f"{path}: too large: more than {most:.0f} million pixels; make it smaller") from error
    except PhotoError:
        raise
    # What Pillow's readers raise for damaged files, and for texts in them that are too long.
    except (OSError, SyntaxError, EOFError, IndexError, ValueError, OverflowError, struct.error) as error:
        raise PhotoError(f"{path}: damaged, cannot be read: {error}") from error


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:] in _HEIC


def upright_photo(path: Path, image: Image.Image) -> Photo:
    """A picture that was opened as a photo; ``path`` is for messages. Raises what Pillow's readers raise for damaged
    files, and :class:`PhotoError`."""
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's MPO file holds previews of one photo
        notes.append(f"the first of {frames} frames")
    image.load()
    focal_px = exif_focal_px(image.getexif(), image.width, image.height)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    rgb = _grey16(path, image) if image.mode.startswith(("I", "F")) else _srgb(image, profile, notes)
    if alpha is None or alpha.min() == 255:
        return Photo(rgb, None, orientation, tuple(notes), focal_px=focal_px)
    share = alpha[..., None].astype(np.float32) / 255
    blended = rgb * share + BEHIND * (1 - share)
    notes.append("transparent pixels laid on grey")
    pixels = np.rint(blended).astype(np.uint8)
    return Photo(pixels, alpha == 0, orientation, tuple(notes), focal_px=focal_px)


def _srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> np.ndarray:
    """8-bit colour as (H, W, 3) sRGB, by its profile."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None  # only in-place conversion returns None
            return np.array(converted)
        except (ImageCms.PyCMSError, OSError):
            notes.append("its colour profile does not fit and is ignored")
    return np.array(image.convert("RGB"))


def _grey16(path: Path, image: Image.Image) -> np.ndarray:
    """16-bit grey as (H, W, 3) uint8."""
    grey = np.asarray(image)
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise PhotoError(f"{path}: its pixels are no 8- or 16-bit numbers; convert it to JPEG or PNG")
    return np.rint(grey[..., None] / 257).astype(np.uint8).repeat(3, 2)


def read_steps(path: Path, otherwise: str) -> np.ndarray:
    """A grey picture of 16 bits or more as its whole numbers (H, W).

    Raises :class:`PhotoError` for a file that is missing or damaged, and with ``otherwise`` for another kind.
    """
    if not path.is_file():
        raise PhotoError(f"{path}: no such file")
    try:
        with Image.open(path) as image:
            steps = np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PhotoError(f"{path}: damaged, cannot be read: {error}") from error
    if steps.ndim != 2 or steps.dtype.kind not in "iu" or steps.dtype.itemsize < 2:
        raise PhotoError(f"{path}: {otherwise}")
    return steps
