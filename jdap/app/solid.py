"""The head in a visitor's photo as a mesh."""

from __future__ import annotations

from pathlib import Path

from jdap.app.depth import Known
from jdap.photos.relief import relief_of
from jdap.shape.files import field_of, write_mesh

#: The side of the mesh's grid.
GRID = 256


def write_solid(known: Known, folder: Path, end: str = ".glb") -> Path:
    """Write the mesh, by its ending, as ``jdap export`` does. Raises :class:`jdap.shape.files.MeshFileError`."""
    relief = relief_of(known.depth_SS, known.seen.window_px, known.seen.photo, GRID)
    field_deg = field_of(float(relief.camera_px_13[0, 0]), GRID)
    path = folder / f"{known.seen.name}{end}"
    return write_mesh(path, relief.mesh(), relief.texture_HW3, field_deg=field_deg)[0]
