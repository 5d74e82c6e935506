"""A small pipeline that talks, by the real builders: random weights, in which motion and sound are let loose."""

import torch
from networks import C, networks, small_codec
from torch import Tensor, nn

from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import new_audio_tokens
from jdap.models.clip.audio_attention import new_audio_attention
from jdap.models.clip.conditions import DriveTokens
from jdap.models.clip.motion import new_motion
from jdap.models.clip.unet import ClipUNet
from jdap.pipelines.talking import TalkingPipeline, WindowShape

SIZE, TOKEN_DIM = 32, 12
SHAPE = WindowShape(frames=4, motion_frames=2, audio_margin=5)


def talker(seed: int = 0, shape: WindowShape = SHAPE, deaf: bool = False, driven: bool = False) -> TalkingPipeline:
    """For pictures of 32 pixels, windows of 4 + 2 frames."""
    joint, reference = networks(seed)
    torch.manual_seed(seed)
    sound = None if deaf else new_audio_attention(joint.unet, TOKEN_DIM)
    unet = ClipUNet(joint, new_motion(joint.unet), sound)
    for name, parameter in unet.named_parameters():
        # fresh ones answer zero
        if ("motion_modules" in name and ".proj_out." in name) or (name.startswith("audio.") and ".to_out." in name):
            nn.init.normal_(parameter, std=0.2)
    audio = None if deaf else new_audio_tokens(tokens=3, dim=TOKEN_DIM, hidden=16, channels=8)
    assert C == 3
    return TalkingPipeline(
        small_codec().eval(),
        unet.eval(),
        reference.eval(),
        None if audio is None else audio.eval(),
        NoiseSchedule(),
        shape=shape,
        preset="tiny",
        size_px=SIZE,
        drive=DriveTokens(["pose", "lips"], TOKEN_DIM, hidden=16).eval() if driven else None,
    )


def person(seed: int = 3) -> Tensor:
    """A reference picture (1, 3, 32, 32)."""
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def speech(seconds: float, seed: int = 4) -> Tensor:
    """Noise that swells and falls, (S,) at 16 kHz."""
    samples = round(seconds * 16000)
    noise = torch.rand(samples, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return noise * (torch.arange(samples) / 1500).sin().abs()
