"""The part ``precision`` of ``benchmarks speed``: training steps of preset tiny in bfloat16 against float32.

A step is forward and backward of what `jdap train-image` and `jdap train-video` run at their usual batch, from latents.

Shapes: C latent channels, 32 x 32 latent cells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.choices import SPEED_DTYPES
from benchmarks.cost.timing import Call
from jdap.models.clip.audio_attention import new_audio_attention
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.motion import new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.models.image.build import build

#: Of preset tiny: latent channels and cells of its codec, and what a step holds of each kind.
TINY_CHANNELS, CELLS = 3, 32
STEP_PEOPLE, STEP_TARGETS = 4, 4
STEP_CLIPS, STEP_FRAMES, STEP_BEFORE = 2, 14, 2
STEP_TOKENS, TOKEN_DIM = 8, 64


def precision_steps(
    device: torch.device, widths: tuple[int, ...] | None = None, cells: int = CELLS
) -> dict[str, dict[str, Call]]:
    """What trains → the name of a precision → its step; ``widths`` of the UNets in place of the preset's,
    and cells a side in place of its codec's.
    """
    torch.manual_seed(0)
    joint, reference = build("tiny", TINY_CHANNELS, widths)
    sound = new_audio_attention(joint.unet, TOKEN_DIM)
    clip = ClipUNet(joint, new_motion(joint.unet), sound)
    networks = {"image": nn.ModuleList([joint, reference]), "clip": nn.ModuleList([clip])}
    for network in networks.values():
        network.to(device)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    pictures = STEP_PEOPLE * STEP_TARGETS
    t = torch.full((pictures,), 500, device=device)
    halves, person = (drawn(2, pictures, TINY_CHANNELS, cells, cells), drawn(STEP_PEOPLE, TINY_CHANNELS, cells, cells))

    def image() -> Tensor:
        known = joint.project_reference(reference(person))
        return torch.cat(joint(*halves, t, t, known, targets=STEP_TARGETS), dim=1)

    frames = drawn(2, STEP_CLIPS * STEP_FRAMES, TINY_CHANNELS, cells, cells)
    before = drawn(2, STEP_CLIPS, STEP_BEFORE, TINY_CHANNELS, cells, cells)
    motion = MotionFrames(before[0], before[1], torch.zeros(STEP_CLIPS, dtype=torch.long, device=device))
    heard = drawn(STEP_CLIPS, STEP_FRAMES + STEP_BEFORE, STEP_TOKENS, TOKEN_DIM)
    t_frames = torch.full((STEP_CLIPS * STEP_FRAMES,), 500, device=device)

    def talking() -> Tensor:
        with torch.no_grad():
            known = clip.project_reference(reference(person[:STEP_CLIPS]))
        told = {"reference": known, "motion": motion, "anchor": Anchor(person[:STEP_CLIPS], 999)}
        said = clip.project_audio(heard, anchored=True)
        return torch.cat(clip(*frames, t_frames, t_frames, frames=STEP_FRAMES, audio=said, **told), dim=1)

    calls = {"image": image, "clip": talking}
    return {
        what: {name: partial(_step, networks[what], call, device, getattr(torch, name)) for name in SPEED_DTYPES}
        for what, call in calls.items()
    }


def _step(network: nn.Module, predict: Callable[[], Tensor], device: torch.device, dtype: torch.dtype) -> None:
    network.zero_grad()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        loss = predict().float().square().mean()
    loss.backward()
