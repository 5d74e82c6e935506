"""Somebody talks: a take of head and face, and the sound that goes with it.

Shapes: F frames at 25 fps, N audio samples at 16 kHz, E expressions, S segments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_prep.head.mouth import Mouth
from data_prep.studio.motion import performance
from data_prep.studio.speech import corpus, espeak, lips, sound, visemes
from data_prep.studio.speech.espeak import Phoneme, SpeechError, Utterance, Voice
from data_prep.studio.speech.gestures import draw_gestures
from data_prep.studio.speech.voices import draw_language, draw_voice
from jdap.units import FPS, SAMPLE_RATE

#: Clips begin before the first sentence with this chance, so long before; else within it, this long before its end.
SILENT_START_CHANCE, SILENT_START_S, LEAST_S = 0.4, (0.05, 0.4), 0.8
#: Pauses between sentences, beside the one that the voice makes itself.
PAUSE_S = (0.0, 0.5)
#: What is said this long after the clip's end may move its last frames.
BEYOND_S = 1.0
#: No sentence of the corpus is shorter.
_SHORTEST_S = 0.6
_PAUSE = "_"
#: How the level of a closure is followed: over so long (two periods of a low voice), in such steps; a rise counts from
#: this factor on.
_LEVEL_S, _HOP_S, _RISE = 0.016, 0.002, 1.6


@dataclass(frozen=True, eq=False)
class Talk:
    """A clip of somebody who talks.

    * ``take``: F frames; ``audio_N`` float32 in [-1, 1], F / 25 s from the first frame on
    * ``text``: the words that are heard, whole or in part; ``language`` of :mod:`~data_prep.studio.speech.corpus`,
      ``voice``
    * ``phonemes`` from 0 to F / 25 s without gaps, pauses with an empty ``ipa``
    * ``opening_mm_F``: how far the lips' inner edges are apart, 0 or less where they touch
    """

    take: performance.Take
    audio_N: np.ndarray
    text: str
    language: str
    voice: Voice
    phonemes: tuple[Phoneme, ...]
    opening_mm_F: np.ndarray

    def record(self) -> dict[str, str]:
        """What the shard's record says of it; phonemes as ``ipa:start_ms`` words, ``_`` for a pause."""
        heard = " ".join(f"{p.ipa or _PAUSE}:{round(1000 * p.start_s)}" for p in self.phonemes)
        return {"text": self.text, "language": self.language, "voice": str(self.voice), "phonemes": heard}


def read_phonemes(stored: str, seconds: float) -> tuple[Phoneme, ...]:
    """The phonemes of a record (:meth:`Talk.record`) of a clip of so many seconds."""
    parts = [part.rpartition(":") for part in stored.split(" ")]
    starts = [int(ms) / 1000 for _, _, ms in parts]
    names = ["" if ipa == _PAUSE else ipa for ipa, _, _ in parts]
    return tuple(map(Phoneme, names, starts, [*starts[1:], seconds]))


@dataclass(frozen=True, eq=False)
class _Timeline:
    """Sentences one after the other, on the clock of the clip; ``loud_S`` the level of each segment's sound."""

    dry_N: np.ndarray
    phonemes: tuple[Phoneme, ...]
    segments: list[visemes.Segment]
    loud_S: np.ndarray
    words: list[str]
    questions_s: list[float]


def draw_talk(rng: np.random.Generator, mouth: Mouth, frames: int, size: int, split: str = "train") -> Talk:
    """Somebody with this mouth says sentences of ``split`` for ``frames`` frames of ``size`` pixels a side.

    A pure function of the generator's state and the arguments; a longer clip begins like a shorter one. Raises
    :class:`~data_prep.studio.speech.espeak.SpeechError` where speech cannot be made.
    """
    said, moved, gestured, heard = rng.spawn(4)
    seconds = frames / FPS
    language = draw_language(said)
    voice = draw_voice(said, language)
    sentences = corpus.sentences(language, split)
    order = said.permutation(len(sentences))
    count = int(np.ceil((seconds + LEAST_S + BEYOND_S) / _SHORTEST_S)) + 1
    spoken = espeak.speak([sentences[order[i % len(order)]] for i in range(count)], voice)
    timeline = _lay_out(said, spoken, seconds)

    tracks = performance.Tracks(moved, frames, moving=True)
    gestures = draw_gestures(gestured, timeline.segments, timeline.loud_S, timeline.questions_s, tracks.seconds)
    rotation = performance.to_axis_angle(performance.head_angles(tracks, sway=0.6) + gestures.angles_deg_F3)
    amounts: dict[str, np.ndarray] = {}
    performance.smiling(tracks, amounts, 0.4, 0.35)
    performance.brows(tracks, amounts)  # a wrinkled nose lifts the upper lip: before the lips are closed
    style = lips.draw_style(moved)
    amounts = lips.speak_face(mouth, style, timeline.segments, timeline.loud_S, tracks.seconds, amounts)
    for name, share in (("browInnerUp", 0.8), ("browOuterUp", 1.0)):
        tracks.pair(amounts, name, share * gestures.brow_F)
    performance.lids(tracks, amounts, np.maximum(tracks.blinks(), performance.blink(tracks.seconds, gestures.blinks_s)))
    performance.gaze(tracks, amounts, rotation)
    nothing = np.zeros(frames)
    amounts = {name: amounts.get(name, nothing) for name in mouth.names}
    take = performance.compose(tracks, mouth.names, amounts, rotation, size)
    return Talk(
        take=take,
        audio_N=sound.record(heard, timeline.dry_N),
        text=" ".join(timeline.words),
        language=language,
        voice=voice,
        phonemes=timeline.phonemes,
        opening_mm_F=mouth.opening_mm(take.expression_FE.astype(np.float64)).astype(np.float32),
    )


