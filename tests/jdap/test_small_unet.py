"""The small U-Net: its kinds say the same fused, and its file holds all of it."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from jdap.small_unet import SmallUNet, fused, load_numbers, save_numbers


@pytest.fixture
def net() -> SmallUNet:
    """One that has seen something: its running statistics are its own."""
    torch.manual_seed(0)
    net = SmallUNet(3, 5, (4, 8)).train()
    for _ in range(3):
        net(torch.randn(4, 3, 32, 32))
    return net.eval()


@torch.inference_mode()
def test_fused_it_says_the_same(net: SmallUNet) -> None:
    maps = torch.randn(2, 3, 32, 32)
    before = net(maps)
    assert before.shape == (2, 5, 32, 32)
    torch.testing.assert_close(fused(net)(maps), before, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_its_file_holds_all_of_it(net: SmallUNet, tmp_path: Path) -> None:
    save_numbers(net, tmp_path / "net.safetensors")
    read, maps = SmallUNet(3, 5, (4, 8)).eval(), torch.randn(2, 3, 32, 32)
    assert not torch.allclose(read(maps), net(maps), atol=0.1)
    load_numbers(read, tmp_path / "net.safetensors")
    torch.testing.assert_close(read(maps), net(maps), atol=2e-3, rtol=2e-3)  # float16


def test_a_file_of_another_network_is_refused(net: SmallUNet, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_numbers(net, path)
    for other in (SmallUNet(3, 5, (4, 8, 16)), SmallUNet(3, 6, (4, 8))):
        with pytest.raises(RuntimeError):
            load_numbers(other, path)
    save_file({name: x for name, x in load_file(path).items() if name != "leave.0.bias"}, path)
    with pytest.raises(RuntimeError, match=r"another version: lacks leave\.0\.bias"):
        load_numbers(net, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SafetensorError):
        load_numbers(net, path)
