"""The mouth of those who talk: shut for p b m on the mesh, open for a, in time with the sound."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.head.model import head_to_camera
from data_prep.head.mouth import LIPS_INNER, measure_mouth
from data_prep.studio.speech import espeak, lips, talk
from data_prep.studio.speech.espeak import Phoneme
from data_prep.studio.speech.visemes import VISEMES, Segment, segments, spell
from jdap.shape.rasterise import rasterise
from jdap.units import FPS, SAMPLE_RATE

SEEDS = range(12)
FRAMES = 75
needs_espeak = pytest.mark.skipif(not espeak.available(), reason="espeakng-loader is not installed")


def identity(seed):
    return np.random.default_rng(1000 + seed).standard_normal(100).clip(-2, 2).astype(np.float32)


@pytest.fixture(scope="module")
def talks(model):
    """Clips of three seconds of people who talk."""
    draws = [(seed, measure_mouth(model, identity(seed))) for seed in SEEDS]
    return [talk.draw_talk(np.random.default_rng(seed), mouth, FRAMES, 64) for seed, mouth in draws]


def lip_gap_mm(model, identity_K, expression_FE):
    """(F,) by the whole mesh: the widest vertical gap between facing vertices of the lips' inner edges."""
    vertices = model.vertices(torch.from_numpy(identity_K)[None], torch.from_numpy(expression_FE))
    upper, lower = [LIPS_INNER[i] for i in (1, 2, 3)], [LIPS_INNER[i] for i in (7, 6, 5)]
    return (vertices[:, upper, 1] - vertices[:, lower, 1]).amax(1).numpy()


def seen_inside_mm2(model, identity_K, expression_E):
    """Area through which the inside of the mouth (teeth, tongue, gums) is seen from the front, by rendering."""
    size, f = 128, 128 * 8.0
    drawn = model.drawn()
    vertices = model.vertices(torch.from_numpy(identity_K)[None], torch.from_numpy(expression_E)[None])
    middle = vertices[0, [LIPS_INNER[2], LIPS_INNER[6]]].mean(0)
    at = torch.stack([-middle[0], middle[1], middle.new_tensor(900.0)])[None]
    camera = torch.tensor([[f, size / 2, size / 2]])
    found = rasterise(head_to_camera(vertices, torch.zeros(1, 3), at), drawn.faces_T3, camera, size, size)
    inside = drawn.part("teeth", "gums_tongue", "mouth_socket")[found.face[0][found.mask[0]]]
    return float(inside.sum()) * (800 / f) ** 2


def heard(phonemes, symbols):
    return [p for p in phonemes if any(c in symbols for c in spell(p.ipa))]


def frames_of(start_s, end_s):
    """The frames that are taken from ``start_s`` to ``end_s``, of those in the clip."""
    return [i for i in range(FRAMES) if start_s <= i / FPS <= end_s]


@needs_espeak
class TestClosing:
    def test_lips_are_shut_for_p_b_m(self, talks, model):
        """Of every bilabial that is whole in the clip a frame is shut, on the mesh: below a millimetre, most touch."""
        gaps, languages = [], set()
        for seed, one in zip(SEEDS, talks, strict=True):
            gap = lip_gap_mm(model, identity(seed), one.take.expression_FE)
            for sound in heard(one.phonemes, "pbm"):
                near = frames_of(sound.start_s - 0.05, sound.end_s)
                if sound.start_s > 0.06 and sound.end_s < FRAMES / FPS - 0.01:
                    gaps.append(min(gap[near]))
                    languages.add(one.language)
        assert len(gaps) > 40
        assert len(languages) >= 3
        assert max(gaps) < 1.0
        assert np.mean(np.array(gaps) < 0.01) > 0.95

    def test_shut_lips_hide_the_inside_and_open_ones_show_it(self, talks, model):
        """The same by pictures: no tooth is seen where the curve says shut, much of the mouth where it says open."""
        for seed, one in list(zip(SEEDS, talks, strict=True))[:5]:
            shut, opened = one.opening_mm_F.argmin(), one.opening_mm_F.argmax()
            assert seen_inside_mm2(model, identity(seed), one.take.expression_FE[shut]) < 3
            assert seen_inside_mm2(model, identity(seed), one.take.expression_FE[opened]) > 100

    def test_open_vowels_open(self, talks):
        """Stressed /a/ of some length: several millimetres; /i/ and /u/ much less."""

        def widest(symbols):
            return [
                one.opening_mm_F[frames_of(p.start_s, p.end_s)].max()
                for one in talks
                for p in heard(one.phonemes, symbols)
                if p.end_s - p.start_s > 0.08 and p.start_s > 0 and p.end_s < FRAMES / FPS
            ]

        a, close = widest("aɑæ"), widest("iuy")
        assert len(a) > 20
        assert np.quantile(a, 0.1) > 4
        assert 6 < np.median(a) < 16
        assert max(a) < 22
        assert np.median(close) < 0.6 * np.median(a)

    def test_opening_of_vowels_goes_with_the_energy(self, talks):
        """Over all frames of a clip: louder is wider."""
        correlations = []
        for one in talks:
            power = np.square(one.audio_N[: FRAMES * 640], dtype=float).reshape(FRAMES, 640).mean(1)
            db = 10 * np.log10(power + 1e-7)
            # A frame is the picture at its start, sound the 40 ms around it.
            correlations.append(np.corrcoef((db[1:] + db[:-1]) / 2, one.opening_mm_F[1:])[0, 1])
        assert np.median(correlations) > 0.35
        assert min(correlations) > 0

    def test_the_stored_opening_is_that_of_the_mesh(self, talks, model):
        for seed, one in zip(SEEDS, talks, strict=True):
            measured = lip_gap_mm(model, identity(seed), one.take.expression_FE)
            np.testing.assert_allclose(one.opening_mm_F, measured, atol=2e-3)


