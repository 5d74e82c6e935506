"""Motion modules: fresh, of a folder, and in AnimateDiff's original names."""

import pytest
import torch
from animatediff import write_original
from networks import networks
from safetensors.torch import save_file

from jdap.models.clip.motion import load_motion, new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.loading import WeightsError


def trained():
    joint, _ = networks()
    motion = new_motion(joint.unet)
    torch.manual_seed(5)
    for parameter in motion.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return joint, motion


def test_a_folder_comes_back_as_it_was_saved(tmp_path):
    joint, motion = trained()
    ClipUNet(joint, motion, None).motion_adapter().save_pretrained(tmp_path / "motion")
    found = load_motion(tmp_path / "motion")
    assert found.state_dict().keys() == motion.state_dict().keys()
    for name, x in motion.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], x, atol=0, rtol=0)


def test_animatediffs_file_is_read_in_its_original_names(tmp_path):
    joint, motion = trained()
    found = load_motion(write_original(motion, tmp_path / "mm.safetensors"))
    assert found.config["motion_max_seq_length"] == 24
    assert tuple(found.config["block_out_channels"]) == tuple(motion.config["block_out_channels"])
    for name, x in motion.state_dict().items():
        if not name.endswith("pos_embed.pe"):
            torch.testing.assert_close(found.state_dict()[name], x, atol=0, rtol=0)
        else:
            torch.testing.assert_close(found.state_dict()[name], x[:, :24])
    assert ClipUNet(joint, found, None).max_frames == 24


def test_what_is_no_motion_module_is_refused_in_one_line(tmp_path):
    _, motion = trained()
    (tmp_path / "mm.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="a pickle"):
        load_motion(tmp_path / "mm.ckpt")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no AnimateDiff motion modules"):
        load_motion(tmp_path / "other.safetensors")
    path = write_original(motion, tmp_path / "short.safetensors")
    from tensor_files import tensors_of

    tensors = tensors_of(path)
    tensors.pop(next(name for name in tensors if name.endswith("proj_out.weight")))
    save_file(tensors, path)
    with pytest.raises(WeightsError, match="missing_keys"):
        load_motion(path)
