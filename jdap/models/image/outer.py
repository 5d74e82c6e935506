"""The outer layers of a joint UNet: those at full resolution, from which and to which the rest of it works.

They are few: a question that is asked in another way can have outer layers of its own, and share all others.
"""

from __future__ import annotations

from torch import Tensor, nn

from jdap.models.image.joint_unet import JointUNet

#: Which layers train.
ALL_LAYERS, OUTER_LAYERS = "all", "outer"
TRAINED_LAYERS = (ALL_LAYERS, OUTER_LAYERS)


def is_outer(name: str, unet: JointUNet) -> bool:
    """Whether a parameter, named as in ``unet.named_parameters()``, is of the outer layers."""
    last = len(unet.unet.up_blocks) - 1
    ends = ("conv_in.", "conv_out.", "conv_norm_out.", "down_blocks.0.")
    outer = (*ends, f"up_blocks.{last}.", f"up_blocks.{last - 1}.upsamplers.")
    return name.startswith(tuple(f"unet.{part}" for part in outer))


def freeze_inner(unet: JointUNet) -> None:
    """Let the outer layers alone train, of those that would."""
    for name, parameter in unet.named_parameters():
        if not is_outer(name, unet):
            parameter.requires_grad_(False)


def outer_state(unet: nn.Module) -> dict[str, Tensor]:
    """The parameters of the outer layers, by name."""
    assert isinstance(unet, JointUNet)
    return {name: value for name, value in unet.state_dict().items() if is_outer(name, unet)}
