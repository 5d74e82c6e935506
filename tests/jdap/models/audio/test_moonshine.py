"""Moonshine against its network called directly, and what is said where it is not installed."""

import copy
import json
import pickle
import sys
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from jdap.models.audio import FRAME_SAMPLES, AudioTokens, MoonshineEncoder, new_audio_tokens
from jdap.models.audio.moonshine import feature_shares, open_network
from jdap.models.loading import WeightsError

REMEDY = r"pip install 'jdap\[moonshine\]'"


@pytest.fixture
def assets() -> Path:
    reason = "the extra jdap[moonshine]"
    pytest.importorskip("onnxruntime", reason=reason)
    found = find_spec("moonshine_voice")
    if found is None:
        pytest.skip(reason)
    return Path(found.origin).parent / "assets"


@pytest.fixture
def speech(assets: Path) -> torch.Tensor:
    """4 s of the sentence that comes with the package, 16 kHz."""
    with wave.open(str(assets / "two_cities.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48000, 1, 2)
        samples = np.frombuffer(file.readframes(12 * 16000), np.int16)
    return torch.from_numpy(samples.reshape(-1, 3).mean(1).astype(np.float32) / 32768)[None]


def test_a_frame_is_the_mean_of_the_features_that_its_samples_fall_to():
    shares = feature_shares(7)
    assert shares.shape == (7, 12)  # 4480 samples, 384 each
    counted = np.zeros((7, 12))
    for sample in range(7 * 640):
        counted[sample // 640, sample // 384] += 1 / 640
    np.testing.assert_allclose(shares, counted, atol=1e-6)


def test_it_is_the_networks_own(assets, speech):
    import onnxruntime

    given = speech[:, : 24 * FRAME_SAMPLES]
    session = onnxruntime.InferenceSession(str(assets / "tiny-en" / "encoder_model.ort"))
    # 24 frames are 40 features: 384 · 39 + 895 samples, of which 256 before the sound
    padded = np.zeros((1, 384 * 39 + 895), np.float32)
    padded[0, 256 : 256 + given.shape[1]] = given[0]
    (theirs,) = session.run(None, {"input_values": padded, "attention_mask": np.ones_like(padded, np.int64)})
    assert theirs.shape == (1, 40, 288)
    one, two, three, four, five = theirs[0].reshape(8, 5, 288).swapaxes(0, 1)
    mean = np.stack([0.6 * one + 0.4 * two, 0.2 * two + 0.6 * three + 0.2 * four, 0.4 * four + 0.6 * five], 1)
    ours = MoonshineEncoder()(given, 24)
    assert ours.shape == (1, 24, 288)
    np.testing.assert_allclose(ours[0], mean.reshape(24, 288), atol=0.02)  # threads add up in another order


def test_a_frame_hears_its_own_sound_most(speech):
    """Noise in one frame after another: what it changes lies around that frame, no frame too early or too late."""
    encoder, generator = MoonshineEncoder(), torch.Generator().manual_seed(0)
    sound = speech[:, 20 * FRAME_SAMPLES : 50 * FRAME_SAMPLES]
    before, felt = encoder(sound, 30)[0], torch.zeros(9)
    for frame in range(6, 24):
        noisy = sound.clone()
        noisy[:, frame * FRAME_SAMPLES :][:, :FRAME_SAMPLES] += 0.05 * torch.randn(FRAME_SAMPLES, generator=generator)
        changed = (encoder(noisy, 30)[0] - before).square().mean(1)
        felt += changed[frame - 4 : frame + 5] / changed.sum()
    assert felt.argmax() == 4
    assert felt[3] == pytest.approx(felt[5].item(), rel=0.4)


def test_clips_do_not_depend_on_their_neighbours_nor_frames_on_loudness(speech):
    encoder = MoonshineEncoder()
    one, two = (speech[:, k * FRAME_SAMPLES : (k + 40) * FRAME_SAMPLES] for k in (10, 50))
    both = encoder(torch.cat([one, two]), 40)
    assert torch.equal(both, torch.cat([encoder(one, 40), encoder(two, 40)]))
    quiet = encoder(0.1 * one, 40)
    assert (quiet - both[:1]).square().mean() < 0.1 * both[0].var()
    silence = encoder(torch.zeros(1, 40 * FRAME_SAMPLES), 40)
    assert silence.isfinite().all()


def test_weights_name_the_network_and_do_not_hold_it(speech, tmp_path):
    tokens = new_audio_tokens("moonshine", tokens=2, dim=8, hidden=8).eval()
    tokens.save_pretrained(tmp_path)
    assert [path.name for path in (tmp_path / "encoder").iterdir()] == ["config.json"]
    assert not any(name.startswith("encoder") for name in tokens.state_dict())
    back = AudioTokens.read(tmp_path)
    margin = tokens.required_margin
    assert margin == 12 + 2
    given = speech[:, : (4 + 2 * margin) * FRAME_SAMPLES]
    expected = tokens(given, 4, margin)
    assert expected.shape == (1, 4, 2, 8)
    for other in (back, copy.deepcopy(tokens), pickle.loads(pickle.dumps(tokens))):
        assert torch.equal(other(given, 4, margin), expected)
    assert tokens.to(torch.bfloat16)(given, 4, margin).dtype == torch.bfloat16

    file = tmp_path / "encoder" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sha256": "0" * 64}))
    with pytest.raises(WeightsError, match=r"encoder/config\.json: names a network of sha256 '0000"):
        AudioTokens.read(tmp_path)


def test_only_the_projection_trains(speech):
    tokens = new_audio_tokens("moonshine", tokens=2, dim=8, hidden=8).train()
    margin = tokens.required_margin
    with torch.autocast("cpu", torch.bfloat16):
        tokens(speech[:, : (2 + 2 * margin) * FRAME_SAMPLES], 2, margin)[..., 0].sum().backward()
    assert list(tokens.encoder.parameters()) == []
    assert tokens.projection.first.weight.grad.abs().max() > 0


def test_sound_of_another_length_is_refused(assets):
    with pytest.raises(ValueError, match=r"\(B, 2560\).*\(1, 2559\)"):
        MoonshineEncoder()(torch.zeros(1, 2559), 4)


def test_without_the_package_the_remedy_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    with pytest.raises(WeightsError, match=f"moonshine-voice is not installed: {REMEDY}") as caught:
        new_audio_tokens("moonshine")
    assert "\n" not in str(caught.value)


def test_another_version_of_the_package_is_refused(monkeypatch, tmp_path):
    package = tmp_path / "moonshine_voice"
    (package / "assets" / "tiny-en").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WeightsError, match=rf"encoder_model\.ort: not the network of moonshine-voice .*{REMEDY}"):
        new_audio_tokens("moonshine")
    (package / "assets" / "tiny-en" / "encoder_model.ort").write_bytes(b"another")
    with pytest.raises(WeightsError, match=rf"encoder_model\.ort: not the network of moonshine-voice .*{REMEDY}"):
        new_audio_tokens("moonshine")


def test_without_onnxruntime_the_remedy_is_the_same(assets, monkeypatch):
    open_network.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match=f"onnxruntime is not installed: {REMEDY}"):
        new_audio_tokens("moonshine")
