import collections
import json

import fakes
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from jdap import depth
from jdap.data import draw
from jdap.data.clips import clip_batch
from jdap.data.pose import MOUTH_MM, MOUTH_RADIUS_MM
from jdap.shards import schema
from jdap.shards.schema import Record, SchemaError, frame_member


def record(frames: int, fps: float = 0.0) -> Record:
    return Record("clip", "person", "studio", frames, 16, fps)


def encoded(sample) -> dict:
    return sample.members() | {"__key__": sample.key, "__url__": "drawn.tar"}


@pytest.mark.parametrize("frames", [2, 3, 7, 8, 15])
def test_the_reference_of_a_clip_is_half_the_chunk_away_where_it_can_be(frames):
    seen = collections.Counter()
    for i in range(1500):
        reference, (target,) = draw.random_targets(record(frames, 25.0), draw.seeded(i))
        farthest = max(target, frames - 1 - target)
        assert abs(reference - target) >= min(frames / 2, farthest)
        seen[target] += 1
    # Uniform: each count is within five standard deviations.
    expected = 1500 / frames
    assert set(seen) == set(range(frames))
    assert max(abs(n - expected) for n in seen.values()) < 5 * expected**0.5


def test_the_reference_of_a_still_is_any_other():
    drawn = (draw.random_targets(record(4), draw.seeded(i)) for i in range(1200))
    pairs = collections.Counter((reference, target) for reference, (target,) in drawn)
    assert set(pairs) == {(r, t) for r in range(4) for t in range(4) if r != t}
    assert max(abs(n - 100) for n in pairs.values()) < 50


@pytest.mark.parametrize("fps", [0.0, 25.0])
@pytest.mark.parametrize("frames", [2, 5, 8])
def test_several_targets_are_different_frames_that_are_all_far_from_their_reference(frames, fps):
    one, seen = record(frames, fps), collections.Counter()
    for i in range(800):
        reference, targets = draw.random_targets(one, draw.seeded(i), 4)
        assert len(targets) == 4
        # those that there are, each as often as the others or once more
        there = {targets[0], *draw.far_from(one, reference)}
        assert reference in draw.far_from(one, targets[0])
        assert set(targets) <= there
        assert reference not in targets
        counts = collections.Counter(targets)
        assert len(counts) == min(4, len(there))
        assert max(counts.values()) - min(counts.values()) <= 1
        # the first is the single one that would be drawn
        assert (reference, targets[:1]) == draw.random_targets(one, draw.seeded(i))
        seen.update(targets)
    assert set(seen) == set(range(frames))


def test_further_targets_are_drawn_evenly():
    """Of four stills three are left beside the reference: with two targets each other pair comes as often."""
    pairs = collections.Counter()
    for i in range(2400):
        reference, targets = draw.random_targets(record(4), draw.seeded(i), 2)
        pairs[reference, *targets] += 1
    assert len(pairs) == 24
    assert max(abs(n - 100) for n in pairs.values()) < 50