def _lay_out(rng: np.random.Generator, spoken: list[Utterance], seconds: float) -> _Timeline:
    """Place utterances one after the other, beginning before or within the first."""
    early, share, silence_s = rng.random() < SILENT_START_CHANCE, rng.random(), rng.uniform(*SILENT_START_S)
    start_s = silence_s if early else -share * max(spoken[0].seconds - LEAST_S, 0.0)
    dry = np.zeros(round(seconds * SAMPLE_RATE))
    phonemes, segments, louds, words, questions = list[Phoneme](), list[visemes.Segment](), [], list[str](), []
    if start_s > 0:
        phonemes.append(Phoneme("", 0.0, start_s))
        segments.append(replace(visemes.REST, start_s=-1.0, end_s=start_s))
        louds.append(np.ones(1))
    for utterance in spoken:
        samples = sound.samples(utterance)
        samples /= max(sound.speech_level(samples), 1e-6)
        _put(dry, samples, round(start_s * SAMPLE_RATE))
        own = visemes.segments(utterance.phonemes)
        louds.append(_loudness(own, samples))
        segments += [replace(s, parted_s=release_s(s, samples)).later(start_s) for s in own]
        phonemes += [Phoneme(p.ipa, p.start_s + start_s, p.end_s + start_s) for p in utterance.phonemes]
        words.append(_heard_text(utterance, start_s, seconds))
        last_s = max((p.end_s for p in utterance.phonemes if p.ipa), default=0.0)
        questions += [start_s + last_s] if utterance.text.endswith("?") else []
        end_s = start_s + utterance.seconds
        start_s = end_s + rng.uniform(*PAUSE_S)
        phonemes.append(Phoneme("", end_s, start_s))
        segments.append(replace(visemes.REST, start_s=end_s, end_s=start_s))
        louds.append(np.ones(1))
    if start_s < seconds + BEYOND_S:
        raise SpeechError(f"{len(spoken)} sentences last {start_s:.1f} s, less than the clip's {seconds:.1f} s")
    inside = [replace(p, start_s=max(p.start_s, 0.0), end_s=min(p.end_s, seconds)) for p in phonemes]
    inside = [p for p in inside if p.end_s > p.start_s]
    return _Timeline(dry, tuple(inside), segments, np.concatenate(louds), [w for w in words if w], questions)


def _put(into_N: np.ndarray, samples: np.ndarray, place: int) -> None:
    """Lay samples into an array from index ``place`` on, which may be negative or beyond its end."""
    low, high = max(place, 0), min(place + len(samples), len(into_N))
    if low < high:
        into_N[low:high] += samples[low - place : high - place]


def _loudness(segments: list[visemes.Segment], samples: np.ndarray) -> np.ndarray:
    """(S,) RMS of each segment's sound over the median vowel's."""
    edges = [(round(s.start_s * SAMPLE_RATE), round(s.end_s * SAMPLE_RATE)) for s in segments]
    # The last pause may be shorter than a sample, and begin after the last one.
    rms = np.array([np.sqrt(np.square(samples[a:b]).mean()) if a < min(b, len(samples)) else 0.0 for a, b in edges])
    vowels = [r for r, s in zip(rms, segments, strict=True) if s.viseme.vowel]
    return rms / max(np.median(vowels), 1e-6) if vowels else np.ones(len(segments))


def release_s(segment: visemes.Segment, samples: np.ndarray) -> float | None:
    """When a voiced closure bursts open: espeak's /m/ and /b/ go on into their vowel, by 10 to 50 ms.

    The first rise, in the second half, over the geometric mean of the closure's level and the loudest that follows in
    it; None for what is not a voiced closure, or does not rise.
    """
    if segment.viseme.shut < 1 or segment.viseme.released:
        return None
    starts = np.arange(segment.start_s, segment.end_s, _HOP_S)
    edges = np.round(np.stack([starts, starts + _LEVEL_S]) * SAMPLE_RATE).astype(int)
    level = np.array([np.sqrt(np.square(samples[a:b]).mean()) if a < len(samples) else 0.0 for a, b in edges.T])
    half = len(level) // 2
    closed, loudest = np.median(level[: half + 1]), level[half:].max()
    if loudest < _RISE * closed:
        return None
    return float(starts[half + np.argmax(level[half:] > np.sqrt(closed * loudest))])


def _heard_text(utterance: Utterance, start_s: float, seconds: float) -> str:
    """The words of an utterance that starts at ``start_s`` that sound between 0 and ``seconds``."""
    ends = [word.start_s for word in utterance.words[1:]] + [utterance.seconds]
    inside = [
        i
        for i, (word, end_s) in enumerate(zip(utterance.words, ends, strict=True))
        if start_s + end_s > 0 and start_s + word.start_s < seconds
    ]
    if not inside:
        return ""
    first, last = (0 if inside[0] == 0 else utterance.words[inside[0]].first), utterance.words[inside[-1]].last
    return utterance.text[first : None if inside[-1] == len(utterance.words) - 1 else last]
