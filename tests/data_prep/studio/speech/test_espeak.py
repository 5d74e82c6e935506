"""eSpeak NG: times that cover the sound, the same bytes everywhere, and clear errors. The corpus and its voices."""

import builtins
import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from data_prep.studio.speech import corpus, espeak, sound, visemes
from data_prep.studio.speech.espeak import SpeechError, Voice, speak
from data_prep.studio.speech.voices import LANGUAGES, SPEAKERS, draw_language, draw_voice
from jdap.units import SAMPLE_RATE

needs_espeak = pytest.mark.skipif(not espeak.available(), reason="espeakng-loader is not installed")
TEXTS = ("Papa bought a big map.", "Did Emma move the bamboo?")
VOICE = Voice("gmw/en-US", "f2")


def digest(spoken):
    return [hashlib.sha256(u.pcm).hexdigest() for u in spoken]


@needs_espeak
class TestSpeaking:
    def test_phonemes_are_in_order_and_cover_the_sound(self):
        for utterance in speak(TEXTS, VOICE):
            times = [(p.start_s, p.end_s) for p in utterance.phonemes]
            assert times[0][0] == 0
            assert times[-1][1] == pytest.approx(utterance.seconds)
            assert all(a[1] == b[0] for a, b in pairwise(times))
            assert all(start < end for start, end in times)
            assert 1.0 < utterance.seconds < 4.0

    def test_says_the_sounds_of_the_words(self):
        papa, emma = speak(TEXTS, VOICE)
        heard = [[s for p in u.phonemes for s in visemes.spell(p.ipa)] for u in (papa, emma)]
        assert [c for c in heard[0] if c in "pbmt"] == list("ppbtbmp")
        assert heard[1].count("m") == 3
        assert max(visemes.STRESS.get(p.ipa[:1], 0) for p in papa.phonemes) == 1
        assert [papa.text[w.first : w.last] for w in papa.words] == ["Papa", "bought", "a", "big", "map"]
        starts = [w.start_s for w in papa.words]
        assert starts == sorted(starts)

    def test_vowels_are_louder_than_closures(self):
        """The events are times of this sound: what they call a vowel is loud, what they call a pause silent."""
        (utterance,) = speak(TEXTS[:1], VOICE)
        samples = sound.samples(utterance)

        def level(phoneme):
            a, b = round(phoneme.start_s * SAMPLE_RATE), round(phoneme.end_s * SAMPLE_RATE)
            return float(np.sqrt(np.square(samples[a:b]).mean())) if b > a + 100 else None

        vowels = [level(p) for p in utterance.phonemes if p.ipa.startswith("ˈ")]
        pauses = [x for p in utterance.phonemes if not p.ipa and (x := level(p)) is not None]
        assert min(vowels) > 10 * max(pauses)

    def test_is_a_pure_function_across_processes_and_calls(self):
        code = (
            "import hashlib; from data_prep.studio.speech.espeak import speak, Voice\n"
            f"print([hashlib.sha256(u.pcm).hexdigest() for u in speak({TEXTS!r}, Voice('gmw/en-US', 'f2'))])"
        )
        root = Path(__file__).parents[4]
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
        speak(("Something else before.",), Voice("gmw/de", "m3"))
        assert str(digest(speak(TEXTS, VOICE))) == other.stdout.strip()
        assert digest(speak(TEXTS[:1], VOICE)) == digest(speak(TEXTS, VOICE))[:1], "what follows changes nothing before"

    def test_voices_differ(self):
        voices = [VOICE, Voice("gmw/en-US", "m3"), Voice("gmw/en-US", "f2", 140), Voice("gmw/en-US", "f2", 175, 70)]
        spoken = [speak(TEXTS[:1], voice)[0] for voice in voices]
        assert len({u.pcm for u in spoken}) == 4
        assert spoken[2].seconds > 1.1 * spoken[0].seconds

    @pytest.mark.parametrize(
        ("voice", "named"), [(Voice("gmw/xx", "f2"), "'xx'"), (Voice("gmw/en-US", "nobody"), "'nobody'")]
    )
    def test_an_unknown_voice_is_one_line_that_names_it(self, voice, named):
        with pytest.raises(SpeechError, match=f"has no .* {named}; there are: .*(en-US|f2)") as error:
            speak(TEXTS, voice)
        assert "\n" not in str(error.value)

    def test_an_answer_of_the_library_that_is_an_error_is_told(self, monkeypatch):
        monkeypatch.setattr("espeakng_loader.get_library_path", lambda: "/nowhere/libespeak-ng.so")
        with pytest.raises(SpeechError, match=r"nowhere.*pip install 'jdap\[speech\]'"):
            speak(TEXTS, VOICE)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SpeechError, match=r"pip install 'jdap\[speech\]'"):
        speak(TEXTS, VOICE)


