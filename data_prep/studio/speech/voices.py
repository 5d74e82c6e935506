"""Who speaks: eSpeak's languages and speakers, speed and pitch.

Every distribution is stated in docs/speech.md.
"""

from __future__ import annotations

import numpy as np

from data_prep.studio.speech.espeak import SpeechError, Voice

#: Language of the corpus -> (share, the accents of eSpeak that can read its sentences, equally likely).
LANGUAGES: dict[str, tuple[float, tuple[str, ...]]] = {
    "en": (0.46, ("gmw/en-US", "gmw/en", "gmw/en-GB-x-rp", "gmw/en-GB-scotland", "gmw/en-GB-x-gbcwmd")),
    "de": (0.12, ("gmw/de",)),
    "fr": (0.10, ("roa/fr", "roa/fr-BE")),
    "es": (0.10, ("roa/es", "roa/es-419")),
    "it": (0.08, ("roa/it",)),
    "pt": (0.07, ("roa/pt", "roa/pt-BR")),
    "pl": (0.07, ("zlw/pl",)),
}
#: eSpeak's plain male and female speakers; its robots, croaks and whispers are left out.
SPEAKERS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
RATE_WPM, RATE_SD_WPM, RATE_LIMITS_WPM = 160.0, 20.0, (115.0, 215.0)
PITCH, PITCH_RANGE = (35, 65), (30, 70)


def draw_language(rng: np.random.Generator) -> str:
    """A language of the corpus, by its share."""
    shares = np.array([share for share, _ in LANGUAGES.values()])
    return str(rng.choice(list(LANGUAGES), p=shares / shares.sum()))


def draw_voice(rng: np.random.Generator, language: str) -> Voice:
    """Somebody who speaks ``language``. Raises :class:`SpeechError` for one that nobody speaks."""
    if language not in LANGUAGES:
        raise SpeechError(f"no voice for language {language!r}; there are {', '.join(LANGUAGES)}")
    return Voice(
        language=str(rng.choice(LANGUAGES[language][1])),
        variant=str(rng.choice(SPEAKERS)),
        rate_wpm=round(np.clip(rng.normal(RATE_WPM, RATE_SD_WPM), *RATE_LIMITS_WPM)),
        pitch=int(rng.integers(*PITCH)),
        pitch_range=int(rng.integers(*PITCH_RANGE)),
    )
