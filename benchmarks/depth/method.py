"""What a depth method is to a benchmark, and the methods there are: ours and the baselines.

A method reads an :class:`jdap.batch.ImageBatch` and returns a depth map a picture, in any affine frame, larger =
farther. It must be a pure function of the batch: the same batch gives the same maps, so that a benchmark can ask again
for the pictures that it draws. To add one, write a class with ``name`` and ``predict`` and put it in
:data:`DEPTH_METHODS`.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from benchmarks import BenchmarkError
from jdap.batch import ImageBatch
from jdap.choices import MEAN_DEPTH_FILE
from jdap.faces.landmarker import Landmarker
from jdap.io.fetch import AssetError
from jdap.metrics.depth import METRIC, NORMALISED, PAPER

if TYPE_CHECKING:
    from jdap.pipelines.fitted import FittedDepth
    from jdap.pose.heads import Heads

MEAN_DEPTH_KEY = "mean_depth"
#: What depth in [-1, 1] promises.
IN_RANGE = (NORMALISED, PAPER)


class Unavailable(Exception):
    """The data do not hold what a method needs; the message says what is missing."""


class Method(Protocol):
    """A way to get depth from pictures.

    One that promises more than an affine frame says so by an attribute ``frames``: a tuple of
    :data:`jdap.metrics.depth.DEPTH_FRAMES` in which its answer needs no shift (:func:`promises`). A ``size_px`` is the
    side of the pictures that it reads.
    """

    name: str

    def predict(self, batch: ImageBatch) -> Tensor:
        """Depth (B, 1, H, W) float on the batch's device, in any affine frame, larger = farther, finite on skin.

        Raises :class:`Unavailable` when the batch does not hold what the method needs.
        """
        ...


def promises(method: Method) -> tuple[str, ...]:
    """The frames in which a method's answer may be read without a shift; none of relative depth."""
    return tuple(getattr(method, "frames", ()))


@dataclass(frozen=True)
class MethodSettings:
    """What methods are built from: the weights folder, sampling steps and ensemble size, the seed and the device."""

    weights: Path | None
    steps: int = 1
    ensemble: int = 1
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def weights_for(self, name: str) -> Path:
        """The weights folder; raises :class:`BenchmarkError` when there is none."""
        if self.weights is None:
            raise BenchmarkError(f"method {name} needs --weights, the weights folder that training wrote")
        if not self.weights.is_dir():
            raise BenchmarkError(f"{self.weights}: no such weights folder; train one with `make train-image`")
        return self.weights


def seeded(seed: int, keys: Sequence[str]) -> torch.Generator:
    """A generator of noise for a batch, which depends on the seed and the batch's keys alone."""
    # One 32-bit hash of both: of a larger seed the CPU's generator takes the lower 32 bits only. The noise is drawn
    # there whatever the device, so that a GPU gets the same.
    return torch.Generator().manual_seed(zlib.crc32("\n".join([str(seed), *keys]).encode()))


class Jdap:
    """Ours: image-to-depth by the portrait pipeline of a weights folder."""

    name = "jdap"
    frames = IN_RANGE

    def __init__(self, settings: MethodSettings) -> None:
        # Imported here, because the baselines need none of the networks.
        from jdap.pipelines.portrait import PortraitPipeline

        self.pipeline = PortraitPipeline.from_pretrained(settings.weights_for(self.name)).quiet().to(settings.device)
        try:
            self.pipeline.schedule.spaced(settings.steps)
        except ValueError as error:
            raise BenchmarkError(f"--steps: {error}") from error
        self.settings = settings

    @property
    def size_px(self) -> int:
        """The side of the square pictures that the pipeline reads."""
        return self.pipeline.size_px

    def predict(self, batch: ImageBatch) -> Tensor:
        """Normalised depth (B, 1, H, W) in [-1, 1]; the noise is seeded by the seed and the keys of the batch."""
        settings = self.settings
        generator = seeded(settings.seed, batch.key)
        found = self.pipeline.image_to_depth(
            batch.rgb,
            head=self._head(batch),
            steps=settings.steps,
            ensemble=settings.ensemble,
            generator=generator,
        )
        return found.depth

    def _head(self, batch: ImageBatch) -> FittedDepth | None:
        return None


class JdapHead(Jdap):
    """Ours, from a head fitted to each picture, which weights with face layers better."""

    name = "jdap_head"

    def __init__(self, settings: MethodSettings) -> None:
        super().__init__(settings)
        self._heads: Heads | None = None

    @property
    def betters_heads(self) -> bool:
        """Whether the weights have layers for fitted heads."""
        return self.pipeline.face_layers is not None

    def _head(self, batch: ImageBatch) -> FittedDepth | None:
        if not self.betters_heads:
            raise Unavailable("the weights have no layers that better a fitted head")
        of_photos: FittedDepth | None = getattr(batch, "fitted", None)  # the photos that the pictures are cropped of
        if of_photos is not None:
            return of_photos
        try:
            return self._fit(batch.rgb)
        except AssetError as error:
            raise Unavailable(f"no head can be fitted: {error}") from error

    def _fit(self, rgb_B3SS: Tensor) -> FittedDepth:
        """Heads in small pictures by themselves."""
        # Imported here, because the baselines need none of it.
        from jdap.pipelines.fitted import FittedDepth
        from jdap.pose.depth import head_in_picture
        from jdap.pose.heads import Heads

        with Landmarker() as landmarker:
            if self._heads is None:
                self._heads = Heads(landmarker)
            self._heads.landmarker = landmarker
            found = [head_in_picture(self._heads, rgb) for rgb in rgb_B3SS.cpu()]
        return FittedDepth(*(torch.cat(x).to(rgb_B3SS.device) for x in zip(*found, strict=True)))