def test_targets_of_a_reference_stand_one_after_another_in_a_batch():
    sample, other = (fakes.sample(index=i, frames=4, size_px=32) for i in range(2))
    made = [
        draw.decode(draw.pick(encoded(one), one.record, 3, targets))
        for one, targets in ((sample, [2, 0]), (other, [1, 2]))
    ]
    batch = draw.image_batch(made)
    assert (len(batch), batch.targets, len(batch.reference_rgb)) == (4, 2, 2)
    assert batch.person_id == ("fake-0-0", "fake-0-0", "fake-0-1", "fake-0-1")
    for i, (one, frame) in enumerate(((sample, 2), (sample, 0), (other, 1), (other, 2))):
        np.testing.assert_array_equal(batch.skin[i, 0].numpy(), one.skin_FHW[frame])
        np.testing.assert_array_equal(batch.camera_px[i].numpy(), one.arrays["camera_px"][frame])
    for i, one in enumerate((sample, other)):
        jpeg = schema.decode_rgb(schema.encode_rgb(one.rgb_FHW3[3]))
        np.testing.assert_allclose(batch.reference_rgb[i].permute(1, 2, 0).numpy(), jpeg / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("fps", [0.0, 25.0])
def test_one_frame_is_its_own_reference(fps):
    assert draw.random_targets(record(1, fps), draw.seeded(0)) == (0, [0])
    assert draw.random_targets(record(1, fps), draw.seeded(0), 3) == (0, [0, 0, 0])
    assert draw.fixed_pairs(record(1, fps)) == [(0, 0)]


def test_fixed_pairs():
    assert draw.fixed_pairs(record(4)) == [(1, 0), (2, 1), (3, 2), (0, 3)]
    assert draw.fixed_pairs(record(9, 25.0)) == [(8, 0), (8, 4), (0, 8)]
    assert draw.fixed_pairs(record(2, 25.0)) == [(1, 0), (0, 1)]
    assert draw.fixed_pairs(record(9, 25.0), limit=1) == [(8, 4)]
    assert [target for _, target in draw.fixed_pairs(record(9), limit=5)] == [0, 2, 4, 6, 8]
    assert [target for _, target in draw.fixed_pairs(record(3), limit=50)] == [0, 1, 2]


def test_seeds_do_not_depend_on_the_process():
    # The number is part of what a seed promises: PYTHONHASHSEED or the machine must not change the draws.
    assert torch.rand(3, generator=draw.seeded(1, 2, "key")).equal(torch.rand(3, generator=draw.seeded(1, 2, "key")))
    assert draw.seeded(1, 2, "key").initial_seed() == 993251128907130426
    assert draw.seeded(1, 2, "key").initial_seed() != draw.seeded(1, 3, "key").initial_seed()


def test_only_what_is_drawn_is_decoded():
    sample = fakes.sample(frames=6, size_px=32, fps=25.0)
    members = encoded(sample)
    touched = {frame_member(kind, 4) for kind in ("rgb", "depth", "skin", "meanhead")}
    touched |= {frame_member("rgb", 1), "arrays.safetensors", "json"}
    for name in members:
        if name not in touched and not name.startswith("__"):
            members[name] = b"garbage"
    got = draw.read_record(members)
    drawn = draw.pick(members, got, reference=1, targets=[4])
    assert set(drawn.members) == touched - {"json"} | {"audio.wav"}
    example = draw.decode(drawn)
    assert example.key == f"{sample.key}/0004"
    assert example.rgb_F3HW.shape == (1, 3, 32, 32)
    with pytest.raises(SchemaError, match=r"rgb\.0002\.jpg"):
        draw.decode(draw.pick(members, got, reference=1, targets=[2]))


def test_what_is_decoded_is_what_was_stored():
    sample = fakes.sample(frames=3, size_px=32)
    example = draw.decode(draw.pick(encoded(sample), sample.record, reference=2, targets=[1]))
    exact = np.rint(sample.depth_mm_FHW[1] * 10).astype(np.float32) / 10
    np.testing.assert_array_equal(example.depth_mm_F1HW[0, 0].numpy(), exact)
    np.testing.assert_array_equal(example.skin_F1HW[0, 0].numpy(), sample.skin_FHW[1])
    np.testing.assert_array_equal(example.camera_px_F3[0].numpy(), sample.arrays["camera_px"][1])
    for picture, index in ((example.reference_3HW, 2), (example.rgb_F3HW[0], 1)):
        jpeg = schema.decode_rgb(schema.encode_rgb(sample.rgb_FHW3[index]))
        np.testing.assert_allclose(picture.permute(1, 2, 0).numpy(), jpeg / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("json", None, "member json is missing"),
        ("json", b"nonsense", "json: "),
        ("json", b"null", "json: a record must be a JSON object"),
        ("rgb.0001.jpg", None, r"1 members are missing, rgb\.0001\.jpg first"),
        ("meanhead.0001.png", None, "meanhead.0001.png"),
        ("arrays.safetensors", None, "arrays.safetensors"),
    ],
)
def test_a_sample_that_lacks_something_is_refused(name, data, says):
    members = encoded(fakes.sample(frames=2, size_px=16))
    members.pop(name)
    if data is not None:
        members[name] = data
    with pytest.raises(SchemaError, match=says):
        draw.read_record(members)


