"""Devices by name."""

import pytest
import torch

from jdap.io.device import DeviceError, default_device, find_device


def test_devices_that_are_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device(default_device()).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_devices_that_are_not(name: str) -> None:
    with pytest.raises(DeviceError, match=f"--device {name}") as caught:
        find_device(name)
    assert "\n" not in str(caught.value)
