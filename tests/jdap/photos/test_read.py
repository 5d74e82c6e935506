"""Photos of every kind come out as the same upright sRGB, or as one line that says why not."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from jdap.photos.read import BEHIND, PhotoError, read_photo

HEIGHT, WIDTH = 40, 56


def scene() -> np.ndarray:
    """A smooth picture without any symmetry, (H, W, 3) uint8."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * u, 6 * v, 90 + u + v], 2).astype(np.uint8)


#: EXIF orientation -> how an upright picture lies in the file (EXIF 2.3, 4.6.4 A: where row 0 and column 0 are).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_every_orientation_is_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    stored.save(tmp_path / f"p.{kind}", exif=exif, **({"quality": 98, "subsampling": 0} if kind == "jpg" else {}))
    photo = read_photo(tmp_path / f"p.{kind}")
    assert (photo.width, photo.height, photo.orientation) == (WIDTH, HEIGHT, orientation)
    assert np.abs(photo.rgb_HW3.astype(int) - scene()).max() <= (0 if kind == "png" else 6)
    assert photo.empty_HW is None
    assert photo.notes == ()


def test_grey_of_8_16_and_1_bits(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    Image.fromarray(grey > 100).save(tmp_path / "1.png")
    for name in ("8.png", "16.png", "16.tif"):
        np.testing.assert_array_equal(read_photo(tmp_path / name).rgb_HW3, grey[..., None].repeat(3, 2), name)
    np.testing.assert_array_equal(read_photo(tmp_path / "1.png").rgb_HW3[..., 1], (grey > 100) * 255)
    Image.fromarray(np.full((20, 20), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PhotoError, match=r"f\.tif: .*8- or 16-bit"):
        read_photo(tmp_path / "f.tif")


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, kind: str) -> None:
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / f"p.{kind}", **({"quality": 98} if kind == "jpg" else {}))
    assert Image.open(tmp_path / f"p.{kind}").mode == "CMYK"
    assert np.abs(read_photo(tmp_path / f"p.{kind}").rgb_HW3.astype(int) - scene()).max() <= (8 if kind == "jpg" else 1)


def test_transparency_is_laid_on_grey_and_kept(tmp_path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 51
    Image.fromarray(np.dstack([scene(), alpha])).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.rgb_HW3[20:], scene()[20:])
    assert (photo.rgb_HW3[:10] == BEHIND).all()
    mixed = 0.2 * scene()[10:20] + 0.8 * BEHIND
    assert np.abs(photo.rgb_HW3[10:20] - mixed).max() <= 0.51
    assert photo.empty_HW is not None
    np.testing.assert_array_equal(photo.empty_HW, alpha == 0)
    assert photo.notes == ("transparent pixels laid on grey",)

    Image.fromarray(np.dstack([scene()[..., 0], alpha])).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "la.png").rgb_HW3[25], scene()[25, :, :1].repeat(3, 1))
    palette = Image.fromarray((scene()[..., 0] // 64).astype(np.uint8)).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    empty = read_photo(tmp_path / "p.png").empty_HW
    assert empty is not None
    np.testing.assert_array_equal(empty, np.asarray(palette) == 0)
    # Alpha that hides nothing is nothing to tell of.
    Image.fromarray(np.dstack([scene(), np.full_like(alpha, 255)])).save(tmp_path / "opaque.png")
    assert read_photo(tmp_path / "opaque.png").empty_HW is None


def test_colour_profiles_are_followed(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # sRGB whose red and blue primaries are exchanged, by the names in the profile's table of tags.
    swapped = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    Image.fromarray(scene()).save(tmp_path / "swapped.png", icc_profile=swapped)
    assert np.abs(read_photo(tmp_path / "swapped.png").rgb_HW3.astype(int) - scene()[..., ::-1]).max() <= 2
    Image.fromarray(scene()).save(tmp_path / "junk.png", icc_profile=b"no profile")
    photo = read_photo(tmp_path / "junk.png")
    np.testing.assert_array_equal(photo.rgb_HW3, scene())
    assert photo.notes == ("its colour profile does not fit and is ignored",)


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    first = Image.fromarray(scene())
    first.save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.rgb_HW3, scene())
    assert photo.notes == ("the first of 2 frames",)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("p.jpg", cut, "damaged, cannot be read"),
        ("p.png", cut, "damaged, cannot be read"),
        ("p.png", lambda data: data[:60] + b"\xff" * 30 + data[90:], "damaged, cannot be read"),
        ("p.tif", cut, "damaged, cannot be read|no picture of a known kind"),
        ("p.png", lambda data: b"", "the file is empty; copy or download it again"),
        ("p.jpg", lambda data: b"<html>", "no picture of a known kind; convert it to JPEG or PNG"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, damage, says: str) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PhotoError, match=says) as caught:
        read_photo(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_not_there_or_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PhotoError, match=r"nowhere\.jpg: no such file"):
        read_photo(tmp_path / "nowhere.jpg")
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    with pytest.raises(PhotoError, match=r"round\.jpg: no such file"):
        read_photo(tmp_path / "round.jpg")
    (tmp_path / "device.jpg").symlink_to(os.devnull)
    with pytest.raises(PhotoError, match=r"device\.jpg: a pipe or a device"):
        read_photo(tmp_path / "device.jpg")
    Image.fromarray(scene()).save(tmp_path / "p.png")
    # Pillow warns from its limit on, as phones exceed it, and refuses from twice the limit on.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    assert read_photo(tmp_path / "p.png").width == WIDTH
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 3)
    with pytest.raises(PhotoError, match=r"p\.png: too large"):
        read_photo(tmp_path / "p.png")


def test_a_strangers_file_can_be_limited_in_pixels_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(scene()).save(path)
    assert read_photo(path, HEIGHT * WIDTH, ("PNG",)).width == WIDTH
    with pytest.raises(PhotoError, match=f"{path}.*{WIDTH} x {HEIGHT}"):
        read_photo(path, HEIGHT * WIDTH - 1)
    with pytest.raises(PhotoError, match="known kind"):
        read_photo(path, kinds=("JPEG",))
