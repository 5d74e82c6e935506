"""A sheet must show what it is given: landmarks where they are, skin warm, near bright."""

import io

import numpy as np
from PIL import Image

from data_prep.clips.contact_sheet import BAR, CONTACT_TILE_PX, Sheet, SheetFrame, render_sheet, shrunk, write_index


def row(size: int = 64) -> SheetFrame:
    """A tilted plane whose left half is near, with skin on the upper half of it."""
    depth = np.zeros((size, size), np.float32)
    depth[8:56, 8:56] = np.linspace(500, 560, 48, dtype=np.float32)[None]
    skin = np.zeros((size, size), bool)
    skin[8:32, 8:56] = True
    points = np.array([[16.0, 16.0], [40.0, 48.0], [-5.0, 10.0]])
    camera = np.array([400.0, 32.0, 32.0], np.float32)
    return SheetFrame("frame 0", np.full((size, size, 3), 120, np.uint8), depth, skin, camera, points, points + 8)


def test_sheet_has_four_tiles_a_row() -> None:
    picture = Image.open(io.BytesIO(render_sheet(Sheet("clip", [row(), row()]))))
    assert picture.size == (4 * CONTACT_TILE_PX, BAR + 2 * (CONTACT_TILE_PX + BAR))
    pixels = np.asarray(picture).astype(int)
    assert (pixels[BAR + 10 : BAR + CONTACT_TILE_PX - 10, 10 : CONTACT_TILE_PX - 10] == 120).all()
    scale = CONTACT_TILE_PX // 64
    assert pixels[BAR + 16 * scale, CONTACT_TILE_PX + 16 * scale, 1] > 200  # mediapipe's landmark, green
    assert pixels[BAR + 24 * scale, CONTACT_TILE_PX + 24 * scale, 0] > 200  # the model's, red
    skin, rest = (
        pixels[BAR + CONTACT_TILE_PX // 4, 2 * CONTACT_TILE_PX + CONTACT_TILE_PX // 2],
        pixels[BAR + CONTACT_TILE_PX * 5 // 8, 2 * CONTACT_TILE_PX + CONTACT_TILE_PX // 2],
    )
    assert skin[0] > skin[2]
    assert rest[2] > rest[0]
    near, far = (
        pixels[BAR + CONTACT_TILE_PX // 2, 3 * CONTACT_TILE_PX + CONTACT_TILE_PX // 5],
        pixels[BAR + CONTACT_TILE_PX // 2, 3 * CONTACT_TILE_PX + CONTACT_TILE_PX * 4 // 5],
    )
    assert near.sum() > far.sum() + 100
    assert pixels[BAR + 4, 3 * CONTACT_TILE_PX + 4].sum() < 10  # black, as JPEG has it


def test_larger_frames_give_the_same_sheet() -> None:
    large = row()
    for name in ("rgb_SS3", "depth_mm_SS", "skin_SS"):
        setattr(large, name, getattr(large, name).repeat(8, 0).repeat(8, 1))
    large.camera_px_3, large.landmarks_px_N2 = large.camera_px_3 * 8, large.landmarks_px_N2 * 8
    large.model_px_N2 = large.model_px_N2 * 8
    small = shrunk(large)
    assert small.rgb_SS3.shape == (CONTACT_TILE_PX, CONTACT_TILE_PX, 3)
    large.rgb_SS3[:], large.depth_mm_SS[:] = 0, 0  # the row has its own
    one, other = (
        np.asarray(Image.open(io.BytesIO(render_sheet(Sheet("clip", [r]))))).astype(int) for r in (row(), small)
    )
    assert one.shape == other.shape
    differ = np.abs(one - other).max(2) > 40
    differ[:, 2 * CONTACT_TILE_PX : 3 * CONTACT_TILE_PX] = False  # repeated pixels have other normals
    assert differ.mean() < 0.02  # edges, which the small one's tiles smooth


def test_a_row_without_believed_skin_is_still_drawn() -> None:
    empty = row()
    empty.skin_SS[:] = False
    assert len(render_sheet(Sheet("clip", [empty]))) > 1000


def test_index_escapes_names_and_links_sheets_of_kept_clips(tmp_path) -> None:
    rows = [
        {"clip_id": "a_000000", "status": "kept", "frames": 3, "source": "x/<b>.mp4", "reason": ""},
        {"clip_id": "b", "status": "failed", "frames": 0, "source": "b.mp4", "reason": "no such file & no more"},
    ]
    write_index(tmp_path / "index.html", iter(rows))
    text = (tmp_path / "index.html").read_text()
    assert text.count("<img") == 1
    assert "x/&lt;b&gt;.mp4" in text
    assert "no such file &amp; no more" in text
