"""How far a mouth is open in the frames of a clip, or in their depth maps: a small network that finds the mouth itself.

Two networks in one: the first finds the mouth's centre and radius in each whole picture, at half its resolution; the
second reads the opening in millimetres from a square around it, beside how that square differs from its mean over the
clip, which shows what moves, whoever it is. Squares are standardised: neither exposure nor the frame of a depth map
matters.

Shapes: B clips, F frames of each, N = B F, C = 3 channels of RGB or 1 of depth, H = W = 128 pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from jdap.io.files import write_whole

READER_SIDE_PX = 128
#: The square that is read: its pixels a side, and its half side in radii of the mouth.
CROP_PX, CROP_RADII = 40, 1.6
#: Of a mouth in the studio's pictures; the network says how many e-folds another is off it.
USUAL_RADIUS_PX = 11.0
#: What the network says of an opening is in units of this, about the standard deviation in speech.
OPENING_UNIT_MM = 3.5
#: Standard deviation of the window, in frames, that smooths where the mouth is: heads move slower than lips.
SMOOTH_FRAMES = 2.0
RGB, DEPTH = "rgb", "depth"
READER_CHANNELS = {RGB: 3, DEPTH: 1}


class MouthError(ValueError):
    """A file that holds no readers; the message is one line."""


class MouthReader(nn.Module):
    """Clips (B, F, C, H, W) in [-1, 1] → the opening between the lips (B, F) in millimetres.

    Frames of another size than 128 are resized. Millimetres are of the studio's heads and distances: the network knows
    no camera, so what may be compared is how an opening changes within a clip.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.finder = nn.Sequential(
            nn.PixelUnshuffle(2),
            _layer(4 * channels, 32),
            _layer(32, 32),
            _layer(32, 48, 2),
            _layer(48, 48),
            _layer(48, 48),
            nn.Conv2d(48, 2, 1),
        )
        self.reader = nn.Sequential(
            _layer(2 * channels, 24),
            _layer(24, 32, 2),
            _layer(32, 48),
            _layer(48, 64, 2),
            _layer(64, 64),
            nn.Conv2d(64, 32, 1),
            nn.AvgPool2d(2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(32 * (CROP_PX // 8) ** 2, 64),
            nn.SiLU(),
            nn.Linear(64, 1),
        )

    def forward(self, clips_BFCHW: Tensor) -> Tensor:
        """Openings (B, F) in millimetres; the frames are consecutive."""
        clips = sized(clips_BFCHW)
        return self.read(clips, smooth(self.find(clips)[0]))

    def find(self, clips_BFCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Where mouths are (B, F, 3): x, y of the centre and the radius, in pixels of 128.

        And logits (B, F, h w) of which cell of a grid the centre is in.
        """
        heat = self.finder(_standard(F.avg_pool2d(clips_BFCHW.flatten(0, 1), 2)))
        side = heat.shape[-1]
        heat = heat.flatten(2)
        where = heat[:, 0].softmax(-1)
        at = (torch.arange(side, device=heat.device) + 0.5) * (READER_SIDE_PX / side)
        x, y = where @ at.repeat(side), where @ at.repeat_interleave(side)
        radius = USUAL_RADIUS_PX * (where * heat[:, 1]).sum(-1).clamp(-1, 1).exp()
        found = torch.stack([x, y, radius], -1)
        return found.unflatten(0, clips_BFCHW.shape[:2]), heat[:, 0].unflatten(0, clips_BFCHW.shape[:2])

    def read(self, clips_BFCHW: Tensor, mouth_px_BF3: Tensor) -> Tensor:
        """Openings (B, F) in millimetres of mouths at (x, y, radius) in pixels of 128."""
        shape = clips_BFCHW.shape[:2]
        squares = _standard(around(clips_BFCHW.flatten(0, 1), mouth_px_BF3.flatten(0, 1))).unflatten(0, shape)
        both = torch.cat([squares, squares - squares.mean(1, keepdim=True)], 2)
        return OPENING_UNIT_MM * self.reader(both.flatten(0, 1))[:, 0].unflatten(0, shape)


def _layer(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    norm = nn.GroupNorm(outside // 8, outside)
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1, bias=False), norm, nn.SiLU())


def sized(clips_BFCHW: Tensor) -> Tensor:
    """Frames of 128 pixels a side, float32."""
    clips = clips_BFCHW.float()
    if clips.shape[-2:] == (READER_SIDE_PX, READER_SIDE_PX):
        return clips
    frames = F.interpolate(clips.flatten(0, 1), (READER_SIDE_PX, READER_SIDE_PX), mode="bilinear", antialias=True)
    return frames.unflatten(0, clips.shape[:2])


def smooth(mouth_px_BF3: Tensor) -> Tensor:
    """Places (B, F, 3) smoothed over time by a Gaussian window; the first and last frame are held beyond the ends."""
    reach = round(3 * SMOOTH_FRAMES)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64, device=mouth_px_BF3.device)
    window = torch.exp(-0.5 * (steps / SMOOTH_FRAMES) ** 2).to(mouth_px_BF3)
    padded = F.pad(mouth_px_BF3.transpose(1, 2), (reach, reach), mode="replicate")
    smoothed = F.conv1d(padded, (window / window.sum()).expand(3, 1, -1), groups=3)
    return smoothed.transpose(1, 2)


def around(pictures_NCHW: Tensor, mouth_px_N3: Tensor) -> Tensor:
    """The squares (N, C, 40, 40) around mouths (N, 3): x, y, radius in pixels; what lies outside repeats the edge."""
    half = CROP_RADII * mouth_px_N3[:, 2:] / READER_SIDE_PX * 2
    centre = mouth_px_N3[:, :2] / READER_SIDE_PX * 2 - 1
    steps = (torch.arange(CROP_PX, device=pictures_NCHW.device) + 0.5) / CROP_PX * 2 - 1
    x, y = (centre[:, i, None] + half * steps for i in (0, 1))
    grid = torch.stack([x[:, None].expand(-1, CROP_PX, -1), y[:, :, None].expand(-1, -1, CROP_PX)], -1)
    return F.grid_sample(pictures_NCHW, grid, padding_mode="border", align_corners=False)


def _standard(pictures_NCHW: Tensor) -> Tensor:
    """Each picture with mean 0 and standard deviation 1 (a flat one is 0)."""
    dims = (1, 2, 3)
    centred = pictures_NCHW - pictures_NCHW.mean(dims, keepdim=True)
    return centred / centred.square().mean(dims, keepdim=True).add(1e-4).sqrt()


def save_readers(readers: dict[str, MouthReader], path: Path) -> None:
    """Write readers by kind (``rgb``, ``depth``) into one safetensors file, as float16."""
    tensors = {f"{kind}.{name}": x.half() for kind, one in readers.items() for name, x in one.state_dict().items()}
    write_whole(path, save(tensors))


def load_readers(path: Path) -> dict[str, MouthReader]:
    """The readers of a file that :func:`save_readers` wrote, by kind, in evaluation mode.

    Raises :class:`MouthError` naming the file.
    """
    remedy = "train them with `python -m benchmarks mouth`"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise MouthError(f"{path}: no readers of mouths ({error}); {remedy}") from error
    readers = {}
    for kind, channels in READER_CHANNELS.items():
        own = {name.removeprefix(f"{kind}."): x.float() for name, x in tensors.items() if name.startswith(f"{kind}.")}
        reader = MouthReader(channels)
        try:
            reader.load_state_dict(own)
        except RuntimeError as error:
            raise MouthError(f"{path}: holds no reader of {kind} of this version; {remedy}") from error
        readers[kind] = reader.eval()
    return readers
