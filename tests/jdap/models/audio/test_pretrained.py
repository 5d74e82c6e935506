"""wav2vec 2.0 and Whisper with random weights, saved to a folder, against transformers called directly."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from speech import LAYERS, WIDTH, wav2vec_config
from tensor_files import tensors_of
from transformers import (
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from jdap.models.audio import FRAME_SAMPLES, AudioTokens, Wav2VecEncoder, WhisperEncoder, new_audio_tokens
from jdap.models.loading import WeightsError


def sound(frames: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(batch, frames * FRAME_SAMPLES, generator=generator)


def whisper_config(**changes) -> WhisperConfig:
    return WhisperConfig(
        **{
            "d_model": WIDTH,
            "encoder_layers": LAYERS,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "vocab_size": 20,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "dropout": 0.5,
            "encoder_layerdrop": 0.5,
            **changes,
        }
    )


@pytest.fixture
def wav2vec(tmp_path):
    folder = tmp_path / "wav2vec"
    Wav2Vec2ForCTC(wav2vec_config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture
def whisper(tmp_path):
    folder = tmp_path / "whisper"
    WhisperForConditionalGeneration(whisper_config()).save_pretrained(folder)
    return folder


def test_wav2vec_is_transformers_own(wav2vec):
    encoder = Wav2VecEncoder.from_pretrained(wav2vec)
    assert (encoder.layers, encoder.channels) == (LAYERS + 1, (LAYERS + 1) * WIDTH)
    given = sound(12)
    model = Wav2Vec2Model.from_pretrained(wav2vec).eval()
    prepared = Wav2Vec2FeatureExtractor.from_pretrained(wav2vec)(
        list(given.numpy()), sampling_rate=16000, return_tensors="pt"
    )["input_values"]
    with torch.no_grad():
        states = model(F.pad(prepared, (40, 40)), output_hidden_states=True).hidden_states
    assert states[0].shape[1] == 24
    theirs = torch.cat([(s[:, ::2] + s[:, 1::2]) / 2 for s in states], -1)
    assert torch.allclose(encoder(given, 12), theirs, atol=1e-5)


def test_a_preprocessor_that_does_not_normalise_is_heeded_and_comes_back(wav2vec, tmp_path):
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(wav2vec)
    tokens = new_audio_tokens(f"wav2vec2:{wav2vec}", tokens=2, dim=8, hidden=8).eval()
    assert not tokens.encoder.normalise
    tokens.save_pretrained(tmp_path / "weights")
    back = AudioTokens.read(tmp_path / "weights")
    margin = tokens.required_margin
    assert margin == 25 + 2
    given = sound(3 + 2 * margin, batch=1)
    assert not back.encoder.normalise
    assert torch.equal(back(given, 3, margin), tokens(given, 3, margin))


def test_where_wav2vec_hears_is_the_video_frame():
    """A network that only looks at its convolutions: the click is felt most where it is shown."""
    torch.manual_seed(1)
    network = Wav2Vec2Model(wav2vec_config(feat_extract_norm="layer", conv_bias=True))
    encoder = Wav2VecEncoder(network, normalise=False)
    clicks = torch.zeros(1, 9 * FRAME_SAMPLES)
    clicks[0, 4 * FRAME_SAMPLES + FRAME_SAMPLES // 2] = 1
    features = []
    network.feature_extractor.register_forward_hook(lambda module, given, found: features.append(found))
    for sound in (clicks, clicks * 0):
        encoder(sound, 9)
    felt = (features[0] - features[1]).abs().sum(1)[0]
    # receptive fields of 400 samples every 320: the middle of a frame is in its own two features alone
    assert felt.nonzero().flatten().tolist() == [8, 9]


def test_whisper_is_transformers_own(whisper):
    encoder = WhisperEncoder.from_pretrained(whisper)
    given = sound(12)
    model = WhisperModel.from_pretrained(whisper).eval()
    prepared = WhisperFeatureExtractor()(
        list(F.pad(given, (480, 0)).numpy()), sampling_rate=16000, return_tensors="pt"
    )["input_features"]
    with torch.no_grad():
        states = model.encoder(prepared, output_hidden_states=True).hidden_states
    # feature j is centred on sample 320 j; minus the 480 in front, 2 k + 2 and 2 k + 3 lie around 640 k + 320
    theirs = torch.cat([(s[:, 2:26:2] + s[:, 3:26:2]) / 2 for s in states], -1)
    assert torch.allclose(encoder(given, 12), theirs, atol=1e-4)


def test_whisper_comes_back_without_its_decoder_and_hears_thirty_seconds_at_most(whisper, tmp_path):
    tokens = new_audio_tokens(f"whisper:{whisper}", tokens=2, dim=8, hidden=8).eval()
    tokens.save_pretrained(tmp_path / "weights")
    names = tensors_of(tmp_path / "weights" / "encoder" / "model.safetensors").keys()
    assert not any("decoder" in name for name in names)
    back = AudioTokens.read(tmp_path / "weights")
    margin = tokens.required_margin
    given = sound(3 + 2 * margin, batch=1)
    assert torch.equal(back(given, 3, margin), tokens(given, 3, margin))
    assert tokens.encoder(sound(749, 1), 749).shape == (1, 749, (LAYERS + 1) * WIDTH)
    with pytest.raises(ValueError, match=r"749 frames .* 750"):
        tokens.encoder(sound(750, 1), 750)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_they_are_frozen_and_still_while_the_projection_trains(kind, request):
    folder = request.getfixturevalue(kind.replace("2vec2", "2vec"))
    tokens = new_audio_tokens(f"{kind}:{folder}", tokens=2, dim=8, hidden=8).train()
    assert not any(module.training for module in tokens.encoder.network.modules())
    assert not any(p.requires_grad for p in tokens.encoder.parameters())
    margin = tokens.required_margin
    given = sound(2 + 2 * margin)
    one, two = tokens(given, 2, margin), tokens(given, 2, margin)
    assert torch.equal(one, two)  # dropout and layerdrop of one half would show
    one[..., 0].sum().backward()
    assert tokens.projection.layer_weights.grad.abs().max() > 0
    assert all(p.grad is None for p in tokens.encoder.parameters())
    assert tokens.to(torch.bfloat16)(given, 2, margin).dtype == torch.bfloat16


def test_names_of_older_checkpoints_and_vectors_for_masks_load(wav2vec):
    file = wav2vec / "model.safetensors"
    expected = Wav2VecEncoder.from_pretrained(wav2vec)(sound(4), 4)
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = {}
    for name, tensor in tensors_of(file).items():
        for new, old in names.items():
            name = name.replace(new, old)
        tensors[name] = tensor
    assert any(name.endswith("weight_g") for name in tensors)
    tensors["wav2vec2.masked_spec_embed"] = torch.randn(WIDTH)
    save_file(tensors, file)
    assert torch.equal(Wav2VecEncoder.from_pretrained(wav2vec)(sound(4), 4), expected)


def test_what_does_not_fit_is_one_line(wav2vec, whisper, tmp_path):
    with pytest.raises(WeightsError, match="model_type is 'whisper', expected 'wav2vec2'"):
        new_audio_tokens(f"wav2vec2:{whisper}")
    with pytest.raises(WeightsError, match=r"no such weights folder.*Whisper"):
        new_audio_tokens("whisper:/no/such/folder")
    file = wav2vec / "model.safetensors"
    tensors = tensors_of(file)
    tensors.pop("wav2vec2.feature_projection.projection.bias")
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"1 missing_keys \(feature_projection.projection.bias\)"):
        new_audio_tokens(f"wav2vec2:{wav2vec}")
    (wav2vec / "model.safetensors").rename(wav2vec / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"model\.safetensors is missing"):
        new_audio_tokens(f"wav2vec2:{wav2vec}")
    for changes, says in (
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 3]}, "features of 400 samples every 480 do not tile 640"),
        ({"num_attention_heads": 0}, "cannot be read as Wav2Vec2"),
        ({"hidden_size": "wide"}, "cannot be read as Wav2Vec2"),
    ):
        other = tmp_path / "other"
        Wav2Vec2Model(wav2vec_config()).save_pretrained(other)
        config = other / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
        with pytest.raises(WeightsError, match=says):
            new_audio_tokens(f"wav2vec2:{other}")
    (whisper / "preprocessor_config.json").write_text("{}")
    Wav2Vec2Model(wav2vec_config()).save_pretrained(tmp_path / "odd")
    (tmp_path / "odd" / "preprocessor_config.json").write_text('{"do_normalize": "yes"}')
    with pytest.raises(WeightsError, match=r"do_normalize .*'yes'"):
        new_audio_tokens(f"wav2vec2:{tmp_path / 'odd'}")
