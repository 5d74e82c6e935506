"""Sync by SyncNet's layout with random weights: what is wired where. Only trained weights can judge sync."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from data_prep.video.sync import SyncError, SyncMeter, SyncNet, best_shift, face_windows, load_syncnet, mfcc


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sync") / "syncnet.safetensors"
    safetensors.torch.save_file(SyncNet().state_dict(), path)
    return path


def test_layers_are_those_of_the_published_weights() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)
    assert shapes["netcnnaud.15.running_var"] == (256,)
    assert shapes["netfclip.1.num_batches_tracked"] == ()


def test_mfcc_is_that_of_the_published_weights() -> None:
    """Reference: python_speech_features 0.6, mfcc(numpy.int16, 16000), frame 50 of 199."""
    t = np.arange(32000) / 16000
    sound = 0.3 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(2 * np.pi * 3 * t)) / 2 + 0.05 * np.sin(
        2 * np.pi * 1800 * t
    )
    found = mfcc(sound.astype(np.float32))
    assert found.shape == (13, 199)
    theirs = [
        18.741,
        9.718,
        -18.786,
        13.603,
        37.688,
        -5.445,
        -41.256,
        -12.511,
        10.164,
        -24.356,
        -46.258,
        -16.053,
        5.343,
    ]
    np.testing.assert_allclose(found[:, 50], theirs, atol=0.02)
    assert mfcc(np.zeros(300, np.float32)).shape == (13, 1)


def test_a_shift_of_the_vectors_is_found() -> None:
    torch.manual_seed(0)
    lips = torch.randn(60, 8)
    confidence, offset = best_shift(lips, torch.cat([torch.randn(4, 8), lips])[:60])
    assert offset == 4  # what is heard comes four pictures late
    assert confidence > 1
    assert best_shift(lips, torch.randn(60, 8))[0] < 0.7


def test_the_meter_gives_the_network_what_belongs_together(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Window by window, as one would do it by hand, whatever the batches."""
    net = load_syncnet(weights)
    rng = np.random.default_rng(0)
    monkeypatch.setattr("data_prep.video.sync.WINDOWS_AT_ONCE", 3)
    frames = rng.integers(0, 255, (9, 90, 120, 3)).astype(np.uint8)
    points = np.tile(np.array([[40.0, 30.0], [70.0, 60.0]]), (len(frames), 1, 1))
    meter = SyncMeter(net, points)
    for k, frame in enumerate(frames):
        meter.add(k, frame)
    audio = rng.normal(0, 0.1, len(frames) * 640).astype(np.float32)
    confidence, offset = meter.finish(audio)

    window = face_windows(points)[0]
    assert window == pytest.approx([55 - 21, 45 + 0.4 * 15 - 21, 42])
    from jdap.faces.crop import crop_frame

    pictures = [torch.from_numpy(crop_frame(f, window, 224, black=True)[..., ::-1].copy()).float() for f in frames]
    cepstra = torch.from_numpy(mfcc(audio))
    with torch.inference_mode():
        lips, heard = [], []
        for k in range(min(len(frames) - 4, (cepstra.shape[1] - 20) // 4 + 1)):
            five = torch.stack(pictures[k : k + 5]).permute(3, 0, 1, 2)[None]
            lips.append(net.forward_lip(five))
            heard.append(net.forward_aud(cepstra[None, None, :, 4 * k : 4 * k + 20]))
    expected = best_shift(torch.cat(lips), torch.cat(heard))
    assert (confidence, offset) == pytest.approx(expected, abs=1e-4)


def test_torchscript_is_taken_and_other_files_are_refused(weights: Path, tmp_path: Path) -> None:
    class Tiny(torch.nn.Module):
        @torch.jit.export
        def forward_lip(self, bgr: torch.Tensor) -> torch.Tensor:
            return bgr.mean((2, 3, 4))

        @torch.jit.export
        def forward_aud(self, mfcc: torch.Tensor) -> torch.Tensor:
            return mfcc.mean((1, 3))[:, :3]

    torch.jit.script(Tiny()).save(str(tmp_path / "tiny.pt"))
    assert load_syncnet(tmp_path / "tiny.pt").forward_lip(torch.ones(2, 3, 5, 4, 4)).shape == (2, 3)
    torch.save({"a": torch.ones(1)}, tmp_path / "pickle.pt")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "weights.bin").touch()
    for name in ("pickle.pt", "cut.safetensors", "other.safetensors", "weights.bin", "gone.safetensors"):
        with pytest.raises(SyncError, match=name) as caught:
            load_syncnet(tmp_path / name)
        assert "\n" not in str(caught.value)