def test_another_schema_version_is_refused():
    members = encoded(fakes.sample(frames=1, size_px=16))
    members["json"] = json.dumps(json.loads(members["json"]) | {"schema_version": 7}).encode()
    with pytest.raises(SchemaError, match="schema version 7 is not 1"):
        draw.read_record(members)


def examples(frames=1, fps=0.0, margin=None, **options):
    made = []
    for index in range(2):
        sample = fakes.sample(index=index, frames=4, size_px=32, fps=fps, **options)
        made.append(draw.decode(draw.pick(encoded(sample), sample.record, 3, range(frames)), margin))
    return made


def test_an_image_batch_is_normalised_by_numpys_quantiles():
    batch = draw.image_batch(examples())
    for i in range(2):
        z = batch.depth_mm[i, 0].numpy()
        skin = batch.skin[i, 0].numpy() & (z > 0)
        q2, q98 = np.quantile(z[skin], [0.02, 0.98])
        np.testing.assert_allclose(batch.range_mm[i].numpy(), [q2, q98], rtol=1e-5)
        expected = np.where(z > 0, np.clip(2 * (z - q2) / (q98 - q2) - 1, -1, 1), 1)
        np.testing.assert_allclose(batch.depth[i, 0].numpy(), expected, atol=1e-4)
    assert batch.key == ("fake-0-0-stills-0-000000/0000", "fake-0-1-stills-0-000000/0000")
    assert batch.person_id == ("fake-0-0", "fake-0-1")
    assert batch.depth_source == ("studio", "studio")
    assert batch.rgb.min() >= -1
    assert batch.rgb.max() > 0.2
    assert batch.rgb.min() < -0.2


def test_the_mean_head_is_there_for_all_or_none():
    made = examples()
    assert draw.image_batch(made).mean_head_mm.shape == (2, 1, 32, 32)
    assert draw.image_batch([made[0], examples(mean_head=False)[1]]).mean_head_mm is None


def test_batching_leaves_the_examples_as_they_are():
    made = examples()
    before = made[0].rgb_F3HW.clone()
    draw.image_batch(made[:1])
    assert torch.equal(made[0].rgb_F3HW, before)


def test_sizes_cannot_be_mixed():
    sample = fakes.sample(index=5, frames=4, size_px=16)
    odd = draw.decode(draw.pick(encoded(sample), sample.record, 3, [0]))
    with pytest.raises(SchemaError, match=r"\[16, 32\] pixels: .*size_px"):
        draw.image_batch([*examples(), odd])


def test_a_clip_batch_has_one_range_a_clip():
    batch = clip_batch(examples(frames=3, fps=25.0, margin=0))
    assert batch.rgb.shape == (2, 3, 3, 32, 32)
    for i in range(2):
        z = batch.depth_mm[i].numpy()
        q2, q98 = np.quantile(z[batch.skin[i].numpy() & (z > 0)], [0.02, 0.98])
        np.testing.assert_allclose(batch.range_mm[i].numpy(), [q2, q98], rtol=1e-5)
        back = depth.denormalise(batch.depth[i][None], batch.range_mm[i][None])[0]
        inside = (batch.depth[i].abs() < 1) & (batch.depth_mm[i] > 0)
        torch.testing.assert_close(back[inside], batch.depth_mm[i][inside], rtol=0, atol=1e-2)
    assert batch.has_audio.tolist() == [True, True]
    assert batch.fps == 25.0


def test_a_windows_sound_is_its_own():
    sample = fakes.sample(frames=6, size_px=16, fps=25.0)
    example = draw.decode(draw.pick(encoded(sample), sample.record, 0, range(2, 5)), audio_margin=0)
    np.testing.assert_allclose(example.audio.numpy(), sample.audio[2 * 640 : 5 * 640], atol=1 / 32767)


def test_short_sound_ends_in_silence_and_none_is_silence():
    sample = fakes.sample(frames=4, size_px=16, fps=25.0)
    members = encoded(sample)
    members["audio.wav"] = schema.encode_audio(sample.audio[:2000])
    example = draw.decode(draw.pick(members, sample.record, 0, range(4)), audio_margin=0)
    assert example.audio.shape == (2560,)
    assert example.audio[2000:].abs().max() == 0
    assert example.audio[:2000].abs().max() > 0.01
    silent = clip_batch(examples(frames=4, fps=25.0, margin=0, sound=False))
    assert silent.has_audio.tolist() == [False, False]
    assert silent.audio.shape == (2, 2560)
    assert silent.audio.abs().max() == 0


