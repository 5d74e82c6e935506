"""Models of others as methods of depth, from tiny checkpoints with random weights, and functions by their path."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, MarigoldDepthPipeline
from stable_diffusion import small_unet, small_vae
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)

from benchmarks import BenchmarkError
from benchmarks.depth.method import MethodSettings
from benchmarks.depth.others import FunctionDepth, MarigoldDepth, TransformersDepth
from benchmarks.depth.scores import measure
from jdap.batch import ImageBatch

FakeBatch = Callable[..., ImageBatch]
SETTINGS = MethodSettings(None, seed=4)


@pytest.fixture(scope="module")
def marigold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marigold")
    words = folder / "words"
    words.mkdir()
    tokens = {token: i for i, token in enumerate(["<|startoftext|>", "<|endoftext|>", "a</w>"])}
    (words / "vocab.json").write_text(json.dumps(tokens))
    (words / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=3, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    MarigoldDepthPipeline(
        unet=small_unet(in_channels=8),
        vae=small_vae(),
        scheduler=DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        text_encoder=text,
        tokenizer=CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=8),
        prediction_type="depth",
        default_denoising_steps=2,
        default_processing_resolution=0,
    ).save_pretrained(folder / "weights")
    return folder / "weights"


def depth_anything(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    backbone = Dinov2Config(
        image_size=28, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1,
        out_features=["stage1", "stage2"], reshape_hidden_states=False, initializer_range=0.3,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, reassemble_factors=[2, 1], neck_hidden_sizes=[8, 8],
        fusion_hidden_size=8, head_hidden_size=4, depth_estimation_type=kind, max_depth=2, initializer_range=0.3,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).eval().save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}, ensure_multiple_of=14).save_pretrained(folder)
    return folder


def test_marigold_is_diffusers_own_pipeline(marigold: Path, fake_batch: FakeBatch) -> None:
    batch = fake_batch(people=2)
    method = MarigoldDepth("m", str(marigold), SETTINGS)
    found = method.predict(batch)
    assert found.shape == batch.depth_mm.shape
    assert found.std() > 0
    assert torch.equal(found, method.predict(batch))
    assert not torch.equal(found, MarigoldDepth("m", str(marigold), MethodSettings(None, seed=5)).predict(batch))
    method.pipeline.register_to_config(prediction_type="disparity")
    method.sign = -1.0
    assert torch.equal(method.predict(batch), -found)
    # It promises an affine frame, no more.
    scores = measure([method], [batch])
    assert set(scores.values["m"]["metric"]) == {"scale_shift", "disparity", "l1"}


def test_depth_anything_is_turned_round_or_in_metres(tmp_path: Path, fake_batch: FakeBatch) -> None:
    batch = fake_batch(people=2)
    relative = TransformersDepth("r", str(depth_anything(tmp_path / "relative", "relative")), SETTINGS)
    metric = TransformersDepth("m", str(depth_anything(tmp_path / "metric", "metric")), SETTINGS)
    with torch.no_grad():
        far, mm = relative.predict(batch), metric.predict(batch)
        pixels = list(((batch.rgb + 1) * 127.5).round().byte())
        given = relative.processor(images=pixels, return_tensors="pt")
        disparity = relative.model(**given).predicted_depth
    assert far.shape == mm.shape == batch.depth_mm.shape
    # The network's answer resized, with its sign turned: what is nearest is the least.
    assert disparity.std() > 1e-3
    expected = torch.nn.functional.interpolate(disparity[:, None], (32, 32), mode="bicubic", align_corners=False)
    torch.testing.assert_close(far, -expected, rtol=1e-3, atol=1e-4)
    assert (relative.frames, metric.frames) == ((), ("metric",))
    assert 0 < mm.min() < mm.max() < 2500
    with torch.no_grad():
        assert "none" in measure([metric], [batch]).values["m"]["metric"]


def test_a_model_of_unknown_direction_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = depth_anything(tmp_path / "w", "relative")
    monkeypatch.setattr("benchmarks.depth.others.INVERSE", ())
    with pytest.raises(BenchmarkError, match="depth or disparity is not known"):
        TransformersDepth("x", str(folder), SETTINGS)


def test_a_function_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_batch: FakeBatch) -> None:
    (tmp_path / "somebodys_depth.py").write_text(
        "def predict(rgb):\n    return 1000 * rgb.mean(1, keepdim=True) + 2000\npredict.frames = ('metric',)\n"
        "predict.size_px = 48\nclass Broken:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    batch = fake_batch(people=2)
    method = FunctionDepth("mine", "somebodys_depth:predict", SETTINGS)
    assert torch.equal(method.predict(batch), 1000 * batch.rgb.mean(1, keepdim=True) + 2000)
    assert (method.frames, method.size_px) == (("metric",), 48)
    for wrong, says in (("somebodys_depth:nothing", "nothing"), ("somebodys_depth", "MODULE:FUNCTION")):
        with pytest.raises(BenchmarkError, match=says):
            FunctionDepth("x", wrong, SETTINGS)
    sys.modules.pop("somebodys_depth")
