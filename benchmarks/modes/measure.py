"""What a model's answers to the four questions are worth: one function a question, on one batch of held-out pictures.

Each asks the pipeline and returns an :class:`Answers`: numbers a picture of every *answer* (the model's, by either
method, and what it is to be compared with), and the pictures. Other benchmarks may call them with other pipelines.
docs/benchmarks.md says what each measure and each baseline is.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.depth.method import seeded
from jdap import depth as depth_frames
from jdap.batch import ImageBatch, other_people
from jdap.choices import CLEAN, DEPTH_FIRST, METHODS, REPAINT
from jdap.metrics.depth import DEPTH_MEASURES, FAR, NEAR, NORMALISED, align_scale_shift, ground_truth, rmse
from jdap.models.image.separate import SeparateUNets
from jdap.pipelines.carried import known_mover
from jdap.pipelines.masks import fill_unknown, paste_known
from jdap.pipelines.moved import MoveReference
from jdap.pipelines.pictures import PT, Portrait
from jdap.pipelines.portrait import GUIDANCE, PortraitPipeline
from jdap.pose.heads import Heads
from jdap.pose.likeness import face_in_picture, keep_likeness, reference_mover

#: Answers that are not the model's.
CODEC, REFERENCE, OTHER, TRUE, NEAREST, MEAN = "codec", "reference", "other person", "true", "nearest pixel", "mean"
IMAGE_TO_DEPTH_QUESTION, DEPTH_TO_IMAGE_QUESTION, JOINT_QUESTION = "image-to-depth", "depth-to-image", "joint"
#: The model's answers, where they are not just named by their method.
ONE_STEP, EITHER, RESAMPLED = "clean, 1 step", "either", "resampled"
#: A portrait that is drawn by the reference where its head is, and the same, or the model's own of weights that cannot
#: do that, with the reference's texture on its face (:mod:`jdap.pose.likeness`).
BY_MOVED, KEPT_FACE = "moved reference", "reference's face"
#: The same by a reference that is carried by the poses and the depth that the shards hold.
CARRIED = "carried reference"
#: What the hole is cut out of.
INPAINT_BOTH, INPAINT_RGB, INPAINT_DEPTH = "inpaint both", "inpaint rgb", "inpaint depth"


def inpaint_part(part: str) -> str:
    """What the question is called that hides a part of the head by its name."""
    return f"inpaint {part}"


#: Beyond this normalised depth a drawn pixel counts as background.
HEAD = 0.95


@dataclass(frozen=True)
class ModeSettings:
    """How the model is asked: DDIM ``steps`` of what is not one-step, ``guidance`` wherever RGB is drawn, RePaint's
    ``resample`` where it is tried, the ``seed``, and of how many draws a new portrait is the best (``best_of``)."""

    steps: int = 20
    guidance: float = GUIDANCE
    resample: int = 2
    seed: int = 0
    best_of: int = 1


@dataclass
class Answers:
    """``values[answer][measure]`` (B,) float, NaN where a picture has no such number; ``rgb[answer]`` (B, 3, H, W) and
    ``depth[answer]`` (B, 1, H, W), what was drawn, in [-1, 1]."""

    values: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    rgb: dict[str, Tensor] = field(default_factory=dict)
    depth: dict[str, Tensor] = field(default_factory=dict)

    def add(self, answer: str, measure: str, values_B: Tensor) -> None:
        """Note one number a picture."""
        self.values.setdefault(answer, {})[measure] = values_B.double().cpu()


class ReferenceFaces:
    """The faces of a batch's references, to be put on what is drawn of them; ``heads`` fits them, once."""

    def __init__(self, heads: Heads, batch: ImageBatch) -> None:
        self.heads, self.faces = heads, [face_in_picture(heads, picture) for picture in batch.reference_rgb]
        #: Brings the references to drawn heads.
        self.move = reference_mover(heads, self.faces)

    def on(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Drawn pictures (B, 3, H, W) of this depth with them."""
        return keep_likeness(self.heads, Portrait(rgb, depth), self.faces).rgb


def image_to_depth(
    pipeline: PortraitPipeline, batch: ImageBatch, settings: ModeSettings, mean_depth: Tensor | None = None
) -> Answers:
    """Depth of pictures in one step (and by RePaint in ``settings.steps``), scale and shift aligned on skin.

    Beside: the codec's reconstruction of the true depth; the training mean (B, 1, H, W) where it is given; the true
    depth of another person.
    """
    out = Answers()
    for method in methods_of(pipeline):
        answer = ONE_STEP if method == CLEAN else REPAINT
        out.depth[answer] = pipeline.image_to_depth(
            batch.rgb,
            steps=1 if method == CLEAN else settings.steps,
            method=method,
            generator=seeded(settings.seed, [IMAGE_TO_DEPTH_QUESTION, answer, *batch.key]),
        ).depth
    out.depth[CODEC] = codec_depth(pipeline, batch.depth)
    if mean_depth is not None:
        out.depth[MEAN] = mean_depth
    others, lonely = other_people(batch.person_id)
    out.depth[OTHER] = batch.depth[others]
    target, mask = ground_truth(NORMALISED, batch.depth_mm, batch.skin, batch.range_mm)
    for answer, depth in out.depth.items():
        aligned = align_scale_shift(depth, target, mask)
        for name, measure in DEPTH_MEASURES.items():
            values = measure(aligned, target, mask)
            out.add(answer, name, without(values, lonely) if answer == OTHER else values)
    return out


def depth_to_image(
    pipeline: PortraitPipeline,
    batch: ImageBatch,
    settings: ModeSettings,
    estimator: PortraitPipeline | None = None,
    faces: ReferenceFaces | None = None,
) -> Answers:
    """Pictures of the true depth and the reference, against the true ones; ``depth_rmse``: is the depth still theirs?

    It is estimated by ``estimator`` (None: the pipeline itself). Separate networks have no answer of their own.
    Weights that look at moved references are also asked by clean depth with those that the batch's own poses carry
    there, and with ``faces`` with those that fitted heads move; then it is measured with the reference's face, too.

    Beside: the codec's reconstruction of the true picture; the reference picture; the true picture of another person.
    """
    out = Answers()

    def asked(method: str, move: MoveReference | None = None) -> Tensor:
        return pipeline.depth_to_image(
            batch.depth,
            reference=reference_of(pipeline, batch),
            steps=settings.steps,
            guidance=settings.guidance,
            method=method,
            move=move,
            generator=seeded(settings.seed, [DEPTH_TO_IMAGE_QUESTION, *batch.key]),
        )

    for method in () if isinstance(pipeline.unet, SeparateUNets) else methods_of(pipeline):
        out.rgb[method] = asked(method)
    if pipeline.likeness_net is not None and CLEAN in out.rgb and (carried := known_mover(batch)) is not None:
        out.rgb[CARRIED] = asked(CLEAN, carried)
    if faces is not None and CLEAN in out.rgb:
        if pipeline.likeness_net is not None:
            out.rgb[BY_MOVED] = asked(CLEAN, faces.move)
        out.rgb[KEPT_FACE] = faces.on(out.rgb.get(BY_MOVED, out.rgb[CLEAN]), batch.depth)
    out.rgb[CODEC] = pipeline.codec.decode(pipeline.codec.encode(batch.rgb)).clamp(-1, 1)
    out.rgb[REFERENCE] = batch.reference_rgb
    others, lonely = other_people(batch.person_id)
    out.rgb[OTHER] = batch.rgb[others]
    target, mask = ground_truth(NORMALISED, batch.depth_mm, batch.skin, batch.range_mm)
    whole = torch.ones_like(batch.skin)
    for answer, rgb in out.rgb.items():
        again = estimated(estimator or pipeline, rgb, settings, batch.key)
        values = {
            "psnr": psnr(rgb, batch.rgb, whole),
            "ssim": ssim(rgb, batch.rgb, whole),
            "depth_rmse": rmse(align_scale_shift(again, target, mask), target, mask),
        }
        for name, value in values.items():
            out.add(answer, name, without(value, lonely) if answer == OTHER else value)
    return out


def portraits(
    pipeline: PortraitPipeline, batch: ImageBatch, settings: ModeSettings, move: MoveReference | None = None
) -> Portrait:
    """A portrait and its depth from the reference of each of a batch's pictures, which ``move`` moves."""
    return pipeline.generate(
        reference_of(pipeline, batch),
        count=len(batch),
        steps=settings.steps,
        guidance=settings.guidance,
        best_of=settings.best_of,
        move=move,
        generator=seeded(settings.seed, [JOINT_QUESTION, *batch.key]),
        output_type=PT,
    )


def joint(
    pipeline: PortraitPipeline,
    batch: ImageBatch,
    settings: ModeSettings,
    estimator: PortraitPipeline | None = None,
    faces: ReferenceFaces | None = None,
) -> Answers:
    """Portraits drawn from the reference: is the depth that is drawn the depth of the picture that is drawn?

    Depth is estimated again from the drawn RGB (by ``estimator``; None: the pipeline itself) and compared with the
    drawn depth on the head (depth under :data:`HEAD`), after scale and shift. Beside: the same with true pictures and
    their depth (what estimating costs); the depth estimated of another person's drawn picture (no alignment of the
    halves at all). With ``faces`` they are also drawn by the moved references, by weights that look at these, and
    measured with the reference's face, on the depth that was drawn.
    """
    out = Answers()
    estimator = estimator or pipeline
    made = portraits(pipeline, batch, settings)
    others, lonely = other_people(batch.person_id)
    again = estimated(estimator, made.rgb, settings, batch.key)
    compared = []
    if faces is not None and reference_of(pipeline, batch) is not None:
        shown = made
        apart = pipeline.steps_of_depth(settings.steps, DEPTH_FIRST) < settings.steps
        if pipeline.likeness_net is not None and apart:
            shown = portraits(pipeline, batch, settings, faces.move)
            compared.append((BY_MOVED, *shown, estimated(estimator, shown.rgb, settings, batch.key)))
        rgb = faces.on(shown.rgb, shown.depth)
        compared.append((KEPT_FACE, rgb, shown.depth, estimated(estimator, rgb, settings, batch.key)))
    for answer, rgb, depth, found in (
        (JOINT_QUESTION, made.rgb, made.depth, again),
        *compared,
        (TRUE, batch.rgb, batch.depth, estimated(estimator, batch.rgb, settings, batch.key)),
        (OTHER, made.rgb[others], made.depth, again[others]),
    ):
        out.rgb[answer], out.depth[answer] = rgb, depth
        head, target = depth < HEAD, (depth + 1) / 2 * (FAR - NEAR) + NEAR
        error = rmse(align_scale_shift(found, target, head), target, head)
        out.add(answer, "depth_rmse", without(error, lonely) if answer == OTHER else error)
    return out


def inpaint(
    pipeline: PortraitPipeline,
    batch: ImageBatch,
    settings: ModeSettings,
    what: str,
    hole: Tensor | None = None,
    faces: ReferenceFaces | None = None,
) -> Answers:
    """Half of the face is hidden (:func:`half_face`) in RGB, in depth, or in both, and drawn from the rest.

    ``what`` is one of INPAINT_BOTH, INPAINT_RGB, INPAINT_DEPTH: what is hidden; the other half of the latents is known
    whole. Or it is :func:`inpaint_part` of a ``hole`` (B, 1, H, W) bool, which is hidden in both. Where both are hidden
    the two methods are one, and it is asked with and without resampling (a part: without), and with ``faces`` by the
    moved references, of weights that look at these. Beside, in the hole: the codec's reconstruction, the nearest known
    pixel, and another person.
    """
    named = hole is not None
    hole = half_face(batch.skin) if hole is None else hole
    known_rgb = ~hole if what != INPAINT_DEPTH else torch.ones_like(hole)
    known_depth = ~hole if what != INPAINT_RGB else torch.ones_like(hole)
    out = Answers()
    asked = {m: (m, 1) for m in methods_of(pipeline)}
    if what == INPAINT_BOTH or named:
        method = methods_of(pipeline)[0]
        asked = {EITHER: (method, 1)}
        if not named:
            asked[f"{RESAMPLED} {settings.resample}x"] = (method, settings.resample)
            if faces is not None and pipeline.likeness_net is not None:
                asked[BY_MOVED] = (method, 1)
    for answer, (method, resample) in asked.items():
        out.rgb[answer], out.depth[answer] = pipeline.edit(
            batch.rgb,
            batch.depth,
            known_rgb,
            known_depth,
            reference=reference_of(pipeline, batch),
            steps=settings.steps,
            guidance=settings.guidance,
            method=method,
            resample=resample,
            move=faces.move if faces is not None and answer == BY_MOVED else None,
            generator=seeded(settings.seed, [what, *batch.key]),
        )
    others, lonely = other_people(batch.person_id)
    codec_rgb = pipeline.codec.decode(pipeline.codec.encode(batch.rgb)).clamp(-1, 1)
    for answer, rgb, depth in (
        (CODEC, codec_rgb, codec_depth(pipeline, batch.depth)),
        (NEAREST, fill_unknown(batch.rgb, known_rgb), fill_unknown(batch.depth, known_depth)),
        (OTHER, batch.rgb[others], batch.depth[others]),
    ):
        out.rgb[answer] = paste_known(rgb, batch.rgb, known_rgb)
        out.depth[answer] = paste_known(depth, batch.depth, known_depth)
    # A part's depth is that of whatever is there: hair and cloth are no skin.
    skin = hole & (batch.depth_mm > 0) & (batch.skin | named)
    for answer in out.rgb:
        rgb, depth = out.rgb[answer], out.depth[answer]
        values: dict[str, Tensor] = {}
        if what != INPAINT_DEPTH:
            values |= {"psnr": psnr(rgb, batch.rgb, hole), "ssim": ssim(rgb, batch.rgb, hole)}
            values["seam"] = seam(rgb, batch.rgb, hole)
        if what != INPAINT_RGB:
            # What is known around the hole fixes the frame: nothing is aligned.
            values["depth_rmse"] = rmse(depth, batch.depth, skin) * (FAR - NEAR) / 2
            values["depth_seam"] = seam(depth, batch.depth, hole)
        for name, value in values.items():
            out.add(answer, name, without(value, lonely) if answer == OTHER else value)
    return out


def methods_of(pipeline: PortraitPipeline) -> tuple[str, ...]:
    """The methods that these networks can be asked by; ablated ones know one of them."""
    if pipeline.shared_timestep:
        return (REPAINT,)
    return (CLEAN,) if isinstance(pipeline.unet, SeparateUNets) else METHODS


def reference_of(pipeline: PortraitPipeline, batch: ImageBatch) -> Tensor | None:
    """The reference pictures, for networks that read them."""
    return None if pipeline.reference is None else batch.reference_rgb


def half_face(skin_B1HW: Tensor) -> Tensor:
    """The half of the face that is hidden (B, 1, H, W) bool: of the skin's box, from its middle column to its right.

    A picture without skin has an empty hole.
    """
    hole = torch.zeros_like(skin_B1HW)
    for one, skin in zip(hole[:, 0], skin_B1HW[:, 0], strict=True):
        rows, columns = (skin.any(axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):
            top, bottom, left, right = (int(x) for x in (rows[0], rows[-1], columns[0], columns[-1]))
            one[top : bottom + 1, (left + right + 1) // 2 : right + 1] = True
    return hole


def psnr(made: Tensor, true: Tensor, mask_B1HW: Tensor) -> Tensor:
    """10 log10(2² / MSE) in dB over each picture's mask (B,), for pictures in [-1, 1]; NaN where it is empty."""
    error = (made - true).double().square().mean(1, keepdim=True)
    return 10 * torch.log10(4 / masked_mean(error, mask_B1HW))


def ssim(made: Tensor, true: Tensor, mask_B1HW: Tensor) -> Tensor:
    """Structural similarity (Gaussian window, sigma 1.5) of pictures in [-1, 1], its map's mean over a mask (B,)."""
    result = structural_similarity_index_measure(
        made.float(), true.float(), data_range=2.0, reduction="none", return_full_image=True
    )
    return masked_mean(result[1].double().mean(1, keepdim=True), mask_B1HW)


def seam(made: Tensor, true: Tensor, hole_B1HW: Tensor) -> Tensor:
    """How far steps across the hole's edge are from the true ones (B,): mean |Δmade − Δtrue| over the pairs of
    neighbouring pixels with one in the hole and one outside. 0 is no seam; NaN where there is no edge."""
    total, count = torch.zeros(len(made), dtype=torch.float64), torch.zeros(len(made), dtype=torch.float64)
    for axis in (2, 3):
        edge = hole_B1HW.diff(dim=axis)
        error = (made.diff(dim=axis) - true.diff(dim=axis)).double().abs().mean(1, keepdim=True)
        total += torch.where(edge, error, 0).flatten(1).sum(1).cpu()
        count += edge.flatten(1).sum(1).cpu()
    return total / torch.where(count > 0, count, torch.nan)


def masked_mean(values_B1HW: Tensor, mask_B1HW: Tensor) -> Tensor:
    """The mean over each picture's mask (B,), NaN where it is empty."""
    count = mask_B1HW.flatten(1).sum(1).to(values_B1HW)
    total = torch.where(mask_B1HW, values_B1HW, 0).flatten(1).sum(1)
    return total / torch.where(count > 0, count, torch.nan)


def estimated(pipeline: PortraitPipeline, rgb: Tensor, settings: ModeSettings, keys: Sequence[str]) -> Tensor:
    """Depth (B, 1, H, W) of drawn pictures, in one step as it is measured elsewhere (RePaint needs all of them)."""
    steps = 1 if CLEAN in methods_of(pipeline) else settings.steps
    return pipeline.image_to_depth(rgb, steps=steps, generator=seeded(settings.seed, ["again", *keys])).depth


def codec_depth(pipeline: PortraitPipeline, depth_B1HW: Tensor) -> Tensor:
    """Depth through the codec and back: the best that a model on its latents can do."""
    codec = pipeline.codec
    return depth_frames.from_codec(codec.decode(codec.encode(depth_frames.to_codec(depth_B1HW))))


def without(values_B: Tensor, left_out_B: Tensor) -> Tensor:
    """``values`` with NaN where pictures are left out."""
    return torch.where(left_out_B.to(values_B.device), torch.nan, values_B.double())
