"""Devices by name."""

import pytest
import torch

from jdap.io.device import DeviceError, bfloat16_note, default_device, find_device


def test_devices_that_are_there() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device(default_device()).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", ""])
def test_devices_that_are_not(name: str) -> None:
    with pytest.raises(DeviceError, match=f"--device {name}") as caught:
        find_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "can", "told"),
    [
        ("cpu", {"cpu_name": "Old", "avx2": True, "amx_bf16": False, "avx512_bf16": False}, "note: Old only emulates"),
        ("cpu", {"cpu_name": "New", "avx2": True, "amx_bf16": True, "avx512_bf16": True}, None),
        ("cpu", {"cpu_name": "ARM", "bf16": True}, None),
        ("cpu", None, None),
        ("cuda", {"cpu_name": "Old"}, None),
    ],
)
def test_bfloat16_on_a_cpu_without_it_is_said(
    monkeypatch: pytest.MonkeyPatch, device: str, can: dict[str, object] | None, told: str | None
) -> None:
    if can is None:  # torch of before
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    note = bfloat16_note(torch.device(device))
    assert (note is None) == (told is None)
    assert (note or "").startswith(told or "")
