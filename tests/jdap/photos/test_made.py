"""Names of what commands make: each has its own, so that one folder can hold them all."""

from pathlib import Path

import pytest

from jdap.photos.made import Made, metadata_of


def test_no_two_commands_write_the_same_file() -> None:
    ends = ("png", "depth.png", "preview.png", "turn.mp4", "mp4", "json")
    names = [made.of("a", end, number) for made in Made for end in ends for number in (None, 0, 2)]
    names += [made.rows for made in Made]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("picture", "beside"),
    [
        ("a.depth.png", "a.depth.json"),
        ("a.face2.depth.uncertainty.png", "a.face2.depth.json"),
        ("a.seed7.depth.png", "a.seed.json"),
        ("a.edit.depth.png", "a.edit.json"),
        ("b.depth.depth.png", "b.depth.depth.json"),
        ("b.depth.png", None),
        ("depth.png", None),
        ("a.deep.png", None),
    ],
)
def test_metadata_lie_beside(tmp_path: Path, picture: str, beside: str | None) -> None:
    for name in ("a.depth", "a.face2.depth", "a.seed", "a.edit", "b.depth.depth", "a.deep", ".depth"):
        (tmp_path / f"{name}.json").touch()
    assert metadata_of(tmp_path / picture) == (None if beside is None else tmp_path / beside)