def test_the_margin_is_the_sound_around_the_window_and_silence_where_there_is_none():
    sample = fakes.sample(frames=12, size_px=16, fps=25.0)
    members, heard = encoded(sample), torch.from_numpy(sample.audio)
    for first, frames, margin, stride in [(4, 3, 2, 1), (0, 4, 3, 1), (9, 3, 5, 1), (3, 3, 1, 2), (0, 6, 2, 2)]:
        drawn = draw.pick(members, sample.record, 0, range(first, first + stride * frames, stride), stride=stride)
        example = draw.decode(drawn, audio_margin=margin)
        assert example.fps == 25.0 / stride
        assert example.audio.shape == ((frames + 2 * margin) * 640 * stride,)
        # Sample n of the window belongs to sample n + offset of the clip.
        offset = (first - margin * stride) * 640
        for n in range(0, len(example.audio), 97):
            expected = heard[n + offset] if 0 <= n + offset < len(heard) else 0.0
            assert example.audio[n] == pytest.approx(float(expected), abs=1 / 32767)


def test_only_every_stride_th_frame_is_drawn():
    sample = fakes.sample(frames=9, size_px=16, fps=25.0)
    drawn = draw.pick(encoded(sample), sample.record, reference=8, targets=range(1, 10, 3), stride=3)
    assert sorted(name for name in drawn.members if name.startswith("depth")) == [
        f"depth.000{i}.png" for i in (1, 4, 7)
    ]
    example = draw.decode(drawn)
    np.testing.assert_array_equal(example.camera_px_F3.numpy(), sample.arrays["camera_px"][1::3])
    np.testing.assert_array_equal(example.pose_F6[:, 3:].numpy(), sample.arrays["translation_mm"][1::3])
    np.testing.assert_allclose(
        example.lip_opening_mm_F.numpy(), sample.record.scores["lip_opening_mm"][1::3], rtol=1e-6
    )
    for i in range(3):
        exact = np.rint(sample.depth_mm_FHW[1 + 3 * i] * 10).astype(np.float32) / 10
        np.testing.assert_array_equal(example.depth_mm_F1HW[i, 0].numpy(), exact)


def test_the_opening_of_the_lips_is_nan_where_the_record_does_not_say():
    made = examples(frames=3, fps=25.0, margin=0, depth_source="fitted")
    batch = clip_batch([examples(frames=3, fps=25.0, margin=0)[0], made[1]])
    assert batch.lip_opening_mm[0].isfinite().all()
    assert batch.lip_opening_mm[1].isnan().all()
    sample = fakes.sample(frames=4, size_px=16, fps=25.0)
    sample.record.scores["lip_opening_mm"].pop()
    with pytest.raises(SchemaError, match=r"lip_opening_mm has 3 .* 4 frames"):
        draw.decode(draw.pick(encoded(sample), sample.record, 0, range(2)))


def test_clips_carry_pose_and_mouth():
    batch = clip_batch(examples(frames=3, fps=25.0, margin=1))
    assert batch.audio_margin == 1
    assert batch.audio.shape == (2, 5 * 640)
    for b in range(2):
        arrays = fakes.sample(index=b, frames=4, size_px=32, fps=25.0).arrays
        for i in range(3):
            turn = Rotation.from_rotvec(arrays["rotation"][i]).as_matrix() @ fakes.HEAD_TO_CAMERA
            x, y, z = turn @ MOUTH_MM + arrays["translation_mm"][i]
            f_px, cx, cy = arrays["camera_px"][i]
            expected = [cx + f_px * x / z, cy + f_px * y / z, MOUTH_RADIUS_MM * f_px / z]
            np.testing.assert_allclose(batch.mouth_px[b, i].numpy(), expected, rtol=1e-4)
            np.testing.assert_array_equal(batch.pose[b, i, :3].numpy(), arrays["rotation"][i])
