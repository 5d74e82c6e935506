"""Names in a folder that somebody else made lead nowhere outside of it."""

import json
from collections.abc import Callable
from pathlib import Path

import drawn_videos
import pytest
from drawn_videos import Settings, draw_folder

from data_prep.engines.hire import Engine
from data_prep.engines.plan import PrepareError, load_plan
from data_prep.engines.prepare import prepare
from data_prep.engines.select import SelectError, select_again
from data_prep.folders.summary import ReportError, summarise
from data_prep.folders.verify import verify
from data_prep.store import Store, StoreError

NAMES = ("../secret.tar", "/etc/passwd", "a/../../secret", "held//x", "a/./b", "..\\secret", "x\0y")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "secret.tar").write_bytes(b"secret")
    source = draw_folder(tmp_path / "in", "a.mp4")
    prepare([source], tmp_path / "out", Settings(), Engine(workers=0), make=drawn_videos.make)
    return tmp_path / "out"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("remote", [False, True])
def test_a_store_takes_no_name_that_leads_out(out: Path, name: str, remote: bool) -> None:
    store = Store(f"memory://{out}" if remote else out, "me")
    uses: list[Callable[[], object]] = [
        lambda: store.read(name),
        lambda: store.write(name, b""),
        lambda: store.create(name, b""),
        lambda: store.remove([name]),
        lambda: store.sizes([name]),
        lambda: store.publish(out / "manifest.jsonl", name),
        lambda: store.local(name).__enter__(),
        lambda: store.remove_parts(name),
    ]
    for use in uses if not remote else uses[:7]:
        with pytest.raises(StoreError, match="no name of a file"):
            use()
    assert (out.parent / "secret.tar").read_bytes() == b"secret"
    assert (out / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["shards"][0].update(shard="../secret.tar"),
        lambda record: record["shards"][0].update(shard=str(Path(__file__))),
        lambda record: record["rows"][0].update(clip_id="../../secret"),
        lambda record: record["rows"][0].update(clip_id="held/a"),
        lambda record: record["rows"][0].update(clip_id=7),
    ],
)
def test_a_record_that_leads_out_is_none(out: Path, change: Callable[[dict], object]) -> None:
    path = out / "units" / "000000.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert any(str(problem).startswith("units/000000.json: cannot be read") for problem in verify(out))
    with pytest.raises(ReportError, match="cannot be read"):
        summarise(out)
    with pytest.raises(SelectError, match="cannot be read"):
        select_again(str(out), {})
    assert prepare([out.parent / "in"], out, Settings(), Engine(workers=0), make=drawn_videos.make).made == 1
    assert verify(out) == []


def test_a_plan_whose_ids_lead_out_is_refused(out: Path) -> None:
    path = out / "plan" / "000000.json"
    path.write_text(path.read_text().replace('"a-', '"../a-'))
    with pytest.raises(PrepareError, match="no id of a video"):
        load_plan(Store(out))