class TestCorpus:
    def test_splits_share_no_sentence_and_are_the_whole(self):
        for language in corpus.languages():
            parts = [corpus.sentences(language, split) for split in corpus.SPLITS]
            whole = [sentence for part in parts for sentence in part]
            assert len(set(whole)) == len(whole) >= 20
            assert all(len(part) >= 2 for part in parts)
            assert len(parts[0]) >= 0.8 * len(whole)

    def test_english_has_many_closures_and_kinds_of_sentence(self):
        english = [s for split in corpus.SPLITS for s in corpus.sentences("en", split)]
        assert 60 <= len(english) <= 100
        assert sum(any(c in s.lower() for c in "pbm") for s in english) > 0.8 * len(english)
        assert sum(s.endswith("?") for s in english) >= 10
        assert sum("!" in s for s in english) >= 5

    def test_what_there_is_not_is_named(self):
        with pytest.raises(SpeechError, match=r"'xx'.*en, de"):
            corpus.sentences("xx", "train")
        with pytest.raises(SpeechError, match=r"'all'.*train, val, test"):
            corpus.sentences("en", "all")

    @needs_espeak
    @pytest.mark.slow
    def test_every_sound_of_it_has_a_viseme(self):
        assert set(LANGUAGES) == set(corpus.languages())
        for language, (_, accents) in LANGUAGES.items():
            texts = [s for split in corpus.SPLITS for s in corpus.sentences(language, split)]
            for accent in accents:
                for utterance in speak(texts, Voice(accent, "f2", 450)):
                    assert len(visemes.segments(utterance.phonemes)) >= len(utterance.phonemes)

    def test_voices_are_drawn_in_many_kinds(self):
        rng = np.random.default_rng(0)
        languages = [draw_language(rng) for _ in range(300)]
        assert set(languages) == set(LANGUAGES)
        assert 0.35 < languages.count("en") / 300 < 0.57
        voices = [draw_voice(rng, language) for language in languages]
        assert {v.variant for v in voices} == set(SPEAKERS)
        rates = [v.rate_wpm for v in voices]
        assert min(rates) >= 115
        assert max(rates) <= 215
        assert np.std(rates) > 12

    def test_an_unknown_sound_is_named(self):
        with pytest.raises(SpeechError, match="no viseme for 'ʘ'"):
            visemes.spell("ˈaʘ")
        assert visemes.spell("ˈɑː") == ["ɑ"]
        assert visemes.spell("tʃ") == ["t", "ʃ"]
        assert visemes.spell("ɛ̃ʲ") == ["ɛ"]
        assert visemes.spell("ç") == ["ç"]


class TestSound:
    def utterance(self, pcm):
        return espeak.Utterance("", 22050, pcm.astype("<i2").tobytes(), (), ())

    def test_resampling_keeps_time_and_level(self):
        click = np.zeros(22050)
        click[11025] = 30000
        found = sound.samples(self.utterance(click))
        assert len(found) == SAMPLE_RATE
        assert abs(int(np.abs(found).argmax()) - SAMPLE_RATE // 2) <= 1
        tone = 10000 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
        middle = sound.samples(self.utterance(tone))[4000:12000]
        assert np.sqrt(np.square(middle).mean()) == pytest.approx(10000 / 32768 / 2**0.5, rel=0.01)

    def test_rooms_and_noise_neither_delay_nor_clip(self):
        dry = np.zeros(16000)
        dry[4000:6000] = np.sin(2 * np.pi * 300 * np.arange(2000) / 16000)
        levels = []
        for seed in range(20):
            heard = sound.record(np.random.default_rng(seed), dry)
            assert heard.dtype == np.float32
            assert heard.shape == dry.shape
            assert np.abs(heard).max() <= 1
            assert np.abs(heard[:4000]).max() < 0.25 * np.abs(heard[4000:4200]).max(), "nothing before the sound"
            np.testing.assert_array_equal(heard, sound.record(np.random.default_rng(seed), dry))
            levels.append(20 * np.log10(np.sqrt(np.square(heard[4000:6000], dtype=float).mean())))
        assert np.ptp(levels) > 5
