"""Whose pictures there are, without opening any."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from data_prep.choices import EACH, TEST, TRAIN, VAL
from data_prep.engines.plan import video_id
from data_prep.photos.find import PeopleError, PhotoPerson, find_people, pictures_of, same_files


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def names(people: list[PhotoPerson]) -> list[str]:
    return [person.name for person in people]


def test_people_are_folders_at_any_depth(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "ann/2.jpg", "ann/1.PNG", "bob/x/1.jpeg", "bob/notes.txt", "0.jpg")
    touch(root, "ann/._2.jpg", ".hidden/1.jpg", "empty/readme.md", "cat/photo.heic")
    people = find_people([root])
    assert names(people) == ["set", "set/ann", "set/bob/x", "set/cat"]
    ann = people[1]
    assert [path.name for path in pictures_of(ann.path)] == ["1.PNG", "2.jpg"]
    # Named twice, it is there once; a person's own folder may be named, too.
    assert find_people([root, root]) == people
    assert names(find_people([root / "ann"])) == ["ann"]


def test_each_picture_may_be_somebody_else(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "1.jpg", "2.jpg", "a/3.jpg")
    people = find_people([root], EACH)
    assert names(people) == ["set/1.jpg", "set/2.jpg", "set/a/3.jpg"]
    assert [pictures_of(person.path) for person in people] == [[Path(person.path)] for person in people]


def test_a_list_says_who_is_whom(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "b/3.jpg")
    listed = tmp_path / "who.csv"
    listed.write_text("\ufefffile,person,more\n1.jpg,Ann #1,x\nb/3.jpg,Ann #1,\n1.jpg,Ann #1,\n2.jpg,,\n", "utf-8")
    people = find_people([listed])
    assert names(people) == ["who/2.jpg", "who/Ann #1"]
    assert pictures_of(people[1].path) == [tmp_path / "1.jpg", tmp_path / "b/3.jpg"]
    assert pictures_of(people[0].path) == [tmp_path / "2.jpg"]
    with pytest.raises(PeopleError, match="has no pictures of bob"):
        pictures_of(f"{listed}#bob")


def test_a_list_may_be_called_in_capitals(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    (tmp_path / "WHO.CSV").write_text("file,person\n1.jpg,Ann\n")
    (ann,) = find_people([tmp_path / "WHO.CSV"])
    assert pictures_of(ann.path) == [tmp_path / "1.jpg"]


def test_a_folder_that_is_called_like_a_list_is_a_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "set.csv", "a.csv#b/1.jpg", "a.csv#b/c/2.jpg", "a.csv#3.jpg")
    people = find_people([root])
    assert names(people) == ["set.csv", "set.csv/a.csv#b", "set.csv/a.csv#b/c"]
    assert [pictures_of(person.path) for person in people] == [
        [root / "a.csv#3.jpg"],
        [root / "a.csv#b/1.jpg"],
        [root / "a.csv#b/c/2.jpg"],
    ]


def test_whoever_a_list_names_is_found_again_under_that_very_name(tmp_path: Path) -> None:
    """The path goes through ``Path``, which would take some of these for one."""
    called = ["Ann", "Ann/", "./Ann", "a//b", "a/b", "..", ".", "x.csv#Ann", "Ann#", "Ann%2F", "%", "Zoë", "a\nb"]
    lines = [f'{k}.jpg,"{name}"' for k, name in enumerate(called)]
    (tmp_path / "who.csv").write_text("\n".join(["file,person", *lines]), "utf-8")
    people = find_people([tmp_path / "who.csv"])
    found = {person.name.removeprefix("who/"): pictures_of(str(Path(person.path))) for person in people}
    assert found == {name: [tmp_path / f"{k}.jpg"] for k, name in enumerate(called)}
    assert len({str(Path(person.path)) for person in people}) == len({video_id(p.name) for p in people}) == len(called)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "columns file and person"),
        ("file,person\n", "lists no picture"),
        ("file,person\n,x\n", "line 2"),
        ("file,person\n1\0.jpg,x\n", "line 2"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    listed = tmp_path / "who.csv"
    listed.write_text(text)
    with pytest.raises(PeopleError, match=rf"who\.csv: .*{says}"):
        find_people([listed])
    with pytest.raises(PeopleError, match=r"nobody\.csv: no such list"):
        find_people([tmp_path / "nobody.csv"])


def test_what_is_not_there_stands_for_itself(tmp_path: Path) -> None:
    (person,) = find_people([tmp_path / "gone"])
    assert pictures_of(person.path) == [tmp_path / "gone"]
    (tmp_path / "bare").mkdir()
    (nobody,) = find_people([tmp_path / "bare"])
    assert pictures_of(nobody.path) == []


def test_splits_part_people_by_their_names_alone() -> None:
    people = [PhotoPerson(f"/{i}", f"set/person {i}") for i in range(4000)]
    shares = {name: sum(person.split == name for person in people) / len(people) for name in (TRAIN, VAL, TEST)}
    assert shares[TRAIN] == pytest.approx(0.8, abs=0.02)
    assert shares[VAL] == pytest.approx(0.1, abs=0.02)
    assert shares[TEST] == pytest.approx(0.1, abs=0.02)
    # The same person in a folder of another name or place is in the same split.
    assert all(PhotoPerson("/x", f"other/person {i}").split == people[i].split for i in range(100))


def test_one_file_under_two_peoples_names_is_the_firsts(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "a/1.jpg", "b/1.jpg", "b/2.jpg", "c/9.jpg")
    (root / "b/copy.jpg").write_bytes((root / "a/1.jpg").read_bytes())
    (root / "a/again.jpg").write_bytes((root / "a/1.jpg").read_bytes())
    people = [(person, pictures_of(person.path)) for person in find_people([root])]
    assert same_files(people) == {str(root / "b/copy.jpg"): str(root / "a/1.jpg")}


def test_pipes_and_devices_are_not_read_and_empty_files_are_nobodys_picture(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "a/1.jpg", "b/1.jpg")
    for person in "ab":
        os.mkfifo(root / person / "pipe.jpg")
        os.symlink(os.devnull, root / person / "device.jpg")
        (root / person / "empty.jpg").touch()
    people = [(person, pictures_of(person.path)) for person in find_people([root])]
    assert [len(files) for _, files in people] == [4, 4]
    # All of one size. Who opens a pipe waits for ever: not in this thread, then.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(same_files, people)
        try:
            assert found.result(timeout=10) == {}
        finally:
            while not found.done():  # lets a reader go on that waits
                for person in "ab":
                    with suppress(OSError):
                        os.close(os.open(root / person / "pipe.jpg", os.O_WRONLY | os.O_NONBLOCK))
