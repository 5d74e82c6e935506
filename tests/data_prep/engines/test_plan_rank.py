"""Which videos make a unit, and whose a unit is."""

import shutil
from pathlib import Path

import pytest

from data_prep.engines import plan as plans
from data_prep.engines.inputs import InputFile, find_inputs
from data_prep.engines.plan import PrepareError, load_plan, make_plan, plain
from data_prep.engines.rank import which_rank
from data_prep.photos.find import find_people
from data_prep.store import Store


def names(plan: plans.Plan) -> list[list[str]]:
    return [[Path(video.path).name for video in unit.videos] for unit in plan]


def found(*sizes: int, start: int = 0, stamp: str = "1") -> list[InputFile]:
    return [InputFile(f"/in/{k:04d}.mp4", f"in/{k:04d}.mp4", size, stamp) for k, size in enumerate(sizes, start)]


def test_units_hold_about_so_many_bytes(tmp_path: Path) -> None:
    plan = make_plan(Store(tmp_path), found(*[40] * 30, 500, 10), {}, unit_bytes=100)
    sizes = [sum(video.bytes for video in unit.videos) for unit in plan]
    assert sum(sizes) == 1710
    assert sizes[:15] == [80] * 15
    assert sizes[15:] == [500, 10]  # a video is never divided
    assert [unit.number for unit in plan] == list(range(17))


def test_few_videos_are_shared_out(tmp_path: Path) -> None:
    assert names(make_plan(Store(tmp_path), found(*[5] * 8), {})) == [[f"{k:04d}.mp4"] for k in range(8)]
    many = make_plan(Store(tmp_path / "many"), found(*[5] * 800), {})
    assert [len(unit.videos) for unit in many] == [100] * 8


def test_small_and_missing_files_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "UNIT_VIDEOS", 3)
    assert [len(u.videos) for u in make_plan(Store(tmp_path), found(*[0, -1] * 4), {})] == [3, 3, 2]


def test_a_plan_comes_back_and_grows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = make_plan(store, found(10, 20), {"size": 16})
    assert load_plan(store) == first
    assert make_plan(store, found(10, 20), {"size": 16}) == first
    second = make_plan(store, found(10, 25, 30), {"size": 16})
    assert (second.generations, sorted(second.units)) == (2, [0, 1, 2])
    assert second.units[0] == first.units[0]
    assert second.units[1].sha256({}) != first.units[1].sha256({})
    assert load_plan(store) == second


def test_people_of_two_lists_of_one_name_are_other_people(tmp_path: Path) -> None:
    """No file is called ``LIST.csv#PERSON``, and yet the first list is there."""
    store = Store(tmp_path / "out")

    def planned(folder: str) -> list[str]:
        people = find_people([tmp_path / folder / "people.csv"])
        plan = make_plan(store, [InputFile(person.path, person.name, 10, folder) for person in people], {})
        return [Path(video.path).parent.name for unit in plan for video in unit.videos]

    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "people.csv").write_text("file,person\n1.jpg,Ann\n")
    assert planned("a") == ["a"]
    assert planned("b") == ["a", "b"]
    (tmp_path / "a").rename(tmp_path / "c")
    assert planned("c") == ["c", "b"]
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    (tmp_path / "c" / "people.csv").write_text("file,person\n1.jpg,Bob\n")
    assert planned("d") == ["d", "b"]


def test_processes_that_plan_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes its plan, of a source that has changed meanwhile, just before ours is written."""
    store, other = Store(tmp_path), Store(tmp_path)
    create = store.create

    def late(name: str, data: bytes) -> bool:
        monkeypatch.setattr(store, "create", create)
        make_plan(other, found(10, 20), {})
        return store.create(name, data)

    monkeypatch.setattr(store, "create", late)
    plan = make_plan(store, found(10, 20, 30), {})
    assert plan == load_plan(other)
    assert (names(plan), plan.generations) == ([["0000.mp4"], ["0001.mp4"], ["0002.mp4"]], 2)


def test_a_damaged_plan_is_told(tmp_path: Path) -> None:
    make_plan(Store(tmp_path), found(1), {})
    (tmp_path / "plan" / "000000.json").write_text("{")
    with pytest.raises(PrepareError, match="--overwrite"):
        load_plan(Store(tmp_path))


def test_a_units_hash_knows_what_decides_its_bytes(tmp_path: Path) -> None:
    plan = make_plan(Store(tmp_path), found(1), {"size": 16})
    (unit,) = plan
    moved = plans.Unit(0, (plans.PlannedVideo("/other/place.mp4", *(list(vars(unit.videos[0]).values())[1:])),))
    assert moved.sha256(plan.settings) == unit.sha256(plan.settings)
    assert unit.sha256({"size": 32}) != unit.sha256({"size": 16})


def test_settings_become_plain_json() -> None:
    assert plain({"a": (1.5, float("inf")), 2: [True, None]}) == {"a": [1.5, "inf"], "2": [True, None]}


def test_inputs_are_sorted_whatever_their_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "c d.mov"):
        (tmp_path / name).write_bytes(b"xyz")
    one, other = find_inputs([tmp_path / "b.mp4", tmp_path]), find_inputs([tmp_path, tmp_path / "b.mp4"])
    assert one == other
    assert [Path(video.path).name for video in one] == ["a.mp4", "b.mp4", "b.mp4", "c d.mov"]
    assert find_inputs([tmp_path / "gone.mp4"]) == [InputFile(f"{tmp_path}/gone.mp4", f"{tmp_path.name}/gone.mp4", -1)]


SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10"}
TORCH = {"RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ((None, None), {}, (0, 1, "")),
        ((2, 3), SLURM | ARRAY | TORCH, (2, 3, "the options")),
        ((None, None), SLURM | TORCH, (3, 4, "SLURM_PROCID")),
        ((None, None), ARRAY, (2, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, None), ARRAY | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (2, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, None), ARRAY | SLURM, (11, 16, "SLURM_ARRAY_TASK_ID")),
        ((None, None), ARRAY | {"SLURM_ARRAY_TASK_STEP": "2"}, (1, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, None), TORCH, (1, 2, "RANK")),
        ((None, None), TORCH | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (1, 2, "RANK")),
    ],
)
def test_the_rank_is_found(options, environment, expected) -> None:
    assert which_rank(*options, environment) == expected


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ((1, None), {}, "go together"),
        ((2, 2), {}, "rank 2 of 2"),
        ((-1, 2), {}, "rank -1 of 2"),
        ((None, None), ARRAY | {"SLURM_ARRAY_TASK_ID": "17"}, "has gaps"),
        ((None, None), {"RANK": "a", "WORLD_SIZE": "2"}, "RANK=a is no whole number"),
        ((None, None), {"RANK": "5", "WORLD_SIZE": "2"}, "rank 5 of 2"),
    ],
)
def test_ranks_that_make_no_sense_are_refused(options, environment, says) -> None:
    with pytest.raises(PrepareError, match=says):
        which_rank(*options, environment)
