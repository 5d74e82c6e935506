"""Names, ranges and turns, as they are said."""

import math

import pytest
import torch

from jdap.pose.change import Change, PoseError, named, read_change, read_setting, read_sweep, there_and_back

NAMES = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "eyeBlink_L", "eyeBlink_R")


def test_a_name_without_a_side_is_both_and_case_does_not_matter():
    change = read_change([("JAWOPEN", 0.6), ("mouthSmile", 0.8), ("eyeBlinkLeft", 1), ("yaw", -15)], NAMES)
    assert change.expression == {"jawOpen": 0.6, "mouthSmile_L": 0.8, "mouthSmile_R": 0.8, "eyeBlink_L": 1}
    assert (change.yaw, change.pitch, change.roll) == (-15, 0, 0)
    assert named("mouthSmile_R", NAMES) == ["mouthSmile_R"]
    assert change.said() == ["jawOpen=0.6", "mouthSmile_L=0.8", "mouthSmile_R=0.8", "eyeBlink_L=1", "yaw=-15"]


def test_an_unknown_name_is_told_with_the_nearest_and_the_list():
    with pytest.raises(PoseError, match=r"'jawopn'.*nearest is jawOpen.*yaw.*mouthSmile, eyeBlink") as caught:
        read_change([("jawopn", 0.5)], NAMES)
    assert "_L" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", [("jawOpen", 1.01), ("jawOpen", -0.1), ("yaw", 46), ("pitch", -31), ("roll", 50)])
def test_what_is_out_of_range_is_refused(setting):
    with pytest.raises(PoseError, match=f"{setting[0]} must be within"):
        read_change([setting], NAMES)
    name, value = setting
    with pytest.raises(PoseError, match=f"{name} must be within"):
        Change(**({"expression": {name: value}} if name == "jawOpen" else {name: value}))


def test_a_change_knows_names_as_settings_do():
    shown = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    made = Change({"mouthSmile": 0.8, "eyeBlinkRight": 1.0}).on(shown, NAMES)
    torch.testing.assert_close(made, torch.tensor([0.1, 0.8, 0.8, 0.4, 1.0]))
    with pytest.raises(PoseError, match=r"'smile'.*jawOpen, mouthSmile, eyeBlink"):
        Change({"smile": 0.8}).on(shown, NAMES)


@pytest.mark.parametrize("text", ["jawOpen", "=1", "jawOpen=a", "jawOpen=nan", "yaw=inf"])
def test_settings_that_are_none(text):
    with pytest.raises(PoseError, match="NAME=VALUE"):
        read_setting(text)


@pytest.mark.parametrize("text", ["yaw", "yaw=1", "yaw=1:2:3", "yaw=a:b", "=1:2"])
def test_sweeps_that_are_none(text):
    with pytest.raises(PoseError, match="NAME=FROM:TO"):
        read_sweep(text)


def test_a_sweep_goes_there_and_back():
    assert read_sweep("yaw=-25:25") == ("yaw", -25, 25)
    values = there_and_back(-25, 25, 10)
    assert values[0] == pytest.approx(-25)
    assert values[5] == pytest.approx(25)
    assert values[3] == pytest.approx(values[7])


@pytest.mark.parametrize(
    ("turn", "looks"),
    [
        ({"yaw": 30}, (math.sin(math.pi / 6), 0, -math.cos(math.pi / 6))),  # to the picture's right
        ({"pitch": 30}, (0, -math.sin(math.pi / 6), -math.cos(math.pi / 6))),  # up: y points down
        ({"roll": 30}, (0, 0, -1)),
    ],
)
def test_where_a_face_looks_that_looked_at_the_camera(turn, looks):
    made = Change(**turn).rotation() @ torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(made, torch.tensor(looks, dtype=torch.float32), atol=1e-6, rtol=0)


def test_roll_is_clockwise():
    up = Change(roll=45.0).rotation() @ torch.tensor([0.0, -1.0, 0.0])
    torch.testing.assert_close(up, torch.tensor([0.5, -0.5, 0.0]) * 2**0.5, atol=1e-6, rtol=0)
