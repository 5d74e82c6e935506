"""Sync by SyncNet's layout with random weights: what is wired where. Only trained weights can judge sync."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from onnx_files import Node, Shape, write_mean, write_network

from data_prep.video.sync import SyncMeter, best_shift, face_windows, mfcc
from data_prep.video.syncnet import SyncError, SyncNet, load_syncnet


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
    found = best_shift(lips, torch.cat([torch.randn(4, 8), lips])[:60])
    assert found.offset == 4  # what is heard comes four pictures late
    assert found.confidence > 1
    # The last four have nothing to be compared with but 0.
    assert found.distance == pytest.approx(float(lips[-4:].norm(dim=1).sum()) / 60)
    assert best_shift(lips, torch.randn(60, 8)).confidence < 0.7


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
    found = meter.finish(audio)

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
    assert found == pytest.approx(expected, abs=1e-4)
    assert meter.finish(audio) == found  # another sound may be asked for


def write_judge(path: Path, batch: int | str = "n", mfcc_frames: int = 20) -> Path:
    """Of pictures the brightness of each of the five; of sound the means of five stretches of the cepstra in turn."""
    count = mfcc_frames // 4
    stretches = np.kron(np.eye(count), np.full((4, 1), 1 / 4)).astype(np.float32)
    inputs: dict[str, Shape] = {"sound": (batch, 1, 13, mfcc_frames), "lips": (batch, 3, 5, 224, 224)}
    nodes = [
        # a side at a time: float32 is too short for sums of so many pixels
        Node("ReduceMean", ["lips"], "rows", {"axes": [4], "keepdims": 0}),
        Node("ReduceMean", ["rows"], "colours", {"axes": [3], "keepdims": 0}),
        Node("ReduceMean", ["colours"], "bright", {"axes": [1], "keepdims": 0}),
        Node("ReduceMean", ["sound"], "loud", {"axes": [1, 2], "keepdims": 0}),
        Node("MatMul", ["loud", "stretches"], "heard"),
    ]
    return write_network(path, nodes, inputs, {"heard": (batch, count), "bright": (batch, 5)}, {"stretches": stretches})


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_a_network_in_onnx_judges_as_computed_by_hand(tmp_path: Path, batch: int | str) -> None:
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, 30)
    points = np.tile(np.array([[40.0, 30.0], [70.0, 60.0]]), (len(grey), 1, 1))
    audio = rng.normal(0, 0.1, len(grey) * 640).astype(np.float32)
    meter = SyncMeter(load_syncnet(write_judge(tmp_path / "mine.onnx", batch)), points)
    for k, value in enumerate(grey):
        meter.add(k, np.full((200, 200, 3), value, np.uint8))
    found = meter.finish(audio)

    lips = np.lib.stride_tricks.sliding_window_view(grey.astype(float), 5)
    cepstra = mfcc(audio).mean(0)
    heard = np.stack([cepstra[4 * k : 4 * k + 20].reshape(5, 4).mean(1) for k in range((len(cepstra) - 20) // 4 + 1)])
    count = min(len(lips), len(heard))
    assert count > 20
    far = {}
    for shift in range(-15, 16):
        pairs = [heard[k + shift] if 0 <= k + shift < count else np.zeros(5) for k in range(count)]
        far[shift] = np.linalg.norm(lips[:count] - pairs, axis=1).mean()
    best = min(far, key=far.__getitem__)
    assert found.offset == best
    assert found.distance == pytest.approx(far[best], rel=1e-4)
    assert found.confidence == pytest.approx(np.median(list(far.values())) - far[best], abs=1e-2)


def test_other_networks_in_onnx_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "none.onnx").write_text("no network")
    write_mean(tmp_path / "half.onnx", ("n", 3, 5, 224, 224), (2, 3, 4))
    write_judge(tmp_path / "mel.onnx", mfcc_frames=16)
    for name, says in (("none", "cannot be read as ONNX"), ("half", "must take"), ("mel", r"1, 13, 16")):
        with pytest.raises(SyncError, match=rf"{name}\.onnx.*{says}") as caught:
            load_syncnet(tmp_path / f"{name}.onnx")
        assert "\n" not in str(caught.value)


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
