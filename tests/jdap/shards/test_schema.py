import io
import wave

import numpy as np
import pytest
from PIL import Image

from jdap.shards import schema
from jdap.shards.schema import Record, SchemaError


def record(**changes) -> Record:
    values = {"clip_id": "c", "person_id": "p", "depth_source": "studio", "frames": 2, "size_px": 8, "fps": 25.0}
    return Record(**values | changes)


def arrays(frames: int = 2, **changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {"camera_px": (3,), "rotation": (3,), "translation_mm": (3,), "identity": (7,), "expression": (5,)}
    values = {name: rng.standard_normal((frames, *size)).astype(np.float32) for name, size in sizes.items()}
    return {k: v for k, v in (values | changes).items() if v is not None}


class TestRecord:
    def test_it_comes_back(self):
        one = record(first_frame=50, scores={"blur": [0.1, 0.2]}, software={"jdap": "0.1.0"}, source="a.mp4")
        assert Record.from_json(one.to_json()) == one

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"schema_version": 4}, "schema version 4 is not 1 or 3"),
            ({"depth_source": "lidar"}, "depth_source must be one of"),
            ({"frames": 0}, "must be positive"),
            ({"size_px": -1}, "must be positive"),
            ({"fps": -25.0}, "not negative"),
            ({"clip_id": "a.b"}, "must hold neither"),
            ({"clip_id": "a/b"}, "must hold neither"),
        ],
    )
    def test_what_breaks_the_contract_is_refused(self, changes, says):
        with pytest.raises(SchemaError, match=says):
            record(**changes)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda d: d | {"schema_version": 4}, "schema version 4 is not 1 or 3"),
            (lambda d: {k: v for k, v in d.items() if k != "schema_version"}, "schema version None"),
            (lambda d: {k: v for k, v in d.items() if k != "fps"}, r"differ from the schema: \['fps'\]"),
            (lambda d: d | {"colour": "red"}, r"differ from the schema: \['colour'\]"),
            (lambda d: d | {"frames": "two"}, "wrong type"),
            (lambda d: [d], "must be a JSON object, got list"),
            (lambda d: None, "must be a JSON object, got NoneType"),
        ],
    )
    def test_other_json_is_refused(self, change, says):
        with pytest.raises(SchemaError, match=says):
            Record.from_json(change(record().to_json()))


def test_member_names():
    assert schema.frame_member("rgb", 3) == "rgb.0003.jpg"
    assert schema.frame_member("depth", 12) == "depth.0012.png"
    assert schema.frame_member("meanhead", 9999) == "meanhead.9999.png"


