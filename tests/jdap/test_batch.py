from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from jdap.batch import ClipBatch, ImageBatch, other_people

B, F, S = 2, 5, 8


def image_batch(**changes) -> ImageBatch:
    values = {
        "reference_rgb": torch.rand(B, 3, S, S) * 2 - 1,
        "rgb": torch.rand(B, 3, S, S) * 2 - 1,
        "depth_mm": torch.rand(B, 1, S, S) * 600,
        "depth": torch.rand(B, 1, S, S) * 2 - 1,
        "skin": torch.rand(B, 1, S, S) < 0.5,
        "confidence": torch.rand(B, 1, S, S),
        "range_mm": torch.tensor([[500.0, 600.0]] * B),
        "camera_px": torch.tensor([[20.0, 4.0, 4.0]] * B),
        "key": ("a", "b"),
        "person_id": ("p", "q"),
        "depth_source": ("studio", "fitted"),
        "source": ("studio", "in_the_wild"),
    }
    return ImageBatch(**values | changes)


def clip_batch(**changes) -> ClipBatch:
    values = {
        "reference_rgb": torch.rand(B, 3, S, S) * 2 - 1,
        "rgb": torch.rand(B, F, 3, S, S) * 2 - 1,
        "depth_mm": torch.rand(B, F, 1, S, S) * 600,
        "depth": torch.rand(B, F, 1, S, S) * 2 - 1,
        "skin": torch.rand(B, F, 1, S, S) < 0.5,
        "confidence": torch.rand(B, F, 1, S, S),
        "range_mm": torch.tensor([[500.0, 600.0]] * B),
        "camera_px": torch.tensor([20.0, 4.0, 4.0]).expand(B, F, 3),
        "pose": torch.randn(B, F, 6),
        "lip_opening_mm": torch.tensor([[3.0] * F, [torch.nan] * F]),
        "mouth_px": torch.rand(B, F, 3) * S,
        "audio": torch.rand(B, F * 640) * 2 - 1,
        "has_audio": torch.tensor([True, False]),
        "fps": 25.0,
        "key": ("a", "b"),
        "person_id": ("p", "q"),
        "depth_source": ("studio", "fitted"),
        "source": ("studio", "in_the_wild"),
    }
    return ClipBatch(**values | changes)


def test_good_batches_are_taken():
    assert len(image_batch()) == len(clip_batch()) == B
    assert image_batch().mean_head_mm is None
    assert image_batch(mean_head_mm=torch.zeros(B, 1, S, S)).mean_head_mm is not None


def test_several_pictures_may_share_a_reference():
    assert image_batch().targets == 1
    one = image_batch(reference_rgb=torch.zeros(1, 3, S, S))
    assert (len(one), one.targets) == (B, 2)
    with pytest.raises(ValueError, match=r"reference_rgb must be \(2, 3, 8, 8\)"):
        image_batch(reference_rgb=torch.zeros(3, 3, S, S))
    with pytest.raises(ValueError, match=r"reference_rgb must be \(2, 3, 8, 8\)"):
        image_batch(reference_rgb=torch.zeros(0, 3, S, S))


def test_another_person_of_a_batch_is_the_next_one():
    assert other_people("aab")[0] == [2, 2, 0]
    assert other_people("abab")[0] == [1, 2, 3, 0]
    others, lonely = other_people("aa")
    assert (others, lonely.tolist()) == ([0, 1], [True, True])


