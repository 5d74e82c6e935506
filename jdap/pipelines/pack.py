"""A weights folder made ready to be handed on: half as large, and with the codec's latest decoder.

What a diffusion model has learnt are its codec's latents, that is the encoder and its statistics. A decoder that was
trained on for longer (``jdap train-codec --model.init FOLDER --model.freeze_encoder true``) fits in afterwards; a codec
with another encoder does not, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from jdap.models.codec import load_codec, same_latents
from jdap.models.image.reference import ReferenceNet
from jdap.models.image.unasked import unasked
from jdap.models.loading import WeightsError, read_json
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.pipelines.talking_weights import share_image
from jdap.pipelines.weights import INDEX, class_name


def pack(
    weights: Path,
    out: Path,
    *,
    codec: Path | None = None,
    half: bool = False,
    lean: bool = False,
    image: str | None = None,
) -> None:
    """Write the pipeline of ``weights``, which makes portraits or talks, to ``out``, whole or not at all.

    ``codec`` is a folder whose decoder replaces the one in ``weights``. ``half`` stores weights in bfloat16, whose
    exponents zip well, and the smaller networks (codec, face layers, likeness net) in float16; loading turns them into
    float32 again. ``lean`` stores zeros for what no answer depends on: cross-attention where there are no image tokens,
    and the ReferenceNet's end. Files that stand beside the networks (the benchmark's mean depth, how it was trained) go
    along. ``image``, of weights that talk: the image model that the folder then names rather than holds.

    Raises :class:`jdap.models.loading.WeightsError` for folders that cannot be read and codecs of other latents.
    """
    pipeline = _pipeline(weights)
    if codec is not None:
        newer = load_codec(codec)
        if not same_latents(pipeline.codec, newer):
            raise WeightsError(f"{codec}: its encoder is not that of {weights / 'codec'}; train the decoder alone")
        pipeline.codec = newer
    if image is not None and isinstance(pipeline, PortraitPipeline):
        raise WeightsError(f"{weights}: an image model itself, which names no other: leave --image out")
    if lean:
        _empty(pipeline)
    if half:
        pipeline.codec.half()
        if isinstance(pipeline, PortraitPipeline):
            for small in filter(None, (pipeline.face_layers, pipeline.likeness_net)):
                small.half()
        audio = pipeline.audio if isinstance(pipeline, TalkingPipeline) else None
        for network in filter(None, (pipeline.unet, pipeline.reference, audio)):
            network.bfloat16()
    others = beside(weights)

    def extras(folder: Path) -> None:
        others(folder)
        if image is not None:
            share_image(folder, image)

    pipeline.save_pretrained(out, extras)


def beside(weights: Path) -> Callable[[Path], None]:
    """What puts the files that stand beside the networks of a weights folder, but its index, into another, for
    ``extras`` of ``save_pretrained``."""
    others = {path.name: path.read_bytes() for path in weights.iterdir() if path.is_file() and path.name != INDEX}

    def write(folder: Path) -> None:
        for name, data in others.items():
            (folder / name).write_bytes(data)

    return write


@torch.no_grad()
def _empty(pipeline: PortraitPipeline | TalkingPipeline) -> None:
    """Set what no answer depends on to zero."""
    if isinstance(pipeline.reference, ReferenceNet):
        for parameter in pipeline.reference.unread():
            parameter.zero_()
    if pipeline.image_tokens is None:
        for network in filter(None, (pipeline.unet, pipeline.reference)):
            for parameter in unasked(network):
                parameter.zero_()


def _pipeline(weights: Path) -> PortraitPipeline | TalkingPipeline:
    """The pipeline that the folder's index names."""
    index = weights / INDEX
    talks = index.is_file() and class_name(read_json(index)) == TalkingPipeline.__name__
    return (TalkingPipeline if talks else PortraitPipeline).from_pretrained(weights)