@needs_espeak
class TestClip:
    def test_sound_and_frames_are_equally_long_and_within_range(self, talks):
        for one in talks:
            assert one.audio_N.shape == (FRAMES * SAMPLE_RATE // 25,)
            assert one.audio_N.dtype == np.float32
            assert 0.01 < np.abs(one.audio_N).max() <= 1
            assert one.take.expression_FE.shape[0] == FRAMES
            assert one.take.expression_FE.min() >= 0
            assert one.take.expression_FE.max() <= 1
            assert one.phonemes[0].start_s == 0
            assert one.phonemes[-1].end_s == pytest.approx(FRAMES / FPS)
            assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(one.phonemes))
            assert one.text

    def test_first_sound_and_first_opening_agree(self, model):
        """From silence, the first frame with an open mouth is the one at which the vowel of 'papa' has begun."""
        mouth = measure_mouth(model, identity(0))
        style = lips.Style(1, 1, 1, 1, 0)
        (papa,) = espeak.speak(["Papa."], espeak.Voice("gmw/en-US", "m3"))
        samples = talk.sound.samples(papa)
        onset_s = np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())[0] / SAMPLE_RATE
        found = segments(papa.phonemes)
        fine = np.arange(0, papa.seconds, 0.001)
        face = lips.speak_face(mouth, style, found, np.ones(len(found)), fine, {})
        amounts = np.stack([face.get(name, np.zeros(len(fine))) for name in mouth.names], -1)
        opens_s = fine[np.flatnonzero(mouth.opening_mm(amounts) > 1.5)[0]]
        assert abs(opens_s - onset_s) < 0.04, "within a frame"

    @pytest.mark.slow
    def test_is_a_pure_function_across_processes(self, talks, model, tmp_path):
        mouth = measure_mouth(model, identity(3))
        np.savez(tmp_path / "mouth.npz", rest=mouth.rest_mm_3, opens=mouth.opens_mm_E3, names=np.array(mouth.names))
        code = (
            "import hashlib, sys; import numpy as np\n"
            "from data_prep.head.mouth import Mouth; from data_prep.studio.speech import talk\n"
            "m = np.load(sys.argv[1]); mouth = Mouth(tuple(m['names'].tolist()), m['rest'], m['opens'])\n"
            "t = talk.draw_talk(np.random.default_rng(3), mouth, 75, 64)\n"
            "h = hashlib.sha256(t.audio_N.tobytes() + t.take.expression_FE.tobytes() + t.take.rotation_F3.tobytes())\n"
            "print(h.hexdigest(), t.record())"
        )
        root = Path(__file__).parents[4]
        asked = [sys.executable, "-c", code, str(tmp_path / "mouth.npz")]
        other = subprocess.run(asked, capture_output=True, text=True, cwd=root, check=True).stdout.strip()
        arrays = (talks[3].audio_N, talks[3].take.expression_FE, talks[3].take.rotation_F3)
        here = hashlib.sha256(b"".join(array.tobytes() for array in arrays))
        assert other == f"{here.hexdigest()} {talks[3].record()}"

    def test_a_longer_clip_begins_like_a_shorter_one(self, talks, model):
        mouth = measure_mouth(model, identity(4))
        short = talk.draw_talk(np.random.default_rng(4), mouth, 30, 64)
        np.testing.assert_allclose(short.take.expression_FE, talks[4].take.expression_FE[:30], atol=1e-5)
        np.testing.assert_allclose(short.take.rotation_F3, talks[4].take.rotation_F3[:30], atol=1e-5)
        np.testing.assert_allclose(short.audio_N, talks[4].audio_N[: 30 * 640], atol=1e-5)

    def test_splits_say_different_things(self, model):
        mouth = measure_mouth(model, identity(0))
        said = [talk.draw_talk(np.random.default_rng(0), mouth, 50, 64, split).text for split in ("train", "test")]
        assert said[0] != said[1]

    def test_the_record_reads_back(self, talks):
        stored = talks[0].record()
        assert set(stored) == {"text", "language", "voice", "phonemes"}
        back = talk.read_phonemes(stored["phonemes"], FRAMES / FPS)
        assert [p.ipa for p in back] == [p.ipa for p in talks[0].phonemes]
        np.testing.assert_allclose([p.start_s for p in back], [p.start_s for p in talks[0].phonemes], atol=5e-4)

    def test_heads_and_lids_move_smoothly(self, talks, model):
        blinks = 0
        for one in talks:
            assert np.rad2deg(np.abs(np.diff(one.take.rotation_F3, axis=0))).max() < 2.5
            lid = one.take.expression_FE[:, model.expression_names.index("eyeBlink_L")]
            blinks += (np.diff((lid > 0.7).astype(int)) == 1).sum()
        seconds = len(talks) * FRAMES / FPS
        assert 0.2 < blinks / seconds < 1.2


