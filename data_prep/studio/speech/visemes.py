"""What the mouth does for each sound: targets of ARKit's expressions, and how firmly a sound insists on them.

A target is where the mouth would go if the sound lasted; how far it gets is a matter of the sounds around
(:mod:`data_prep.studio.speech.lips`). Amounts were set on the mesh of ICT-FaceKit by its opening between the lips: at
full strength ``jawOpen`` opens 33 mm, ``mouthFunnel`` 14, ``mouthLowerDown`` and ``mouthUpperUp`` 7; speech opens 2 to
14.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from data_prep.studio.speech.espeak import Phoneme, SpeechError

#: Expressions that sounds aim at, with ``_L`` and ``_R`` where ARKit has both; the jaw first.
VISEME_TARGETS = ("jawOpen", "mouthPucker", "mouthFunnel", "mouthStretch", "mouthLowerDown", "mouthUpperUp")
STRESS = {"ˈ": 1.0, "ˌ": 0.5}


@dataclass(frozen=True)
class Viseme:
    """A posture of the mouth.

    * amounts of :data:`VISEME_TARGETS`, 0 … 1
    * ``jaw_hold``, ``lip_hold``: the dominance over the neighbours' jaw and lips, 0 (takes theirs) …
    * ``shut``: how much of the lips' opening is closed, 1 for a full closure; ``bite``: 1 where the lower lip meets
      the upper teeth
    * ``released``: the closure is silence before the sound's start, as espeak times voiceless stops
    """

    jaw: float = 0.0
    pucker: float = 0.0
    funnel: float = 0.0
    stretch: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    jaw_hold: float = 1.0
    lip_hold: float = 1.0
    shut: float = 0.0
    bite: float = 0.0
    released: bool = False
    vowel: bool = False

    @property
    def targets(self) -> tuple[float, ...]:
        """The amounts, in the order of :data:`VISEME_TARGETS`."""
        return (self.jaw, self.pucker, self.funnel, self.stretch, self.lower, self.upper)


def _vowel(jaw: float, pucker: float = 0.0, funnel: float = 0.0, stretch: float = 0.0) -> Viseme:
    return Viseme(jaw, pucker, funnel, stretch, jaw_hold=1.0, lip_hold=1.0 if pucker else 0.6, vowel=True)


_STOP = Viseme(jaw=0.04, jaw_hold=0.5, lip_hold=0.1, shut=1.0)
_TIP = Viseme(jaw=0.06, lower=0.05, jaw_hold=0.6, lip_hold=0.12)
_BACK = Viseme(jaw=0.10, jaw_hold=0.2, lip_hold=0.05)
_HISS = Viseme(jaw=0.03, stretch=0.12, lower=0.14, upper=0.08, jaw_hold=2.0, lip_hold=0.5)
_HUSH = Viseme(jaw=0.04, pucker=0.35, funnel=0.3, jaw_hold=2.0, lip_hold=1.2)

#: IPA symbol -> viseme; the symbols of one row look alike.
_SOUNDS: tuple[tuple[str, Viseme], ...] = (
    ("aɑɶ", _vowel(0.31)),
    ("ɐ", _vowel(0.24)),
    ("æ", _vowel(0.29, stretch=0.15)),
    ("ʌ", _vowel(0.24)),
    ("ɒ", _vowel(0.27, 0.15, 0.15)),
    ("ɛ", _vowel(0.22, stretch=0.15)),
    ("eᵻ", _vowel(0.16, stretch=0.2)),
    ("ɜɚɝ", _vowel(0.18, 0.2, 0.05)),
    ("əɘɨ", _vowel(0.14)),
    ("i", _vowel(0.07, stretch=0.35)),
    ("ɪ", _vowel(0.11, stretch=0.2)),
    ("ɔ", _vowel(0.22, 0.3, 0.22)),
    ("oɵ", _vowel(0.14, 0.55, 0.25)),
    ("øœ", _vowel(0.14, 0.55, 0.2)),
    ("uyʉ", _vowel(0.06, 0.85, 0.12)),
    ("ʊʏ", _vowel(0.09, 0.6, 0.1)),
    ("wɥʍ", Viseme(0.04, 0.9, 0.06, jaw_hold=1.0, lip_hold=2.0)),
    ("p", Viseme(0.04, jaw_hold=0.5, lip_hold=0.1, shut=1.0, released=True)),
    ("bmɓ", _STOP),
    ("βɸ", Viseme(jaw=0.05, jaw_hold=0.5, lip_hold=0.1, shut=0.7)),
    ("fvɱʋ", Viseme(jaw=0.03, jaw_hold=1.0, lip_hold=0.5, bite=1.0)),
    ("tdnlɾɫɬɖʈɳɭ", _TIP),
    ("θð", Viseme(jaw=0.09, lower=0.08, jaw_hold=1.0, lip_hold=0.2)),
    ("rɹɻɽ", Viseme(jaw=0.08, pucker=0.35, funnel=0.08, jaw_hold=0.6, lip_hold=0.5)),
    ("szɕʑ", _HISS),
    ("ʃʒʂʐ", _HUSH),
    ("jʎɲçʝ", Viseme(jaw=0.06, stretch=0.2, jaw_hold=0.6, lip_hold=0.2)),
    ("kɡgŋxɣχʁʀhɦʔcɟɴq", _BACK),
)
VISEMES: dict[str, Viseme] = {symbol: viseme for symbols, viseme in _SOUNDS for symbol in symbols}


@dataclass(frozen=True)
class Segment:
    """A viseme from ``start_s`` to ``end_s``; ``stress`` 0, 0.5 or 1; ``pause`` where nothing is said.

    ``parted_s``: when its closure is released, where that was heard.
    """

    viseme: Viseme
    start_s: float
    end_s: float
    stress: float = 0.0
    pause: bool = False
    parted_s: float | None = None

    def later(self, seconds: float) -> Segment:
        """The same, so much later."""
        parted_s = None if self.parted_s is None else self.parted_s + seconds
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds, parted_s=parted_s)


#: Nothing is said.
REST = Segment(Viseme(jaw=0.01, jaw_hold=0.6, lip_hold=0.3), 0.0, 0.0, pause=True)


def segments(phonemes: tuple[Phoneme, ...]) -> list[Segment]:
    """The visemes of phonemes, in time. Parts of a diphthong or affricate share its time equally.

    Raises :class:`SpeechError` for a symbol that is not in :data:`VISEMES`.
    """
    found = []
    for phoneme in phonemes:
        symbols = spell(phoneme.ipa)
        stress = max((STRESS.get(mark, 0.0) for mark in phoneme.ipa), default=0.0)
        if not symbols:
            found.append(replace(REST, start_s=phoneme.start_s, end_s=phoneme.end_s))
        step = (phoneme.end_s - phoneme.start_s) / max(len(symbols), 1)
        for i, symbol in enumerate(symbols):
            start = phoneme.start_s + i * step
            found.append(Segment(VISEMES[symbol], start, start + step, stress))
    return found


def spell(ipa: str) -> list[str]:
    """The symbols of a phoneme without stress, length and other marks."""
    # Accents are taken off (nasal vowels), but for letters that have a viseme with theirs (ç).
    plain = (c if c in VISEMES else unicodedata.normalize("NFD", c)[0] for c in unicodedata.normalize("NFC", ipa))
    symbols = [c for c in plain if unicodedata.category(c)[0] == "L" and c not in _MARKS]
    unknown = [c for c in symbols if c not in VISEMES]
    if unknown:
        raise SpeechError(
            f"no viseme for {unknown[0]!r} of the phoneme {ipa!r}; add it to data_prep/studio/speech/visemes.py"
        )
    return symbols


#: Letters of IPA that modify the one before: length, aspiration, palatalisation, labialisation, stress …
_MARKS = frozenset("ːˑʰʲʷˠˤⁿˈˌˀ˞")
