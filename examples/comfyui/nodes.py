"""The nodes. ComfyUI's IMAGE is (B, H, W, 3) float32 in [0, 1], its MASK (B, H, W) in [0, 1]; ours are (B, 3, H, W)
and (B, 1, H, W) in [-1, 1], depth with -1 near and +1 far. A depth IMAGE here is grey, near is white.

Shapes: B pictures, H x W pixels, S pixels the side of a head's square.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from jdap import PortraitPipeline, RelightPipeline
from jdap.faces.crop import crop_frame
from jdap.faces.landmarker import Landmarker
from jdap.io.device import AUTO, find_device
from jdap.light.sources import from_direction
from jdap.photos.read import Photo, PhotoError
from jdap.photos.window import by_faces
from jdap.shape.assumed import foreground

CATEGORY = "JDAP"
PIPELINE = "JDAP_PIPELINE"
SEED = ("INT", {"default": 0, "min": 0, "max": 2**32 - 1})


def number(default: float, low: float, high: float, step: float = 0.1) -> tuple[str, dict[str, float]]:
    """An input that is a number."""
    return "FLOAT", {"default": default, "min": low, "max": high, "step": step}


def whole(default: int, low: int, high: int) -> tuple[str, dict[str, int]]:
    """An input that is a whole number."""
    return "INT", {"default": default, "min": low, "max": high}


@lru_cache(maxsize=2)
def loaded(weights: str, device: str) -> PortraitPipeline:
    """The pipeline of some weights; read once, and kept."""
    return PortraitPipeline.from_pretrained(weights).quiet().to(find_device(device))


def to_pictures(image_BHW3: Tensor, what: str = "image") -> Tensor:
    """IMAGE → (B, 3, S, S) in [-1, 1]. Raises ValueError unless it is square."""
    height, width = image_BHW3.shape[1:3]
    if height != width:
        raise ValueError(f"{what}: {width} x {height} pixels are no square; cut the head out first, by JDAP Head")
    return image_BHW3[..., :3].permute(0, 3, 1, 2).clamp(0, 1) * 2 - 1


def to_depth(image_BHW3: Tensor, size_px: int) -> Tensor:
    """A depth IMAGE, near is white → (B, 1, size, size) in [-1, 1]."""
    return -sized(to_pictures(image_BHW3, "depth").mean(1, keepdim=True), size_px)


def to_image(pictures_BCHW: Tensor) -> Tensor:
    """(B, 3 or 1, H, W) in [-1, 1] → IMAGE."""
    colour = pictures_BCHW.expand(-1, 3, -1, -1).float().cpu()
    return ((colour + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def sized(pictures_BCHW: Tensor, side: int) -> Tensor:
    """Pictures at another size."""
    if pictures_BCHW.shape[-1] == side:
        return pictures_BCHW
    return F.interpolate(pictures_BCHW, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)


def one_each(pictures_B: Tensor, count: int) -> Tensor:
    """A picture of its own for each of so many: a single one is everybody's."""
    return pictures_B.expand(count, *pictures_B.shape[1:]) if len(pictures_B) == 1 else pictures_B


def noise(seed: int, count: int) -> list[torch.Generator]:
    """A generator for each picture."""
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