WRONG = [
    ("reference_rgb", torch.zeros(B, 3, S, S + 1), r"reference_rgb must be \(2, 3, 8, 8\)"),
    ("reference_rgb", torch.full((B, 3, S, S), 1.01), r"reference_rgb must lie in \[-1, 1\]"),
    ("depth", torch.full((B, 1, S, S), torch.nan), r"depth must lie in \[-1, 1\]"),
    ("range_mm", torch.zeros(B, 3), "range_mm must be"),
    ("range_mm", torch.zeros(B, 2, dtype=torch.float64), r"range_mm must be .* torch.float32, got .* torch.float64"),
    ("key", ("a",), "key must have one entry a sample"),
    ("person_id", (), "person_id must have one entry"),
    ("depth_source", ("studio",) * 3, "depth_source must have one entry"),
    ("source", ("studio",), "source must have one entry"),
]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        *WRONG,
        ("rgb", torch.full((B, 3, S, S), -1.5), r"rgb must lie in \[-1, 1\]"),
        ("depth_mm", torch.full((B, 1, S, S), -1.0), "depth_mm must lie in"),
        ("depth_mm", torch.zeros(B, S, S), "depth_mm must be"),
        ("skin", torch.zeros(B, 1, S, S), "skin must be .* torch.bool"),
        ("camera_px", torch.zeros(3), "camera_px must be"),
        ("confidence", torch.ones(B), "confidence must be"),
        ("confidence", torch.full((B, 1, S, S), 1.5), r"confidence must lie in \[0, 1\]"),
        ("mean_head_mm", torch.zeros(B, S, S), "mean_head_mm must be"),
    ],
)
def test_wrong_image_batches_are_refused(name, value, says):
    with pytest.raises(ValueError, match=f"ImageBatch.{says}"):
        image_batch(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        *(case for case in WRONG if case[0] not in ("depth",)),
        ("depth", torch.full((B, F, 1, S, S), torch.nan), r"depth must lie in \[-1, 1\]"),
        ("depth_mm", torch.zeros(B, F, S, S), "depth_mm must be"),
        ("skin", torch.zeros(B, F, 1, S, S), "skin must be"),
        ("camera_px", torch.zeros(B, 3), "camera_px must be"),
        ("audio", torch.zeros(B, F * 640 - 1), r"audio must be \(2, 3200\)"),
        ("audio", torch.full((B, F * 640), 2.0), "audio must lie in"),
        ("has_audio", torch.ones(B), "has_audio must be"),
        ("pose", torch.zeros(B, 6), r"pose must be \(2, 5, 6\)"),
        ("pose", torch.full((B, F, 6), torch.nan), "pose must lie in"),
        ("lip_opening_mm", torch.zeros(B, F, 1), r"lip_opening_mm must be \(2, 5\)"),
        ("mouth_px", torch.zeros(B, F, 2), r"mouth_px must be \(2, 5, 3\)"),
        ("mouth_px", torch.full((B, F, 3), torch.nan), "mouth_px must lie in"),
        ("audio_margin", -1, "audio_margin must be at least 0"),
        ("audio_margin", 1, r"audio must be \(2, 4480\)"),
    ],
)
def test_wrong_clip_batches_are_refused(name, value, says):
    with pytest.raises(ValueError, match=f"ClipBatch.{says}"):
        clip_batch(**{name: value})


def test_the_length_of_sound_follows_the_frame_rate():
    assert clip_batch(fps=20.0, audio=torch.zeros(B, F * 800)).audio.shape == (B, 4000)
    with pytest.raises(ValueError, match=r"audio must be \(2, 4000\)"):
        clip_batch(fps=20.0)
    around = clip_batch(fps=20.0, audio_margin=3, audio=torch.zeros(B, (F + 6) * 800))
    assert around.audio.shape == (B, 8800)


@pytest.mark.parametrize("make", [image_batch, clip_batch])
def test_to_moves_every_tensor_and_nothing_else(make):
    batch = make()
    moved = batch.to("cpu", copy=True)
    assert type(moved) is type(batch)
    for name, value in vars(batch).items():
        other = getattr(moved, name)
        if isinstance(value, torch.Tensor):
            assert torch.allclose(other, value, rtol=0, atol=0, equal_nan=True)
            assert other.data_ptr() != value.data_ptr()
        else:
            assert other is value


@pytest.mark.parametrize("make", [image_batch, clip_batch])
def test_to_does_not_look_at_values_again(make, monkeypatch):
    batch = make()
    monkeypatch.setattr(type(batch), "__post_init__", lambda self: pytest.fail("checked again"))
    # A meta tensor has no values: any look at them would raise, as it would make a GPU wait.
    moved = batch.to("meta")
    assert moved.rgb.device.type == moved.confidence.device.type == "meta"
    assert moved.key == batch.key
    assert batch.rgb.device.type == "cpu"


@pytest.mark.parametrize("make", [image_batch, clip_batch])
def test_batches_are_frozen_and_replaced_with_the_same_checks(make):
    batch = make()
    with pytest.raises(FrozenInstanceError):
        batch.rgb = batch.rgb
    with pytest.raises(ValueError, match="rgb must lie in"):
        replace(batch, rgb=batch.rgb * 3)
