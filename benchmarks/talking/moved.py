"""The reference frame moved as ``jdap talk --by warp`` moves a photo: another way to talk, beside weights.

Shapes: F frames, H = W pixels, S audio samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.choices import SWAY, TRUE_TURNS
from jdap.choices import SPEAKING
from jdap.faces.landmarker import Landmarker
from jdap.geometry import axis_angle_to_matrix
from jdap.io.assets import resolve
from jdap.models.audio.frames import FRAME_SAMPLES
from jdap.models.audio.speaking import SpeakingFace
from jdap.models.loading import load_strict
from jdap.photos.read import Photo
from jdap.pipelines.portrait import Portrait, PortraitPipeline
from jdap.pose.change import PoseError
from jdap.pose.heads import Heads
from jdap.pose.pipeline import PosePipeline
from jdap.pose.talking import Speaker

#: What the arm is called.
MOVED_REFERENCE = "photo moved"


class MovedReference:
    """Makes clips of reference frames; ``faceless`` counts those in which no face was found, which stand still.

    ``image``: sees the depth of a reference. ``turns``: one of :data:`benchmarks.choices.MOVED_TURNS`.
    """

    def __init__(self, image: PortraitPipeline, landmarker: Landmarker, seed: int, turns: str = SWAY) -> None:
        self.face: SpeakingFace = load_strict(SpeakingFace, resolve(SPEAKING))
        self.pipeline, self.seed, self.faceless = PosePipeline(image, Heads(landmarker)), seed, 0
        self.turns = turns

    def spoken(self, reference_13HW: Tensor, sound_S: Tensor, pose_F6: Tensor) -> Portrait:
        """All frames of a video, at the reference's size; ``pose_F6`` of the true frames, the reference's first."""
        rgb_HW3 = ((reference_13HW[0].permute(1, 2, 0).cpu() + 1) * 127.5).round().byte().numpy()
        window_px = np.array([0.0, 0.0, rgb_HW3.shape[0]])
        try:
            speaker = Speaker(self.face, self.pipeline, Photo(rgb_HW3), window_px, seed=self.seed)
        except PoseError:
            self.faceless += 1
            frames = -(-len(sound_S) // FRAME_SAMPLES)
            portrait = self.pipeline.portrait
            assert portrait is not None
            depth = portrait.image_to_depth(reference_13HW.to(portrait.device)).depth.cpu()
            return Portrait(reference_13HW.cpu().expand(frames, -1, -1, -1), depth.expand(frames, -1, -1, -1))
        # The clips are the studio's, whose mouths are no farther ahead than what hears them has learnt.
        turns = None
        if self.turns != SWAY:
            rotation = axis_angle_to_matrix(pose_F6[:, :3].cpu())
            turns = rotation @ rotation[0].T if self.turns == TRUE_TURNS else torch.eye(3)[None]
        windows = list(speaker.talk(sound_S.cpu(), seed=self.seed, ahead=0, turns=turns))
        return Portrait(*(torch.cat(x) for x in zip(*windows, strict=True)))
