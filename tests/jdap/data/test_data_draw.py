import collections
import json

import fakes
import numpy as np
import pytest
import torch

from jdap import depth, schema
from jdap.data import draw
from jdap.schema import Record, SchemaError, frame_member


def record(frames: int, fps: float = 0.0) -> Record:
    return Record("clip", "person", "studio", frames, 16, fps)


def encoded(sample) -> dict:
    return sample.members() | {"__key__": sample.key, "__url__": "drawn.tar"}


@pytest.mark.parametrize("frames", [2, 3, 7, 8, 15])
def test_the_reference_of_a_clip_is_half_the_chunk_away_where_it_can_be(frames):
    seen = collections.Counter()
    for i in range(1500):
        reference, target = draw.random_pair(record(frames, 25.0), draw.seeded(i))
        farthest = max(target, frames - 1 - target)
        assert abs(reference - target) >= min(frames / 2, farthest)
        seen[target] += 1
    # Uniform: each count is within five standard deviations.
    expected = 1500 / frames
    assert set(seen) == set(range(frames))
    assert max(abs(n - expected) for n in seen.values()) < 5 * expected**0.5


def test_the_reference_of_a_still_is_any_other():
    pairs = collections.Counter(draw.random_pair(record(4), draw.seeded(i)) for i in range(1200))
    assert set(pairs) == {(r, t) for r in range(4) for t in range(4) if r != t}
    assert max(abs(n - 100) for n in pairs.values()) < 50


@pytest.mark.parametrize("fps", [0.0, 25.0])
def test_one_frame_is_its_own_reference(fps):
    assert draw.random_pair(record(1, fps), draw.seeded(0)) == (0, 0)
    assert draw.fixed_pairs(record(1, fps)) == [(0, 0)]


def test_fixed_pairs():
    assert draw.fixed_pairs(record(4)) == [(1, 0), (2, 1), (3, 2), (0, 3)]
    assert draw.fixed_pairs(record(9, 25.0)) == [(8, 0), (8, 4), (0, 8)]
    assert draw.fixed_pairs(record(2, 25.0)) == [(1, 0), (0, 1)]
    assert draw.fixed_pairs(record(9, 25.0), limit=1) == [(8, 4)]
    assert [target for _, target in draw.fixed_pairs(record(9), limit=5)] == [0, 2, 4, 6, 8]
    assert [target for _, target in draw.fixed_pairs(record(3), limit=50)] == [0, 1, 2]


def test_windows_lie_inside_and_their_reference_outside_if_it_can():
    starts = set()
    for i in range(300):
        reference, first = draw.random_window(record(12, 25.0), 8, draw.seeded(i))
        assert 0 <= first <= 4
        assert not first <= reference < first + 8
        assert 0 <= reference < 12
        starts.add(first)
    assert starts == set(range(5))
    reference, first = draw.random_window(record(8, 25.0), 8, draw.seeded(0))
    assert first == 0
    assert 0 <= reference < 8
    assert draw.fixed_window(record(12, 25.0), 8) == (11, 0)


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
    drawn = draw.pick(members, got, reference=1, first=4)
    assert set(drawn.members) == touched - {"json"} | {"audio.wav"}
    example = draw.decode(drawn)
    assert example.key == f"{sample.key}/0004"
    assert example.rgb_F3HW.shape == (1, 3, 32, 32)
    with pytest.raises(SchemaError, match=r"rgb\.0002\.jpg: a picture cannot be decoded"):
        draw.decode(draw.pick(members, got, reference=1, first=2))


def test_what_is_decoded_is_what_was_stored():
    sample = fakes.sample(frames=3, size_px=32)
    example = draw.decode(draw.pick(encoded(sample), sample.record, reference=2, first=1))
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


def examples(frames=1, fps=0.0, audio=False, **options):
    made = []
    for index in range(2):
        sample = fakes.sample(index=index, frames=4, size_px=32, fps=fps, **options)
        made.append(draw.decode(draw.pick(encoded(sample), sample.record, 3, 0, frames), audio))
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
    odd = draw.decode(draw.pick(encoded(sample), sample.record, 3, 0))
    with pytest.raises(SchemaError, match=r"pictures of \[16, 32\] pixels: give size_px"):
        draw.image_batch([*examples(), odd])


def test_a_clip_batch_has_one_range_a_clip():
    batch = draw.clip_batch(examples(frames=3, fps=25.0, audio=True))
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
    example = draw.decode(draw.pick(encoded(sample), sample.record, 0, first=2, frames=3), with_audio=True)
    np.testing.assert_allclose(example.audio.numpy(), sample.audio[2 * 640 : 5 * 640], atol=1 / 32767)


def test_short_sound_ends_in_silence_and_none_is_silence():
    sample = fakes.sample(frames=4, size_px=16, fps=25.0)
    members = encoded(sample)
    members["audio.wav"] = schema.encode_audio(sample.audio[:2000])
    example = draw.decode(draw.pick(members, sample.record, 0, 0, 4), with_audio=True)
    assert example.audio.shape == (2560,)
    assert example.audio[2000:].abs().max() == 0
    assert example.audio[:2000].abs().max() > 0.01
    silent = draw.clip_batch(examples(frames=4, fps=25.0, audio=True, sound=False))
    assert silent.has_audio.tolist() == [False, False]
    assert silent.audio.shape == (2, 2560)
    assert silent.audio.abs().max() == 0
