"""The person in a photo talks: the photo's own texture, moved by what a face does that says the sound.

What is heard gives the mouth's expressions (:class:`jdap.models.audio.speaking.SpeakingFace`); sway and blinks are
drawn (:mod:`jdap.pose.idle`); the fitted head takes them, and the photo and its depth move with it
(:mod:`jdap.pose.motion`, :mod:`jdap.pose.warp`). So the face stays as sharp, and as much itself, as in the photo.

Shapes: F frames, E expressions, S x S pixels of the head's square.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.head.mouth import CLOSES, mouth_of_shape
from jdap.faces.crop import crop_frame
from jdap.models.audio.speaking import SpeakingFace
from jdap.photos.head import depth_of
from jdap.photos.read import Photo
from jdap.pipelines.pictures import Portrait
from jdap.pipelines.sound_windows import SoundWindows
from jdap.pose.change import named
from jdap.pose.heads import FittedHead, Heads
from jdap.pose.idle import BLINK, Idle
from jdap.pose.motion import Mover
from jdap.pose.photo import fit_photo
from jdap.pose.pipeline import MOTION_SIDE_PX, PosePipeline
from jdap.pose.turns import turn_at
from jdap.pose.warp import drawn
from jdap.units import FPS

#: Frames that are heard at once: a second.
HEARD = FPS
#: Mouths are ahead of their sound by so many frames more than the studio's, on which the hearing was trained.
AHEAD = 1
#: Motion is made on a grid of this side: a quarter of the time of a still's, and no difference that one sees.
TALK_GRID_PX = 256
#: Nobody says an m with a broad grin: while there is something to say, smiles fall to so much, over so many frames.
SMILES, SPEAKING_SMILE, SMILE_EASE = ("mouthSmile", "mouthDimple"), 0.4, 12
#: Somebody speaks where lips part by between so many mm within so many frames; in silence less is heard.
PARTED_MM, PARTED_FRAMES = (0.5, 2.5), 10


class Speaker:
    """A photo's head that is ready to talk.

    Args:
        face: hears what the mouth does.
        pipeline: fits heads, and has the weights that see the photo's depth.
        photo, window_px: the photo, and its head's square (left, top, side).
        seed: of the photo's depth.

    Raises:
        PoseError: where no face is found in the square.
    """

    def __init__(
        self,
        face: SpeakingFace,
        pipeline: PosePipeline,
        photo: Photo,
        window_px: np.ndarray,
        seed: int = 0,
    ) -> None:
        assert pipeline.portrait is not None
        self.face, self.pipeline = face, pipeline
        self.heads: Heads = pipeline.heads
        self.head: FittedHead = fit_photo(self.heads, photo, window_px)
        #: Pixels across of the video: the photo's own, up to the side that motion is made at.
        self.side = int(min(MOTION_SIDE_PX, max(16, round(float(window_px[2])))))
        depth, _ = depth_of(pipeline.portrait, photo, window_px, seed=seed)
        self._depth_11SS = F.interpolate(torch.from_numpy(depth)[None, None], (self.side,) * 2, mode="bilinear")
        # What is moved is no larger than the video: a photo of many pixels costs a frame no more than a small one.
        self._square_SS3 = crop_frame(photo.rgb_HW3, window_px, self.side).copy()
        self._mover = Mover(self.heads, self.head, TALK_GRID_PX)
        self._mouth = mouth_of_shape(self.heads.model, self.head.shape_V3)
        self._columns = [[self.heads.names.index(one) for one in named(n, self.heads.names)] for n in face.names]
        self._closes = self.heads.names.index(CLOSES)
        self._smiles = [self.heads.names.index(one) for n in SMILES for one in named(n, self.heads.names)]
        self._lids = [self.heads.names.index(one) for one in named(BLINK, self.heads.names)]

    @torch.no_grad()
    def talk(
        self,
        sound: Tensor | np.ndarray | Iterable[Tensor | np.ndarray],
        *,
        lips: float = 1.0,
        motion: float = 1.0,
        seed: int = 0,
        ahead: int = AHEAD,
        turns: Tensor | None = None,
    ) -> Iterator[Portrait]:
        """Frames at 25 a second, some at a time: ``rgb`` (F, 3, S, S) and ``depth`` (F, 1, S, S) in [-1, 1].

        Args:
            sound: mono at 16 kHz in [-1, 1], (N,), or blocks of it of any lengths.
            lips: how far the mouth moves, 1 as people do.
            motion: how much the head sways; at 0 it keeps still and does not blink.
            seed: of sway and blinks.
            ahead: frames by which mouths are ahead of their sound beyond what the studio's are.
            turns: (T, 3, 3), how the head is turned in each frame instead of its sway (:mod:`jdap.pose.turns`).

        Raises:
            ValueError: for sound that is empty or out of range, and as :class:`jdap.pose.idle.Idle` for ``motion``.
        """
        windows, idle = SoundWindows(sound, FPS), Idle(seed, motion)
        for first in count(step=HEARD):
            frames = windows.frames(first + HEARD) - first
            if frames <= 0:
                if first == 0:
                    raise ValueError("the sound is empty: there is nothing to say")
                return
            said = self.hear(windows, first, frames, lips, ahead)
            made = [self._frame(said[k], idle, first + k, turns) for k in range(frames)]
            yield Portrait(*(torch.cat(x) for x in zip(*made, strict=True)))

    @torch.no_grad()
    def hear(self, windows: SoundWindows, first: int, frames: int, lips: float = 1.0, ahead: int = AHEAD) -> Tensor:
        """(F, E) expressions of frames ``first`` … of a sound, in [0, 1], lids as in the photo."""
        beyond = PARTED_FRAMES + SMILE_EASE
        around, wide = self.face.context_frames, frames + 2 * beyond
        heard = windows.cut(first + ahead - around - beyond, wide + 2 * around)
        said = self.face(heard[None], wide + 2 * around)
        strength_FE, opening_mm_F = (x[0, around + beyond : around + beyond + frames] for x in said)
        expression = self.head.expression_E.repeat(frames, 1)
        smiles_FK = expression[:, self._smiles]
        less = speaks(said.opening_mm_BF[0, around : around + wide])[:, None]
        expression[:, self._smiles] = torch.lerp(smiles_FK, smiles_FK.clamp_max(SPEAKING_SMILE), less)
        for columns, values_F in zip(self._columns, (strength_FE * lips).clamp(0, 1).unbind(1), strict=True):
            expression[:, columns] = values_F[:, None]
        # What the lips leave open is solved for on this very mouth: half of what one sees of speech is when they meet.
        # The photo's own closing is not what they then do, and must not count as done.
        expression[:, self._closes] = 0.0
        open_F3 = self._mouth.openings_mm(expression.double().numpy())
        wanted_F = (opening_mm_F * lips).clamp_min(0).double().numpy()
        closed_F = (1 - wanted_F / np.maximum(open_F3.max(1), 1e-3)).clip(0, 1)
        expression[:, self._closes] = torch.from_numpy(self._mouth.closing(open_F3, closed_F)).float()
        return expression

    def _frame(self, expression_E: Tensor, idle: Idle, frame: int, turns_T33: Tensor | None) -> tuple[Tensor, Tensor]:
        expression, time_s = expression_E.clone(), frame / FPS
        expression[self._lids] = expression[self._lids].clamp_min(idle.lids(time_s))
        turn_33 = idle.turn(time_s).rotation() if turns_T33 is None else turn_at(turns_T33, frame)
        motion = self._mover.to(self.heads.place(self.head, expression, turn_33))
        rgb_SS3 = drawn(self._square_SS3, np.array([0.0, 0.0, self.side]), self.heads, motion)
        rgb = torch.from_numpy(rgb_SS3).permute(2, 0, 1)[None] / 127.5 - 1
        return rgb, self.pipeline.new_depth(self._depth_11SS, motion)


def speaks(opening_mm_F: Tensor) -> Tensor:
    """How much somebody speaks (F − 2 (:data:`PARTED_FRAMES` + :data:`SMILE_EASE`),) in [0, 1], by how far the lips are
    heard to part: 1 in words and the short pauses between them, 0 in silence, going over smoothly."""
    least_mm, most_mm = PARTED_MM
    parted = ((opening_mm_F - least_mm) / (most_mm - least_mm)).clamp(0, 1)[None]
    near = F.max_pool1d(parted, 2 * PARTED_FRAMES + 1, 1)
    return F.avg_pool1d(near, 2 * SMILE_EASE + 1, 1)[0]
