"""What is heard: a voice by a rule and by silero-vad, loudness by BS.1770, and how far a voice stands out."""

import numpy as np
import pytest
from scipy.signal import freqz

from data_prep.choices import RULE, SILERO
from data_prep.clips import heard
from data_prep.clips.quality import clip_scores
from jdap.media.sound import first_seconds, open_sound


def test_a_voice_is_told_from_noise_and_silence() -> None:
    """A buzz of 120 Hz with its harmonics, in syllables, against white noise and nothing, one second each."""
    rng = np.random.default_rng(0)
    t = np.arange(16000) / 16000
    buzz = sum(np.sin(2 * np.pi * 120 * n * t) / n for n in range(1, 25))
    spoken = 0.1 * buzz * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * t))
    audio = np.concatenate([spoken, 0.05 * rng.standard_normal(16000), np.zeros(16000)]).astype(np.float32)
    voice = heard.voice(audio, 75)
    assert voice.shape == (75,)
    assert voice[:25].mean() > 0.7
    assert voice[28:].max() == 0
    assert heard.voice(audio[:100], 75).shape == (75,)  # a sound shorter than the pictures
    assert heard.voice(np.zeros(48000, np.float32), 75).max() == 0
    lips = np.zeros(75, np.float32)
    lips[10:20:2] = 4
    talking = heard.speech(voice, lips)
    assert talking[12] == 1
    assert talking[2:4].max() == 0
    assert talking[30:].max() == 0


#: The filters that BS.1770 lists, at 48 kHz.
AT_48_KHZ = (
    ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1, -1.69065929318241, 0.73248077421585]),
    ([1, -2, 1], [1, -1.99004745483398, 0.99007225036621]),
)


@pytest.mark.parametrize("hz", [40.0, 200.0, 997.0, 2500.0, 5000.0])
def test_loudness_of_tones_is_the_standards(hz: float) -> None:
    """A sine of full scale: -3.01 LUFS at 997 Hz, and elsewhere by the standard's filters, within 0.2 dB."""
    tone = np.sin(2 * np.pi * hz * np.arange(5 * 16000) / 16000).astype(np.float32)
    gain = np.prod([abs(freqz(b, a, [hz], fs=48000)[1][0]) for b, a in AT_48_KHZ])
    level = heard.loudness(tone, 125)
    assert level.shape == (125,)
    assert level[20:100] == pytest.approx(-0.691 - 3.0103 + 20 * np.log10(gain), abs=0.2)
    if hz == 997:
        assert level[50] == pytest.approx(-3.01, abs=0.05)
    assert heard.loudness(0.1 * tone, 125)[50] == pytest.approx(level[50] - 20, abs=0.01)


def test_silence_does_not_count_in_a_clips_loudness() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 997 * np.arange(5 * 16000) / 16000)
    audio = np.concatenate([tone, np.zeros(5 * 16000)]).astype(np.float32)
    level = heard.loudness(audio, 250)
    assert np.isnan(level[140:]).all()
    assert clip_scores({"loudness_lufs": level})["loudness_lufs"] == pytest.approx(-23.01, abs=0.3)
    assert "loudness_lufs" not in clip_scores({"loudness_lufs": heard.loudness(np.zeros(16000, np.float32), 25)})


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_a_voice_in_noise_stands_out_by_what_was_mixed(snr_db: float) -> None:
    rng = np.random.default_rng(1)
    voice = np.repeat([1, 0, 1, 0], 50).astype(np.float32)
    loud = np.repeat(voice, 640) * rng.standard_normal(200 * 640)
    audio = 0.1 * (loud + 10 ** (-snr_db / 20) * rng.standard_normal(200 * 640))
    assert heard.snr_db(audio.astype(np.float32), voice) == pytest.approx(snr_db, abs=0.5)
    assert heard.snr_db(audio.astype(np.float32), np.ones(200, np.float32)) is None
    assert heard.snr_db(0.1 * loud.astype(np.float32), voice) == heard.MOST_SNR_DB


def test_silero_hears_a_person_and_no_tone(assets) -> None:
    pytest.importorskip("silero_vad")
    detect = heard.voice_detector(SILERO)
    spoken = np.concatenate([*first_seconds(open_sound(assets / "audio" / "english_radio.wav").blocks(), 5)])
    t = np.arange(5 * 16000) / 16000
    music = sum(np.sin(2 * np.pi * 220 * n * t) / n for n in (1, 2, 3, 4)).astype(np.float32) / 3
    assert detect(spoken, 125).shape == (125,)
    assert detect(spoken, 125).mean() > 0.6
    assert detect(music, 125).mean() < 0.1
    assert heard.voice_detector(RULE)(music, 125).mean() > 0.9  # what the rule gets wrong
