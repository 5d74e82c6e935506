"""What can be set of the temporal stage, by what is changed together."""

from __future__ import annotations

from dataclasses import dataclass, field

from jdap.choices import NULL, WINDOW_STARTS
from jdap.stages.settings.checks import check_choice, check_given, check_least, check_shares

#: Whose sound a clip is trained with; all but the first are controls.
OWN, SHUFFLED, NONE = "own", "shuffled", "none"


@dataclass(frozen=True)
class SoundSettings:
    """What the model hears.

    Args:
        encoder: ``mel`` (log-mel and a small network that trains), ``moonshine`` (frozen; the extra
            ``jdap[moonshine]``), ``wav2vec2:NAME`` or ``whisper:NAME`` (frozen; a transformers folder or a hub id), or
            null for a model without sound.
        tokens: tokens of sound a frame, at least 1.
        dim: their channels, at least 1.
        whose: ``own``; as controls ``shuffled`` (another clip's of the batch) or ``none``.
    """

    encoder: str | None = "mel"
    tokens: int = 32
    dim: int = 768
    whose: str = OWN

    def __post_init__(self) -> None:
        check_choice("sound.whose", self.whose, (OWN, SHUFFLED, NONE))
        check_least("sound", 1, tokens=self.tokens, dim=self.dim)


@dataclass(frozen=True)
class WindowSettings:
    """The frames that are made at once; stored with the weights.

    Args:
        frames: F, made at once, at least 1.
        motion_frames: M, seen before them, at least 1.
        anchor: whether the reference is one more frame that is always seen, where it looks exactly as it is; the
            ReferenceNet tells who it is, the anchor what it looks like where.
        start: what stands for the motion frames of the first window of a video, ``null`` (nothing, as it is trained) or
            ``reference`` (the reference, as if it had been the frames before).
    """

    frames: int = 14
    motion_frames: int = 2
    anchor: bool = True
    start: str = NULL

    def __post_init__(self) -> None:
        check_least("window", 1, frames=self.frames, motion_frames=self.motion_frames)
        check_choice("window.start", self.start, WINDOW_STARTS)


@dataclass(frozen=True)
class ClipNoiseSettings:
    """How noisy frames are; shares, 0 … 1.

    Args:
        last_step_fraction: extra share of clips at the last timestep.
        condition_noise: how noisy a given half may be, as a share of the timesteps.
        motion_noise: how noisy motion frames may be, as a share of the timesteps; half of them stay clean. What the
            model has made is not as clean as what it is trained on.
        sharing: share of the noise's power that the frames of a clip have in common.
        drawn_sharing: the same when clips are drawn, stored with the weights; null: as in training. A small network
            that has not learnt to keep a head still draws a steady one all the same where frames have most of their
            noise in common.
    """

    last_step_fraction: float = 0.0
    condition_noise: float = 0.05
    motion_noise: float = 0.0
    sharing: float = 0.0
    drawn_sharing: float | None = None

    def __post_init__(self) -> None:
        shares = {"last_step_fraction": self.last_step_fraction, "condition_noise": self.condition_noise}
        drawn = self.sharing if self.drawn_sharing is None else self.drawn_sharing
        check_shares("noise", **shares, motion_noise=self.motion_noise, sharing=self.sharing, drawn_sharing=drawn)


@dataclass(frozen=True)
class ClipConditioningSettings:
    """What a clip is given beside its noise; shares of the clips, 0 … 1.

    Args:
        image_to_depth: share with RGB given.
        depth_to_image: share with depth given.
        reference_drop: share that trains without a reference.
        audio_drop: share without sound.
        motion_drop: share without motion frames, as at the beginning of a video.
        conditions: what may drive a clip beside its sound, of ``pose`` and ``lips``; each is dropped on its own.
        condition_drop: share without, of each of them.
    """

    image_to_depth: float = 0.0
    depth_to_image: float = 0.0
    reference_drop: float = 0.05
    audio_drop: float = 0.05
    motion_drop: float = 0.05
    conditions: list[str] = field(default_factory=list)
    condition_drop: float = 0.5

    def __post_init__(self) -> None:
        shares = {"image_to_depth": self.image_to_depth, "depth_to_image": self.depth_to_image}
        drops = {"reference_drop": self.reference_drop, "audio_drop": self.audio_drop, "motion_drop": self.motion_drop}
        check_shares("conditioning", **shares, **drops, condition_drop=self.condition_drop)
        check_given(**shares)


@dataclass(frozen=True)
class ClipLossSettings:
    """How the parts of the loss weigh, all from 0.

    Args:
        gamma: cap of the Min-SNR weight.
        outside_skin: weight of the depth loss off the skin, on studio samples only.
        mouth_focus: how much more the loss counts at the mouth than elsewhere.
        lips: weight of a further loss that helps a fresh encoder to hear what lips do: the squared error of the lips'
            opening (in units of 5 mm) as a linear layer reads it from each token of a frame's sound. The layer is
            dropped when training is over. Frames whose opening the shards do not say do not count.
        lips_seen: weight of a loss that helps to move lips by what is heard: the squared difference of the openings (in
            units of 5 mm) that a small network reads in predicted and in true latents. It learns on the true ones
            beside, and is dropped when training is over. Clips without sound, or with a half given, do not count.
        lip_steps: first steps of the run in which nothing trains but what hears lips and, on cached latents, what reads
            them; they cost next to nothing.
    """

    gamma: float = 5.0
    outside_skin: float = 0.1
    mouth_focus: float = 0.0
    lips: float = 0.0
    lips_seen: float = 0.0
    lip_steps: int = 0

    def __post_init__(self) -> None:
        weights = {"gamma": self.gamma, "outside_skin": self.outside_skin, "mouth_focus": self.mouth_focus}
        check_least("loss", 0, **weights, lips=self.lips, lips_seen=self.lips_seen, lip_steps=self.lip_steps)