class JdapLoad:
    """Weights, for the other nodes."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """A weights folder, ``shipped:NAME`` or a hub id, and where it works."""
        return {
            "required": {"weights": ("STRING", {"default": "shipped:image-tiny"}), "device": ([AUTO, "cpu", "cuda"],)}
        }

    RETURN_TYPES: ClassVar = (PIPELINE,)
    RETURN_NAMES: ClassVar = ("pipeline",)
    FUNCTION = "load"
    CATEGORY = CATEGORY

    def load(self, weights: str, device: str) -> tuple[PortraitPipeline]:
        """The pipeline."""
        return (loaded(weights, device),)


class JdapHead:
    """The largest head of each picture, upright and square."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Pictures, and the side of the square."""
        return {"required": {"image": ("IMAGE",), "size": whole(512, 64, 2048)}}

    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("head",)
    FUNCTION = "cut"
    CATEGORY = CATEGORY

    def cut(self, image: Tensor, size: int) -> tuple[Tensor]:
        """The heads. Raises ValueError for a picture without a face."""
        heads = []
        with Landmarker() as landmarker:
            for i, pixels in enumerate((image[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()):
                try:
                    found = by_faces(landmarker)(Photo(pixels), Path(f"picture {i + 1}"))
                except PhotoError as error:
                    raise ValueError(f"picture {i + 1}: no face is found; cut the head out by hand, square") from error
                heads.append(torch.from_numpy(crop_frame(found.photo.rgb_HW3, found.windows_px[0], size).copy()))
        return (torch.stack(heads).float() / 255,)


class JdapDepth:
    """Depth of heads."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Square heads; an ensemble of draws is a little better, and slower."""
        required = {"pipeline": (PIPELINE,), "image": ("IMAGE",), "ensemble": whole(1, 1, 64), "seed": SEED}
        return {"required": required}

    RETURN_TYPES: ClassVar = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar = ("depth", "person")
    FUNCTION = "estimate"
    CATEGORY = CATEGORY

    def estimate(self, pipeline: PortraitPipeline, image: Tensor, ensemble: int, seed: int) -> tuple[Tensor, Tensor]:
        """Depth, near is white, and where depth is not background."""
        pictures = to_pictures(image)
        small = sized(pictures, pipeline.size_px)
        found = pipeline.image_to_depth(small, ensemble=ensemble, generator=noise(seed, len(small)))
        depth = sized(found.depth.float().cpu(), pictures.shape[-1])
        return to_image(-depth), foreground(depth)[:, 0]


class JdapRelight:
    """Heads in the light of a lamp."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Square heads, where the lamp stands (degrees to the right and up), and depth if it is known."""
        lamp = {"azimuth": number(-60, -180, 180, 1), "elevation": number(15, -90, 90, 1)}
        level = {"strength": number(1, 0, 10), "ambient": number(0.3, 0, 1), "exposure": number(0, -4, 4), "seed": SEED}
        return {
            "required": {"pipeline": (PIPELINE,), "image": ("IMAGE",), **lamp, **level},
            "optional": {"depth": ("IMAGE",), "mask": ("MASK",)},
        }

    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("image",)
    FUNCTION = "light"
    CATEGORY = CATEGORY

    def light(
        self,
        pipeline: PortraitPipeline,
        image: Tensor,
        azimuth: float,
        elevation: float,
        strength: float,
        ambient: float,
        exposure: float,
        seed: int,
        depth: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor]:
        """The pictures in new light; outside of a mask as they were."""
        pictures = to_pictures(image)
        made = RelightPipeline(pipeline)(
            pictures,
            from_direction(azimuth, elevation, strength, ambient),
            depth=None if depth is None else one_each(to_depth(depth, pipeline.size_px), len(pictures)),
            brightness=2.0**exposure,
            generator=noise(seed, len(pictures)),
        )
        new = to_image(made.rgb)
        if mask is None:
            return (new,)
        if mask.shape[-2:] != new.shape[1:3]:
            (tall, wide), (height, width) = mask.shape[-2:], new.shape[1:3]
            raise ValueError(
                f"the mask is {wide} x {tall} pixels, the picture {width} x {height}: make it of this picture, or "
                "leave it out (Load Image gives one of 64 x 64 where a picture has no transparency)"
            )
        return (torch.lerp(image[..., :3].float().cpu(), new, mask.float().cpu()[..., None]),)


class JdapPortrait:
    """New portraits of the people in pictures, with depth; or of a given depth."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Square heads of the people; the depth that their portraits are to have, if one is wanted."""
        how = {"steps": whole(20, 1, 1000), "guidance": number(2, 1, 10), "seed": SEED}
        return {
            "required": {"pipeline": (PIPELINE,), "reference": ("IMAGE",), **how},
            "optional": {"depth": ("IMAGE",)},
        }

    RETURN_TYPES: ClassVar = ("IMAGE", "IMAGE")
    RETURN_NAMES: ClassVar = ("image", "depth")
    FUNCTION = "sample"
    CATEGORY = CATEGORY

    def sample(
        self,
        pipeline: PortraitPipeline,
        reference: Tensor,
        steps: int,
        guidance: float,
        seed: int,
        depth: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pictures and depth, at the size of the weights."""
        people = sized(to_pictures(reference, "reference"), pipeline.size_px)
        count = len(people) if depth is None else max(len(people), len(depth))
        people = one_each(people, count)
        how: dict[str, Any] = {"steps": steps, "guidance": guidance, "generator": noise(seed, count)}
        if depth is None:
            made = pipeline.generate(people, **how)
            return to_image(made.rgb), to_image(-made.depth)
        given = one_each(to_depth(depth, pipeline.size_px), count)
        return to_image(pipeline.depth_to_image(given, reference=people, **how)), to_image(-given)


_NODES = {JdapLoad: "Weights", JdapHead: "Head", JdapDepth: "Depth", JdapRelight: "Relight", JdapPortrait: "Portrait"}
NODE_CLASS_MAPPINGS = {node.__name__: node for node in _NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: f"JDAP {name}" for node, name in _NODES.items()}