class FlatPlane:
    """The same depth everywhere: what alignment alone achieves."""

    name = "flat"

    def predict(self, batch: ImageBatch) -> Tensor:
        """Zeros (B, 1, H, W)."""
        return torch.zeros_like(batch.depth_mm)


class TrainingMean:
    """The pixel-wise mean depth of the training set: what a model knows that has not looked at the picture.

    Reads ``mean_depth.safetensors`` of the weights folder: ``mean_depth`` (1, H, W) float in the normalised frame.
    """

    name = "mean"
    frames = IN_RANGE

    def __init__(self, settings: MethodSettings) -> None:
        path = settings.weights_for(self.name) / MEAN_DEPTH_FILE
        if not path.is_file():
            raise BenchmarkError(
                f"{path}: missing, and method {self.name} is made of it; `make train-image` writes it, "
                "or leave the method out with --methods"
            )
        try:
            mean = load_file(path)[MEAN_DEPTH_KEY].float()
        except (SafetensorError, KeyError, OSError) as error:
            raise BenchmarkError(f"{path}: holds no readable tensor {MEAN_DEPTH_KEY}: {error}") from error
        if mean.ndim != 3 or mean.shape[0] != 1 or not mean.isfinite().all():
            raise BenchmarkError(
                f"{path}: {MEAN_DEPTH_KEY} must be finite with shape (1, H, W), got {tuple(mean.shape)}"
            )
        self.mean_1HW = mean

    def predict(self, batch: ImageBatch) -> Tensor:
        """The mean (B, 1, H, W), resized to the pictures bilinearly."""
        mean = self.mean_1HW[None].to(batch.depth_mm)
        if mean.shape[-2:] != batch.depth_mm.shape[-2:]:
            mean = F.interpolate(mean, batch.depth_mm.shape[-2:], mode="bilinear", antialias=True)
        return mean.expand_as(batch.depth_mm)


class CarriedDepth:
    """Depth that the batch carries in a field of its own; what has depth and no such value takes the nearest one.

    ``lacks`` says what a batch without it lacks. Its millimetres are those of the picture's camera.
    """

    frames = (METRIC,)

    def __init__(self, name: str, field: str, lacks: str) -> None:
        self.name, self.field, self.lacks = name, field, lacks

    def predict(self, batch: ImageBatch) -> Tensor:
        """z-depth (B, 1, H, W), in millimetres where the field is."""
        found: Tensor | None = getattr(batch, self.field, None)
        if found is None:
            raise Unavailable(self.lacks)
        depth_mm = found.clone()
        bare = (batch.skin | (batch.depth_mm > 0)) & (depth_mm <= 0)
        for index in bare.flatten(1).any(1).nonzero().flatten().tolist():
            depth_mm[index] = self._filled(depth_mm[index], batch.key[index])
        return depth_mm

    def _filled(self, depth_mm_1HW: Tensor, key: str) -> Tensor:
        empty = (depth_mm_1HW[0] <= 0).cpu().numpy()
        if empty.all():
            raise Unavailable(f"picture {key} carries no depth of {self.name}")
        v, u = distance_transform_edt(empty, return_distances=False, return_indices=True)
        v_HW, u_HW = (torch.as_tensor(index, dtype=torch.long, device=depth_mm_1HW.device) for index in (v, u))
        return depth_mm_1HW[:, v_HW, u_HW]


class PosedMeanHead(CarriedDepth):
    """The mean head of the morphable model in the picture's own pose: what pose alone says of depth.

    The shards carry it (``meanhead.*.png``), posed by the true parameters in the studio and by the fitted ones
    elsewhere. It is a mean in identity and expression, not in pose, so it knows more than a method that sees a picture.
    """

    name = "posed_mean_head"

    def __init__(self) -> None:
        lacks = "the shards carry no depth of the posed mean head (meanhead members)"
        super().__init__(self.name, "mean_head_mm", lacks)


#: name -> how it is built. The order is that of the table.
DEPTH_METHODS: dict[str, Callable[[MethodSettings], Method]] = {
    Jdap.name: Jdap,
    JdapHead.name: JdapHead,
    TrainingMean.name: TrainingMean,
    PosedMeanHead.name: lambda settings: PosedMeanHead(),
    FlatPlane.name: lambda settings: FlatPlane(),
}
#: What photos can serve beyond that: their landmarks are at hand.
_PHOTOS_ONLY = {
    "expressive_head": "expressive_head_mm",
    "mediapipe_z": "landmarks_mm",
    "fit": "fitted_head_mm",
}


def _carried(name: str, field: str) -> Callable[[MethodSettings], Method]:
    return lambda settings: CarriedDepth(name, field, "only photos carry it (--photos)")


#: Methods of photos alone, as :data:`DEPTH_METHODS` has them.
PHOTO_METHODS = {name: _carried(name, field) for name, field in _PHOTOS_ONLY.items()}
