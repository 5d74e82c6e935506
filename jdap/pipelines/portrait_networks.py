"""What the portrait pipeline consists of, and how it samples; the questions are in :mod:`jdap.pipelines.portrait`.

Shapes: B pictures, R references of a person, C latent channels, H x W pixels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from jdap import depth as depth_frames
from jdap.choices import CLEAN, REPAINT, RESCALE
from jdap.diffusion.denoiser import Generators, Network, Pair, randn_pair
from jdap.diffusion.onestep import DEPTH_STARTS, ZEROS, from_head
from jdap.diffusion.samplers import ddim, guided, network_calls
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.codec import DiffusersCodec, ImageCodec
from jdap.models.image.face_layers import FaceLayers
from jdap.models.image.image_tokens import ImageTokens
from jdap.models.image.joint_unet import JointUNet
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.separate import SeparateUNets
from jdap.pipelines.base import Callback, JointPipeline
from jdap.pipelines.fitted import FittedDepth
from jdap.pipelines.moved import MovedLatents, MovedReferences, MoveReference, cells_of, check_moved, likened
from jdap.pipelines.pictures import Pictures, check_pictures, rgb_of
from jdap.pipelines.portrait_parts import check_image_model, check_settings


class PortraitNetworks(JointPipeline):
    """Codec, UNet, ReferenceNet and noise schedule of an image model.

    Args:
        codec, unet, reference: the networks; C of the codec is that of the UNets. Ablations have separate UNets for RGB
            and depth, or no ReferenceNet.
        scheduler: the noise schedule that the weights were trained with, or its form in diffusers.
        image_tokens: what makes tokens of reference pictures for the cross-attention; None: the networks see none.
        face_layers: outer layers of the UNet that better the depth of a fitted face; None: depth is that of the
            picture alone.
        likeness_net: what betters drawn RGB by a reference that was moved to the drawn head; None: RGB is the UNet's.
        preset: the name of the builder that made the networks.
        size_px: the side of the pictures that the weights were trained on; it must be given.
        one_step_start: of weights that were fine-tuned to depth in one step (:mod:`jdap.stages.onestep`), what the
            depth half starts from (:data:`jdap.diffusion.onestep.DEPTH_STARTS`); such weights only answer
            image-to-depth in one step. None: weights that sample in any number of steps.
        shared_timestep: an ablation: the network only knows halves at the same timestep.

    Raises:
        ValueError: where the parts do not go together.
    """

    kinds = {  # noqa: RUF012
        "codec": (ImageCodec, DiffusersCodec),
        "unet": (JointUNet, SeparateUNets),
        "reference": (ReferenceNet,),
        "scheduler": (DDIMScheduler,),
        "image_tokens": (ImageTokens,),
        "face_layers": (FaceLayers,),
        "likeness_net": (LikenessNet,),
    }
    _optional_components = ["reference", "image_tokens", "face_layers", "likeness_net"]  # noqa: RUF012
    model_cpu_offload_seq = "image_tokens->reference->unet->likeness_net->codec"  # type: ignore[assignment]
    remedy = "make train-image"

    def __init__(
        self,
        codec: ImageCodec | DiffusersCodec,
        unet: JointUNet | SeparateUNets,
        reference: ReferenceNet | None,
        scheduler: DDIMScheduler | NoiseSchedule,
        image_tokens: ImageTokens | None = None,
        face_layers: FaceLayers | None = None,
        likeness_net: LikenessNet | None = None,
        *,
        preset: str = "",
        size_px: int = 0,
        one_step_start: str | None = None,
        shared_timestep: bool = False,
    ) -> None:
        super().__init__()
        if one_step_start not in (None, *DEPTH_STARTS):
            raise ValueError(f"one_step_start must be one of {', '.join(DEPTH_STARTS)}, got {one_step_start!r}")
        check_settings({"preset": (preset, str), "size_px": (size_px, int), "shared_timestep": (shared_timestep, bool)})
        check_image_model(codec, unet, reference, image_tokens, size_px)
        if face_layers is not None and not face_layers.fits(unet):
            raise ValueError("face_layers are not the outer layers of such a unet: they are not of one model")
        if likeness_net is not None and likeness_net.config["latent_channels"] != codec.latent_channels:
            raise ValueError("likeness_net and codec have different latent channels: they are not of one model")
        self._register(
            {
                "codec": codec,
                "unet": unet,
                "reference": reference,
                "scheduler": scheduler,
                "image_tokens": image_tokens,
                "face_layers": face_layers,
                "likeness_net": likeness_net,
            },
            {
                "preset": preset,
                "size_px": size_px,
                "one_step_start": one_step_start,
                "shared_timestep": shared_timestep,
            },
        )

    @property
    def joint(self) -> bool:
        """Whether one network samples both halves: separate ones sample no picture for a depth map."""
        return not isinstance(self.unet, SeparateUNets)

    @property
    def pipeline_tag(self) -> str:  # type: ignore[override]
        """The hub's name for what these weights do."""
        return "image-to-image" if self.one_step_start is None else "depth-estimation"

    def steps_of_depth(self, steps: int, depth_first: float) -> int:
        """How many steps of a new portrait sample both halves; fewer than ``steps`` where RGB is then drawn anew."""
        apart = self.joint and not self.shared_timestep and steps > 1
        return max(1, round(depth_first * steps)) if apart and depth_first else steps

    def _here(self, pictures: Tensor) -> Tensor:
        """On the networks' device, in their type."""
        return pictures.to(self._execution_device, self.unet.dtype)

    def network(
        self, reference: Pictures | None, guidance: float, count: int, latents: Tensor | None = None
    ) -> Network:
        """The joint UNet led by reference pictures, read once for all steps; ``latents`` are theirs, if at hand.

        Raises ValueError unless there is one person, for all of the ``count`` pictures that are drawn, or one for each.
        """
        if reference is None:
            return self.unet
        if self.reference is None:
            raise ValueError("these weights have no ReferenceNet and keep nobody's likeness: leave the reference out")
        pictures = self._here(rgb_of(reference, "references", self.size_px))
        latents = self._encode(pictures) if latents is None else latents
        if len(latents) not in (1, count):
            raise ValueError(
                f"{len(latents)} references for {count} pictures: give one, or one for each; several pictures of one "
                "person are a list in the list"
            )
        targets = count // len(latents)
        projected = self.unet.project_reference(self.reference(latents))
        network = partial(self.unet, reference=projected, targets=targets)
        tokens = None if self.image_tokens is None else self.image_tokens(pictures).repeat_interleave(targets, 0)
        if guidance == 1:
            return partial(network, tokens_BLD=tokens)
        # no tokens are zero tokens, however many
        tokens = None if tokens is None else torch.cat([torch.zeros_like(tokens), tokens])
        led = partial(network, tokens_BLD=tokens, reference_from=count)
        return guided(led, guidance, rescale=RESCALE)

    def _sample(
        self,
        network: Network,
        like: Pair,
        generator: Generators | None,
        *,
        callback_on_step_end: Callback | None,
        callback_on_step_end_tensor_inputs: Sequence[str],
        passed: int = 0,
        to_come: int = 0,
        **how: Any,
    ) -> Pair:
        """Latents of both halves, sampled from noise in the shape of ``like``; ``how`` are the options of ``ddim``.

        ``passed`` and ``to_come``: network calls of the same answer before and after these, for who counts them.
        """
        given = how.get("known_rgb") is not None or how.get("known_depth") is not None
        how["method"] = method = how.get("method") or (REPAINT if self.shared_timestep else CLEAN)
        self._check_one_step(how)
        if given and self.shared_timestep and method == CLEAN:
            raise ValueError("these weights only know halves at the same timestep: method must be repaint")
        if given and not self.joint and method == REPAINT:
            raise ValueError("separate networks take depth from clean RGB: method must be clean")
        noise = randn_pair(like, generator)
        if self.one_step_start == ZEROS:
            noise = Pair(*map(torch.zeros_like, noise))
        calls = network_calls(how["steps"] - how.get("skip", 0), how.get("resample", 1), how.get("jump", 1))

        def sample(**options: Any) -> Pair:
            told = callback_on_step_end, callback_on_step_end_tensor_inputs
            with self._steps(calls, *told, passed, to_come) as on_step:
                return ddim(self.denoiser, network, noise, generator=generator, on_step=on_step, **options)

        if not self.joint:
            of_rgb = {name: value for name, value in how.items() if name not in ("known_depth", "depth_cells")}
            if how.get("known_rgb") is None or how.pop("rgb_cells", None) is not None:
                how["known_rgb"] = sample(**of_rgb).rgb
        return sample(**how)

    def _better(self, pictures: Tensor, head: FittedDepth) -> Tensor | None:
        """What the face layers make of fitted heads, (B, 1, H, W) in [-1, 1]; None where no picture has one."""
        if self.face_layers is None:
            raise ValueError("these weights have no layers that better a fitted head: leave head out")
        if not head.relief.shape == head.face.shape == pictures[:, :1].shape:
            raise ValueError(
                f"head must be of the pictures' number and size, got {tuple(head.relief.shape)} and "
                f"{tuple(head.face.shape)} for {tuple(pictures.shape)}"
            )
        check_pictures(head.relief, "head", 1)
        if not head.found.any():
            return None
        relief = self._here(depth_frames.to_codec(head.relief))
        rgb, start = self.codec.encode(torch.cat([pictures, relief])).chunk(2)
        latents = from_head(self.denoiser, self.face_layers.around(self.unet), rgb, start)
        return depth_frames.from_codec(self.codec.decode(latents).float())

    def _led(self, network: Network, moved: MovedReferences, depth_BChw: Tensor) -> Network:
        """The network, led by moved references besides, where RGB is drawn for this depth (latents)."""
        if self.likeness_net is None:
            raise ValueError("these weights have no likeness_net that looks at moved references: leave move out")
        check_moved(moved, len(depth_BChw), self.size_px)
        latents = self.codec.encode(self._here(moved.rgb))
        at = MovedLatents(latents, cells_of(self._here(moved.seen), self.codec.factor), depth_BChw)
        return likened(network, self.likeness_net, self.denoiser, at)

    def _moved_to(
        self, move: MoveReference, given: Tensor, known: Tensor, network: Network, steps: int
    ) -> MovedReferences:
        """References moved to given depth (B, 1, H, W), ``known`` as latents.

        Where the depth alone shows no face, the picture that the network draws for it is asked, too. Its noise is
        always the same, so that the answer's own does not depend on whether it was asked.
        """
        moved = move(None, given)
        if moved.found.all():
            return moved
        same = [torch.Generator().manual_seed(0) for _ in known]
        told: dict[str, Any] = {"callback_on_step_end": None, "callback_on_step_end_tensor_inputs": ()}
        drawn = self._sample(network, Pair(known, known), same, known_depth=known, steps=steps, **told)
        other = move(self.codec.decode(drawn.rgb).float().clamp(-1, 1), given)
        here = moved.found[:, None, None, None]
        return MovedReferences(*(torch.where(here, a, b) for a, b in zip(moved, other, strict=True)))

    def _start(self, rgb: Pictures, strength: float, steps: int) -> dict[str, Any]:
        """What sampling needs to start from pictures with some of the noise."""
        start = self._here(rgb_of(rgb, "pictures", self.size_px))
        check_pictures(start, "pictures")
        return {"start_rgb": self.codec.encode(start), "skip": steps - max(1, round(strength * steps))}

    def _check_one_step(self, how: dict[str, Any]) -> None:
        """Raises ValueError for questions that weights of one step do not answer."""
        if self.one_step_start is None:
            return
        if how.get("known_rgb") is None or how.get("known_depth") is not None:
            self._refuse("another question than image-to-depth")
        if how["steps"] != 1 or how["method"] != CLEAN:
            self._refuse(f"depth in {how['steps']} steps by {how['method']}")

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            f"{what}: these weights were fine-tuned to depth in one step and do nothing else; "
            "use the weights that they were fine-tuned from"
        )

    def _encode(self, pictures: Tensor) -> Tensor:
        """Latents of references (B, 3, H, W) → (B, C, h, w), or (B, R, 3, H, W) → (B, R, C, h, w)."""
        if pictures.ndim != 5:
            check_pictures(pictures, "references")
            return self.codec.encode(pictures)
        check_pictures(pictures.flatten(0, 1), "references")
        return self.codec.encode(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
