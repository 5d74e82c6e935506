"""How far work is: lines where there is no terminal, a bar where there is one."""

import io
import re

import pytest
from rich.console import Console

from jdap.io import progress
from jdap.io.progress import Telling, clock, told, track


@pytest.fixture
def now(monkeypatch):
    """A clock that the test moves."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_without_a_terminal_there_is_a_line_every_half_minute(now, capsys):
    screen = io.StringIO()
    with Telling("frame", 75, console=Console(file=screen)) as telling:
        for done in range(1, 61):
            now[0] += 1.0
            telling.tell(done, f"{telling.rate(done):.2f} frames/s")
    assert screen.getvalue() == ""
    assert capsys.readouterr().err.splitlines() == [
        "frame 30 of 75, 1.00 frames/s, 0:45 left",
        "frame 60 of 75, 1.00 frames/s, 0:15 left",
    ]


def test_what_was_there_before_says_nothing_of_the_speed(now, capsys):
    with Telling("step", 1000, first=900, console=Console(file=io.StringIO())) as telling:
        now[0] = 50.0
        telling.tell(950)
        now[0] = 100.0
        telling.tell(990, left_s=30.0)
    assert capsys.readouterr().err.splitlines() == ["step 950 of 1000, 0:50 left", "step 990 of 1000, 0:11 left"]


def test_a_total_that_the_clock_will_not_let_be_reached_is_not_told(now, capsys):
    with Telling("step", 100000, console=Console(file=io.StringIO())) as telling:
        for second, done in ((40.0, 0), (100.0, 50), (200.0, 99950)):
            now[0] = second
            telling.tell(done, left_s=300.0 - second)
    assert capsys.readouterr().err.splitlines() == [
        "step 0, 4:20 left",
        "step 50, 3:20 left",
        "step 99950 of 100000, 0:00 left",
    ]


def test_where_the_clock_ends_the_work_the_bar_is_of_time(now):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=100)
    with Telling("step", 100000, console=console) as telling:
        now[0] = 150.0
        telling.tell(50, left_s=50.0)
    assert re.search(r"\x1b\[91m(━+)\x1b.* step 50, 0:50 left", screen.getvalue()).group(1) == 30 * "━"  # of 40


def test_work_of_unknown_length_has_no_time_left(now, capsys):
    with Telling("frame", None, console=Console(file=io.StringIO())) as telling:
        now[0] = 31.0
        telling.tell(12)
    assert capsys.readouterr().err == "frame 12\n"


def test_items_that_do_not_know_how_many_they_are_are_told_by_the_total(now, capsys):
    for _ in track(iter("abcd"), "unit", Console(file=io.StringIO()), total=4):
        now[0] += 40.0
    assert capsys.readouterr().err.splitlines() == [
        "unit 1 of 4, 2:00 left",
        "unit 2 of 4, 1:20 left",
        "unit 3 of 4, 0:40 left",
    ]


def test_what_is_done_adds_up(now, capsys):
    with Telling("video", 10, first=2, console=Console(file=io.StringIO())) as telling:
        for _ in range(3):
            now[0] += 16.0
            telling.advance(2, "4 clips kept")
    assert capsys.readouterr().err == "video 6 of 10, 4 clips kept, 0:32 left\n"


def test_on_a_terminal_there_is_a_bar_that_goes_away(now, capsys):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    assert [x for x in track(["a", "b"], "photo", console)] == ["a", "b"]
    with Telling("frame", 75, console=console) as telling:
        now[0] = 5.0
        telling.tell(12)
    assert "frame 12 of 75" in screen.getvalue()
    assert capsys.readouterr().err == ""


def test_times_are_read_as_people_read_them():
    assert [clock(s) for s in (0, 59.6, 275, 3723)] == ["0:00", "1:00", "4:35", "1:02:03"]
    assert told("step", 3, 10, "loss 0.1", 61) == "step 3 of 10, loss 0.1, 1:01 left"
