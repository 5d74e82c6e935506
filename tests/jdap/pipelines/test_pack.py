import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from talker import person, speech, talker

from jdap.models.codec import ImageCodec
from jdap.models.image.unasked import begin_anew, cross_attentions
from jdap.models.loading import WeightsError
from jdap.pipelines.pack import pack
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline


@pytest.fixture
def folder(pipeline, tmp_path):
    def extras(part):
        save_file({"mean_depth": torch.full((1, 32, 32), 0.25)}, part / "mean_depth.safetensors")

    pipeline.save_pretrained(tmp_path / "weights", extras)
    return tmp_path / "weights"


def depth_of(folder):
    rgb = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    pipeline = PortraitPipeline.from_pretrained(folder)
    return pipeline.image_to_depth(rgb, generator=torch.Generator().manual_seed(7)).depth


def codec_of(folder, out, part):
    """The folder's codec with the weights of its encoder or decoder changed."""
    codec = ImageCodec.from_pretrained(folder / "codec")
    with torch.no_grad():
        for name, weights in codec.named_parameters():
            if name.startswith(part):
                weights += 0.05
    codec.save_pretrained(out)
    return out


def test_half_is_half_as_large_and_loads_as_float32(folder, tmp_path):
    pack(folder, tmp_path / "packed", half=True)
    file = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "packed" / file).stat().st_size < 0.52 * (folder / file).stat().st_size
    loaded = PortraitPipeline.from_pretrained(tmp_path / "packed")
    for network in (loaded.unet, loaded.reference, loaded.codec):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.allclose(depth_of(tmp_path / "packed"), depth_of(folder), atol=0.02)
    mean = load_file(tmp_path / "packed" / "mean_depth.safetensors")["mean_depth"]
    assert torch.equal(mean, torch.full((1, 32, 32), 0.25))


@pytest.mark.slow
def test_lean_leaves_out_what_no_answer_depends_on(folder, tmp_path):
    pack(folder, tmp_path / "packed", lean=True)
    assert torch.equal(depth_of(tmp_path / "packed"), depth_of(folder))
    reference = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(4)) * 2 - 1
    made = [
        PortraitPipeline.from_pretrained(weights).generate(
            reference, steps=2, generator=torch.Generator().manual_seed(5)
        )
        for weights in (folder, tmp_path / "packed")
    ]
    assert torch.equal(made[0].rgb, made[1].rgb)
    zipped = [
        sum(len(zlib.compress(file.read_bytes())) for file in weights.rglob("*.safetensors"))
        for weights in (folder, tmp_path / "packed")
    ]
    assert zipped[1] < 0.95 * zipped[0]


def test_cross_attention_that_was_left_out_begins_anew(folder, tmp_path):
    pack(folder, tmp_path / "packed", lean=True)
    unet = PortraitPipeline.from_pretrained(tmp_path / "packed").unet
    begin_anew(unet)
    for attn, norm in cross_attentions(unet):
        assert all(part.weight.std() > 0.01 for part in (attn.to_q, attn.to_k, attn.to_v, attn.to_out[0]))
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
    learnt = {name: weights.clone() for name, weights in unet.state_dict().items()}
    begin_anew(unet)  # what is there stays
    assert all(torch.equal(weights, learnt[name]) for name, weights in unet.state_dict().items())


def test_a_newer_decoder_fits_in(folder, tmp_path):
    newer = codec_of(folder, tmp_path / "codec", "decoder.")
    pack(folder, tmp_path / "packed", codec=newer)
    assert (tmp_path / "packed" / "codec" / "config.json").is_file()
    assert not torch.allclose(depth_of(tmp_path / "packed"), depth_of(folder), atol=1e-3)
    same = load_file(tmp_path / "packed" / "codec" / "diffusion_pytorch_model.safetensors")
    asked = load_file(newer / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(same[name], asked[name]) for name in asked)


def test_another_encoder_is_refused_and_nothing_is_written(folder, tmp_path):
    other = codec_of(folder, tmp_path / "codec", "encoder.")
    with pytest.raises(WeightsError, match="encoder is not that of"):
        pack(folder, tmp_path / "packed", codec=other)
    assert not (tmp_path / "packed").exists()


def test_a_folder_without_mean_depth_is_packed_too(folder, tmp_path):
    (folder / "mean_depth.safetensors").unlink()
    pack(folder, folder)  # in its own place
    assert not (folder / "mean_depth.safetensors").exists()
    PortraitPipeline.from_pretrained(folder)


def test_a_packed_folder_tells_no_path_of_this_machine(folder, tmp_path):
    pack(folder, tmp_path / "packed", half=True)
    texts = [path.read_text() for path in (tmp_path / "packed").rglob("*.json")]
    assert len(texts) >= 5
    assert not any(str(tmp_path) in text or "_name_or_path" in text for text in texts)


@pytest.mark.slow
def test_weights_that_talk_are_packed_as_such(tmp_path):
    folder, packed = tmp_path / "weights", tmp_path / "packed"
    talker().save_pretrained(folder, lambda part: (part / "training.json").write_text("{}"))
    pack(folder, packed, half=True)
    for name in ("unet", "unet/motion", "unet/audio_attention"):
        file = f"{name}/diffusion_pytorch_model.safetensors"
        assert (packed / file).stat().st_size < 0.6 * (folder / file).stat().st_size
        assert next(iter(load_file(packed / file).values())).dtype == torch.bfloat16
    assert (packed / "training.json").is_file()
    said = [next(TalkingPipeline.from_pretrained(f).talk(person(), speech(0.1), steps=2)) for f in (folder, packed)]
    assert said[1].rgb.dtype == torch.float32
    torch.testing.assert_close(said[0].rgb, said[1].rgb, atol=0.02, rtol=0)


@pytest.mark.slow
def test_weights_that_talk_may_name_their_image_model(folder, tmp_path):
    voice = talker()
    voice.save_pretrained(tmp_path / "talk")
    image = PortraitPipeline(
        voice.codec, voice.unet.image_model(), voice.reference, voice.schedule, preset="tiny", size_px=voice.size_px
    )
    image.save_pretrained(tmp_path / "image")
    pack(tmp_path / "talk", tmp_path / "packed", image=str(tmp_path / "image"))
    assert not {"reference", "codec", "scheduler"} & {path.name for path in (tmp_path / "packed").iterdir()}
    assert {path.name for path in (tmp_path / "packed" / "unet").iterdir()} == {"motion", "audio_attention"}
    said = [
        next(TalkingPipeline.from_pretrained(tmp_path / name).talk(person(), speech(0.1), steps=2))
        for name in ("talk", "packed")
    ]
    torch.testing.assert_close(said[0].rgb, said[1].rgb, atol=0, rtol=0)
    with pytest.raises(WeightsError, match=r"its (codec|unet) is not that of"):
        pack(tmp_path / "talk", tmp_path / "other", image=str(folder))
    assert not (tmp_path / "other").exists()
    with pytest.raises(WeightsError, match="leave --image out"):
        pack(folder, tmp_path / "other", image=str(folder))
    (tmp_path / "image" / "unet" / "config.json").unlink()
    with pytest.raises(WeightsError, match="names the image model"):
        TalkingPipeline.from_pretrained(tmp_path / "packed")