class TestCurves:
    """Without espeak: sounds by hand."""

    def face(self, model, sounds, time_F, rest=1.0):
        mouth = measure_mouth(model, identity(1))
        found, start = [], 0.0
        for symbol, seconds in sounds:
            found += segments((Phoneme(symbol, start, start + seconds),))
            start += seconds
        style = lips.Style(1, 1, 1, rest, 0)
        face = lips.speak_face(mouth, style, found, np.ones(len(found)), np.asarray(time_F), {})
        amounts = np.stack([face.get(name, np.zeros(len(time_F))) for name in mouth.names], -1)
        return face, mouth.opening_mm(amounts)

    def test_a_closure_reaches_a_frame_wherever_it_falls(self, model):
        """However the frames fall on a closure of 30 ms, one of them is shut, and the vowel opens again."""
        for offset in np.arange(0, 0.04, 0.005):
            _, opening = self.face(model, [("a", 0.2), ("b", 0.03), ("a", 0.2)], offset + np.arange(10) / 25)
            assert opening.min() < 0
            assert opening[-2:].max() > 4
            assert opening[:3].max() > 4

    def test_lips_round_ahead_of_a_rounded_vowel(self, model):
        time = np.arange(0, 0.5, 0.01)
        with_u, _ = self.face(model, [("ɪ", 0.15), ("s", 0.1), ("u", 0.2)], time)
        with_i, _ = self.face(model, [("ɪ", 0.15), ("s", 0.1), ("i", 0.2)], time)
        more = with_u["mouthPucker"] - with_i["mouthPucker"]
        assert more[15:25].mean() > 0.1, "in the s already"
        assert more[30:40].mean() > 0.4
        assert more[0] < 0.1

    def test_loud_and_stressed_is_wider(self, model):
        mouth = measure_mouth(model, identity(1))
        jaw = []
        for stress, loud in ((0.0, 0.7), (1.0, 0.7), (1.0, 1.4)):
            one = [Segment(VISEMES["a"], 0.0, 0.2, stress)]
            style = lips.Style(1, 1, 1, 1, 0)
            jaw.append(lips.speak_face(mouth, style, one, np.array([loud]), np.array([0.1]), {})["jawOpen"][0])
        assert jaw[0] * 1.1 < jaw[1] < jaw[2] / 1.1

    def test_a_pause_shuts_the_lips_as_far_as_they_rest(self, model):
        _, shut = self.face(model, [("a", 0.2), ("", 0.8), ("a", 0.2)], [0.6])
        _, parted = self.face(model, [("a", 0.2), ("", 0.8), ("a", 0.2)], [0.6], rest=0.5)
        assert shut[0] < 0 < parted[0] < 3

    def test_a_smile_does_not_keep_lips_from_closing(self, model):
        mouth = measure_mouth(model, identity(2))
        closure = [Segment(VISEMES["a"], 0, 0.2), Segment(VISEMES["m"], 0.2, 0.3), Segment(VISEMES["a"], 0.3, 0.5)]
        mood = {name: np.full(1, 0.6) for name in ("mouthSmile_L", "mouthSmile_R", "mouthUpperUp_L", "mouthUpperUp_R")}
        face = lips.speak_face(mouth, lips.Style(1, 1, 1, 1, 0), closure, np.ones(3), np.array([0.25]), mood)
        amounts = np.array([[face[name][0] if name in face else 0.0 for name in mouth.names]])
        assert mouth.opening_mm(amounts)[0] < 0
        assert face["mouthSmile_L"][0] == 0.6
