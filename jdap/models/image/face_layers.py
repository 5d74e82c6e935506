"""The outer layers of a joint UNet once more, for the one question that starts from a fitted face.

They are the layers at full resolution, from which and to which the rest of a UNet works: few weights, and enough to
read a picture beside depth that is roughly known. All inner layers are shared with the UNet, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from jdap.models.component import Component
from jdap.models.image.joint_unet import JointUNet
from jdap.models.loading import check_class, check_finite, read_json, read_tensors

LAYERS_CONFIG, LAYERS_FILE = "config.json", "layers.safetensors"
#: A module's name has no dots.
_DOT = ":"


class FaceLayers(Component, ModelMixin):
    """The outer layers that better a fitted face (:func:`jdap.diffusion.onestep.from_head`).

    Args:
        layers: their parameters by the UNet's names, as :func:`outer_state` has them.
    """

    def __init__(self, layers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ParameterDict({name.replace(".", _DOT): nn.Parameter(x) for name, x in layers.items()})

    @classmethod
    def of(cls, unet: JointUNet) -> Self:
        """A copy of the UNet's own outer layers, from which training starts; those train that do so in the UNet."""
        its = outer_state(unet)
        made = cls({name: value.detach().clone() for name, value in its.items()})
        for name, value in made.state().items():
            value.requires_grad_(its[name].requires_grad)
        return made

    def state(self) -> dict[str, Tensor]:
        """The parameters by the UNet's names."""
        return {name.replace(_DOT, "."): value for name, value in self.layers.items()}

    def around(self, unet: nn.Module) -> Callable[..., Any]:
        """The UNet's forward pass with these layers in the place of its own. Differentiable in them."""
        whole: nn.Module = getattr(unet, "_orig_mod", unet)  # what torch.compile wraps

        def network(rgb_BChw: Tensor, *args: Any, **options: Any) -> Any:
            layers = {name: value.to(rgb_BChw.device) for name, value in self.state().items()}
            return functional_call(whole, layers, (rgb_BChw, *args), options)

        return network

    def fits(self, unet: nn.Module) -> bool:
        """Whether these are layers of such a UNet."""
        if not isinstance(unet, JointUNet):
            return False
        return {n: x.shape for n, x in self.state().items()} == {n: x.shape for n, x in outer_state(unet).items()}

    def write(self, folder: Path) -> None:
        """``layers.safetensors``, and a config that names the class."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().contiguous() for name, value in self.state().items()}, folder / LAYERS_FILE)
        (folder / LAYERS_CONFIG).write_text(f'{{"_class_name": "{type(self).__name__}"}}\n', encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The layers of a folder, in float32."""
        check_class(read_json(folder / LAYERS_CONFIG), cls, folder / LAYERS_CONFIG)
        layers = read_tensors(folder / LAYERS_FILE)
        check_finite(layers, folder)
        return cls({name: value.to(torch.float32) for name, value in layers.items()}).eval()


def outer_state(unet: JointUNet) -> dict[str, Tensor]:
    """The parameters of a UNet's outer layers, by name."""
    last = len(unet.unet.up_blocks) - 1
    ends = ("conv_in.", "conv_out.", "conv_norm_out.", "down_blocks.0.")
    outer = tuple(f"unet.{part}" for part in (*ends, f"up_blocks.{last}.", f"up_blocks.{last - 1}.upsamplers."))
    return {name: value for name, value in unet.named_parameters() if name.startswith(outer)}
