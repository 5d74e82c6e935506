"""The learned audio encoder, the projection, and both together: what is heard when, and what is not."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tensor_files import tensors_of
from transformers import WhisperFeatureExtractor

from jdap.models.audio import (
    FRAME_SAMPLES,
    AudioProjection,
    AudioTokens,
    LogMelEncoder,
    new_audio_tokens,
)
from jdap.models.audio.mel import mel_power
from jdap.models.loading import WeightsError


def noise(frames: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, frames * FRAME_SAMPLES, generator=generator)


def small(blocks: int = 1) -> AudioTokens:
    return new_audio_tokens("mel", tokens=4, dim=16, hidden=32, channels=24, blocks=blocks).eval()


def test_the_mel_spectrum_is_whispers_half_a_hop_later():
    # theirs is centred on multiples of the hop, ours between them
    sound = noise(50)
    theirs = WhisperFeatureExtractor(feature_size=80)
    spectrum = theirs._np_extract_fbank_features(sound[:, 80:].numpy().astype(np.float64), "cpu")[0]
    log = mel_power(sound, 80).log10()
    ours = (log.maximum(log.max() - 8) + 4) / 4
    inner = slice(2, 196)  # they reflect at the ends
    assert torch.allclose(ours[0, :, inner], torch.tensor(spectrum[:, inner], dtype=torch.float32), atol=1e-4)


@pytest.mark.parametrize("frame", [0, 3, 7])
def test_four_mel_frames_tile_a_video_frame(frame):
    """A click in the middle of video frame k lies symmetric to mel frames 4 k … 4 k + 3."""
    sound = torch.zeros(1, 8 * FRAME_SAMPLES)
    sound[0, frame * FRAME_SAMPLES + FRAME_SAMPLES // 2] = 1.0
    heard = mel_power(sound, 40).sum(1)[0]
    assert heard.shape == (32,)
    # 25 ms of window around centres 80 and 240 samples away: the near two hear it, the far two do not
    assert heard.nonzero().flatten().tolist() == [4 * frame + 1, 4 * frame + 2]
    # a Hann window that starts at a zero has its middle at sample 200 of 400, so left and right are mirror images
    assert heard[4 * frame + 1] == pytest.approx(heard[4 * frame + 2].item(), rel=1e-4)


def test_speech_is_near_zero_mean_and_unit_variance_and_silence_near_it():
    encoder = LogMelEncoder(channels=8)

    def seen(sound):
        return encoder.log_mel(mel_power(sound, encoder.bands))

    assert seen(torch.zeros(1, 6400)).unique().item() == pytest.approx((-6 + 4) / 1.7, abs=1e-4)
    assert seen(noise(10)).abs().max() < 4
    assert seen(torch.ones(1, 6400)).abs().max() < 6


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_the_learned_encoder_hears_its_context_to_the_bit_and_no_more(blocks):
    encoder = LogMelEncoder(channels=16, blocks=blocks).eval()
    context, frames = encoder.context_frames, 15
    assert context == 1 + blocks
    sound, k = noise(frames), frames // 2
    with torch.no_grad():
        before = encoder(sound, frames)[0]
        for side in (-1, 1):
            outside, inside = sound.clone(), sound.clone()
            if side < 0:
                outside[:, : (k - context) * FRAME_SAMPLES] = 0.7
                inside[:, (k - context) * FRAME_SAMPLES : (k - context + 1) * FRAME_SAMPLES] = 0.7
            else:
                outside[:, (k + context + 1) * FRAME_SAMPLES :] = 0.7
                inside[:, (k + context) * FRAME_SAMPLES : (k + context + 1) * FRAME_SAMPLES] = 0.7
            assert torch.equal(encoder(outside, frames)[0, k], before[k])
            assert not torch.equal(encoder(outside, frames)[0, k + side], before[k + side])
            assert not torch.allclose(encoder(inside, frames)[0, k], before[k], atol=1e-6)


def test_beyond_its_sound_the_learned_encoder_hears_silence():
    encoder = LogMelEncoder(channels=16).eval()
    sound = noise(6)
    silence = torch.zeros(1, 5 * FRAME_SAMPLES)
    alone = encoder(sound, 6)
    among = encoder(torch.cat([silence, sound, silence], 1), 16)
    assert torch.allclose(alone, among[:, 5:11], atol=1e-5)


def test_sound_in_pieces_gives_the_tokens_of_the_whole():
    tokens = small()
    margin, frames = tokens.required_margin, 24
    assert margin == 2 + 2
    sound = noise(frames + 2 * margin)
    whole = tokens(sound, frames, margin)
    assert whole.shape == (1, frames, 4, 16)
    step = 8
    for first in range(0, frames, step):
        piece = sound[:, first * FRAME_SAMPLES : (first + step + 2 * margin) * FRAME_SAMPLES]
        assert torch.allclose(tokens(piece, step, margin), whole[:, first : first + step], atol=1e-5)


def test_a_wider_margin_changes_nothing_and_a_narrow_one_is_refused():
    tokens = small()
    margin = tokens.required_margin
    sound = noise(5 + 2 * (margin + 3), batch=2)
    inner = sound[:, 3 * FRAME_SAMPLES : -3 * FRAME_SAMPLES]
    assert torch.equal(tokens(sound, 5, margin + 3), tokens(inner, 5, margin))
    with pytest.raises(ValueError, match=r"4 frames .* margin of 3"):
        tokens(noise(11), 5, 3)
    with pytest.raises(ValueError, match=r"\(B, 8320\).*\(1, 8319\)"):
        tokens(noise(13)[:, 1:], 5, margin)
    with pytest.raises(ValueError, match="sound for 0 frames"):
        LogMelEncoder(8)(noise(0), 0)


def test_tokens_of_a_frame_come_from_its_window_of_features():
    projection = AudioProjection(channels=12, window=2, tokens=3, dim=8, hidden=16).eval()
    features = torch.randn(2, 9, 12)
    tokens = projection(features)
    assert tokens.shape == (2, 5, 3, 8)
    assert torch.allclose(tokens.mean(-1), torch.zeros(2, 5, 3), atol=1e-5)  # LayerNormed
    for frame in range(5):
        assert torch.allclose(projection(features[:, frame : frame + 5])[:, 0], tokens[:, frame], atol=1e-6)
    changed = features.clone()
    changed[:, 4] += torch.randn(12)
    assert (projection(changed) != tokens).flatten(2).any(-1).all()  # frame 4 is in every window
    changed = features.clone()
    changed[:, 0] += torch.randn(12)
    assert torch.equal(projection(changed)[:, 1:], tokens[:, 1:])
    with pytest.raises(ValueError, match="look at 5 frames, got 4"):
        projection(features[:, :4])


def test_layers_are_mixed_by_weights_that_learn():
    projection = AudioProjection(channels=3 * 8, layers=3, tokens=2, dim=4, hidden=8)
    features = torch.randn(1, 5, 24) * torch.tensor([1.0, 100.0, 0.01]).repeat_interleave(8)
    projection(features)[..., 0].sum().backward()
    assert (projection.layer_weights.grad != 0).all()
    single = AudioProjection(channels=8, tokens=2, dim=4, hidden=8)
    single.load_state_dict({k: v for k, v in projection.state_dict().items() if k != "layer_weights"})
    with torch.no_grad():  # nearly all weight on one layer is that layer alone
        projection.layer_weights.copy_(torch.tensor([0.0, 30.0, 0.0]))
        assert torch.allclose(projection(features), single(features[..., 8:16]), atol=1e-5)
    with pytest.raises(ValueError, match=r"10 channels .* 3 layers"):
        AudioProjection(channels=10, layers=3)


def test_everything_of_the_learned_tokens_trains_also_in_bfloat16():
    tokens = small().train()
    margin = tokens.required_margin
    with torch.autocast("cpu", torch.bfloat16):
        out = tokens(noise(3 + 2 * margin), 3, margin)
    (out * torch.randn(out.shape)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in tokens.parameters())
    exact = small().to(torch.bfloat16)
    assert exact(noise(3 + 2 * margin), 3, margin).dtype == torch.bfloat16


def test_they_come_back_from_a_folder(tmp_path):
    tokens = small(blocks=2)
    tokens.save_pretrained(tmp_path / "weights")
    back = AudioTokens.read(tmp_path / "weights")
    margin = tokens.required_margin
    assert (back.required_margin, back.tokens, back.dim, back.training) == (margin, 4, 16, False)
    sound = noise(4 + 2 * margin)
    assert torch.equal(back(sound, 4, margin), tokens(sound, 4, margin))


def break_weights(folder):
    file = folder / "encoder" / "diffusion_pytorch_model.safetensors"
    tensors = tensors_of(file)
    del tensors["down.0.bias"]
    save_file(tensors, file)


def break_numbers(folder):
    file = folder / "projection" / "diffusion_pytorch_model.safetensors"
    tensors = tensors_of(file)
    tensors["norm.weight"][0] = float("nan")
    save_file(tensors, file)


def break_kind(folder):
    file = folder / "encoder" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "bark"}))


def break_fit(folder):
    AudioProjection(channels=48, tokens=4, dim=16).save_pretrained(folder / "projection")


def lose_projection(folder):
    (folder / "projection" / "config.json").unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (break_weights, r"encoder: weights and config.json do not fit: 1 missing_keys \(down.0.bias\)"),
        (break_numbers, r"projection: 1 tensors hold NaN or infinity \(norm.weight\)"),
        (break_kind, "config.json: model_type is 'bark', expected one of wav2vec2, whisper, moonshine"),
        (break_fit, "the encoder has 24 channels in 1 layers, the projection 48 in 1"),
        (lose_projection, r"projection/config.json: missing"),
    ],
)
def test_a_broken_folder_is_one_line(tmp_path, change, says):
    small().save_pretrained(tmp_path)
    change(tmp_path)
    with pytest.raises(WeightsError, match=says) as caught:
        AudioTokens.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "mfcc", "mel:x", "wav2vec2", "whisper:"])
def test_another_encoder_is_refused(name):
    with pytest.raises(ValueError, match=r"mel, moonshine, wav2vec2:.* whisper:"):
        new_audio_tokens(name)