class TestPictures:
    @pytest.mark.parametrize("size", [64, 200, 256, 300])
    def test_noise_has_a_file_too(self, size):
        noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        assert np.abs(schema.decode_rgb(schema.encode_rgb(noise)).astype(int) - noise).mean() < 8

    def test_rgb_is_nearly_what_it_was_and_keeps_its_chroma(self):
        v, u = np.mgrid[:32, :32]
        rgb = np.stack([u * 8, v * 8, 255 - u * 4 - v * 4], -1).astype(np.uint8)
        data = schema.encode_rgb(rgb)
        assert np.abs(schema.decode_rgb(data).astype(int) - rgb).max() <= 6
        # No chroma subsampling: all three components are sampled alike.
        assert {layer[1:3] for layer in Image.open(io.BytesIO(data)).layer} == {(1, 1)}

    def test_depth_is_exact_over_all_16_bits(self):
        tenths = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        back = schema.decode_depth(schema.encode_depth(tenths))
        assert back.dtype == np.uint16
        np.testing.assert_array_equal(back, tenths)

    def test_depth_files_are_16_bit_png(self):
        data = schema.encode_depth(np.zeros((4, 4), np.uint16))
        # PNG, IHDR: bit depth 16, colour type 0 (grey).
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert tuple(data[24:26]) == (16, 0)

    def test_skin_is_exact_and_one_bit(self):
        skin = np.random.default_rng(0).random((33, 33)) < 0.5
        data = schema.encode_skin(skin)
        assert tuple(data[24:26]) == (1, 0)
        np.testing.assert_array_equal(schema.decode_skin(data), skin)

    def test_depth_of_another_type_is_refused(self):
        with pytest.raises(SchemaError, match="uint16"):
            schema.encode_depth(np.zeros((4, 4), np.float32))
        with pytest.raises(SchemaError, match="16-bit PNG, got mode RGB"):
            schema.decode_depth(schema.encode_rgb(np.zeros((4, 4, 3), np.uint8)))

    def test_confidence_is_right_to_half_a_step_and_refused_outside(self):
        confidence = np.random.default_rng(0).random((33, 33), np.float32)
        back = schema.decode_confidence(schema.encode_confidence(confidence))
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, confidence, atol=0.5 / 255 + 1e-6)
        for bad in (-0.01, 1.01, np.nan):
            with pytest.raises(SchemaError, match=r"confidence must lie in \[0, 1\]"):
                schema.encode_confidence(np.full((4, 4), bad, np.float32))
        with pytest.raises(SchemaError, match="8-bit grey"):
            schema.decode_confidence(schema.encode_depth(np.ones((4, 4), np.uint16)))

    @pytest.mark.parametrize("decode", [schema.decode_rgb, schema.decode_depth, schema.decode_skin])
    def test_damaged_pictures_are_refused(self, decode):
        noise = np.random.default_rng(0).integers(0, 65535, (64, 64)).astype(np.uint16)
        whole = schema.encode_depth(noise)
        for data in (b"", b"no picture at all", whole[:40], whole[: len(whole) // 2]):
            with pytest.raises(SchemaError, match="a picture cannot be decoded"):
                decode(data)


class TestArrays:
    def test_they_come_back(self):
        given = arrays(landmarks_px=np.ones((2, 478, 2), np.float32))
        back = schema.decode_arrays(schema.encode_arrays(given, 2), 2)
        assert set(back) == set(given)
        for name, array in given.items():
            np.testing.assert_array_equal(back[name], array)

    def test_views_are_stored_as_what_they_show(self):
        whole = np.arange(12, dtype=np.float32).reshape(4, 3)
        given = arrays(camera_px=whole[::2], rotation=np.broadcast_to(whole[:1], (2, 3)))
        back = schema.decode_arrays(schema.encode_arrays(given, 2), 2)
        np.testing.assert_array_equal(back["camera_px"], [[0, 1, 2], [6, 7, 8]])
        np.testing.assert_array_equal(back["rotation"], [[0, 1, 2], [0, 1, 2]])

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"rotation": None}, r"missing \['rotation'\]"),
            ({"mood": np.zeros((2, 1), np.float32)}, r"unknown \['mood'\]"),
            ({"camera_px": np.zeros((3, 3), np.float32)}, "camera_px must be finite float32"),
            ({"camera_px": np.zeros((2, 4), np.float32)}, "camera_px must be finite float32"),
            ({"camera_px": np.zeros((2, 3))}, "got float64"),
            ({"identity": np.full((2, 7), np.nan, np.float32)}, "identity must be finite"),
            ({"landmarks_px": np.zeros((2, 478, 3), np.float32)}, "landmarks_px must be"),
            ({"expression": np.zeros(2, np.float32)}, "expression must be"),
        ],
    )
    def test_what_breaks_the_contract_is_refused(self, changes, says):
        with pytest.raises(SchemaError, match=says):
            schema.encode_arrays(arrays(**changes), 2)

    def test_damaged_files_are_refused(self):
        data = schema.encode_arrays(arrays(), 2)
        for bad in (b"", data[:20], data[:-4]):
            with pytest.raises(SchemaError, match=r"arrays\.safetensors"):
                schema.decode_arrays(bad, 2)
        with pytest.raises(SchemaError, match="must be finite float32"):
            schema.decode_arrays(data, 3)


class TestAudio:
    def test_it_comes_back_to_16_bits(self):
        audio = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
        np.testing.assert_allclose(schema.decode_audio(schema.encode_audio(audio)), audio, atol=0.5001 / 32767)

    def test_the_loudest_stay_in_range(self):
        back = schema.decode_audio(schema.encode_audio(np.array([-2, -1, 0, 1, 2], np.float32)))
        np.testing.assert_array_equal(back, [-1, -1, 0, 1, 1])

    def test_python_reads_it(self):
        with wave.open(io.BytesIO(schema.encode_audio(np.zeros(160, np.float32)))) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            assert file.getnframes() == 160

    @pytest.mark.parametrize(("rate", "channels", "width"), [(44100, 1, 2), (16000, 2, 2), (16000, 1, 1)])
    def test_other_formats_are_refused(self, rate, channels, width):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setframerate(rate)
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.writeframes(b"\0" * 64)
        with pytest.raises(SchemaError, match="mono 16-bit PCM at 16 kHz"):
            schema.decode_audio(buffer.getvalue())

    @pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound" * 10])
    def test_damaged_files_are_refused(self, data):
        with pytest.raises(SchemaError, match=r"audio\.wav cannot be read"):
            schema.decode_audio(data)
