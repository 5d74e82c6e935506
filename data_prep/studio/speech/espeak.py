"""eSpeak NG: text → sound and the times of its phonemes and words. The one file that knows the C library.

The library keeps state of one utterance for the next (the phase of its voice, its random numbers), which no call
resets, and is neither thread- nor fork-safe. So each call of :func:`speak` runs this very file as a process of its own,
with the standard library alone: what is spoken is a pure function of texts and voice, whatever was spoken before, and a
crash of the C code is an error message. It also keeps that GPL-3 library out of this Apache-2 program's processes.
"""

from __future__ import annotations

import base64
import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

INSTALL = "pip install 'jdap[speech]'"
ESPEAK_TIMEOUT_S = 120.0

# Numbers of espeak-ng/speak_lib.h, API revision 12.
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_UTF8, _END_PAUSE = 0x0001, 0x1000
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD, _PHONEME = 1, 7
_POSITION_CHARACTER = 1


class SpeechError(ValueError):
    """Speech that cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how.

    * ``language``: one of eSpeak's, by its file below ``lang``: ``gmw/en-US``, ``roa/fr``
    * ``variant``: a speaker, a file below ``voices/!v``: ``f2``, ``m3``
    * ``rate_wpm`` 80 … 450 words a minute; ``pitch`` and ``pitch_range`` 0 … 99, 50 being the speaker's own
    """

    language: str
    variant: str
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50

    def __str__(self) -> str:
        return f"{self.language}+{self.variant} {self.rate_wpm} wpm pitch {self.pitch} range {self.pitch_range}"


@dataclass(frozen=True)
class Phoneme:
    """A sound from ``start_s`` to ``end_s``: IPA with stress before it (``ˈɑː``), empty for a pause."""

    ipa: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Word:
    """A word of the text: its characters [``first``, ``last``), and when it begins."""

    first: int
    last: int
    start_s: float


@dataclass(frozen=True)
class Utterance:
    """One spoken text: 16-bit little-endian mono ``pcm`` at ``rate_hz``; ``phonemes`` without gaps to its end."""

    text: str
    rate_hz: int
    pcm: bytes
    phonemes: tuple[Phoneme, ...]
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return len(self.pcm) / 2 / self.rate_hz


def available() -> bool:
    """Whether the library is installed."""
    try:
        import espeakng_loader  # noqa: F401  # only where it is asked for: silent clips do without it
    except ImportError:
        return False
    return True


def speak(texts: Sequence[str], voice: Voice) -> list[Utterance]:
    """What ``voice`` says, text by text, about 5 ms a sentence after the start of a process.

    Equal arguments give equal bytes; an utterance does not depend on the texts after it. Raises :class:`SpeechError`
    without the library, for a voice that it does not have, and where it fails.
    """
    if not available():
        raise SpeechError(f"speech needs espeakng-loader, which is not installed: {INSTALL}")
    from espeakng_loader import get_data_path, get_library_path

    data = Path(get_data_path())
    files = {"language": data / "lang" / voice.language, "variant": data / "voices" / "!v" / voice.variant}
    for kind, path in files.items():
        # The library takes an unknown variant for none without a word.
        if not path.is_file():
            raise SpeechError(f"eSpeak NG has no {kind} {path.name!r}; there are: {_names(path.parent)}")
    request = {"library": get_library_path(), "data": str(data), "texts": list(texts), "voice": asdict(voice)}
    child = subprocess.run(
        # Isolated and without site-packages: it starts in a fifth of the time.
        [sys.executable, "-I", "-S", __file__],
        input=json.dumps(request).encode(),
        capture_output=True,
        timeout=ESPEAK_TIMEOUT_S,
        check=False,
    )
    if child.returncode:
        said = child.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise SpeechError(f"eSpeak NG cannot say this as {voice}: {said[-1]}; install it again with {INSTALL}")
    return [_utterance(text, reply) for text, reply in zip(texts, json.loads(child.stdout), strict=True)]


def _names(folder: Path) -> str:
    return ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())) if folder.is_dir() else "none"


def _utterance(text: str, reply: dict) -> Utterance:
    rate_hz, pcm = reply["rate_hz"], base64.b64decode(reply["pcm"])
    starts = [(sample / rate_hz, ipa) for sample, ipa in reply["phonemes"]]
    # Nothing is said before the first event: espeak leaves a breath there.
    if not starts or starts[0][0] > 0:
        starts.insert(0, (0.0, ""))
    ends = [start for start, _ in starts[1:]] + [len(pcm) / 2 / rate_hz]
    phonemes = tuple(Phoneme(ipa, a, b) for (a, ipa), b in zip(starts, ends, strict=True) if b > a)
    words = tuple(Word(at - 1, at - 1 + length, sample / rate_hz) for sample, at, length in reply["words"] if length)
    return Utterance(text, rate_hz, pcm, phonemes, words)


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        # The same time, exact: samples since the start of the utterance.
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )

    def phoneme(self) -> str:
        """The name: eight bytes of UTF-8, ended by a zero only if shorter."""
        raw = ctypes.string_at(ctypes.addressof(self) + _Event.id.offset, 8)
        return raw.split(b"\0")[0].decode(errors="ignore")


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _synthesise(library: str, data: str, texts: list[str], voice: Voice) -> list[dict]:
    """In the child: the replies, one a text. Raises OSError and RuntimeError."""
    lib = ctypes.CDLL(library)
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    rate_hz = lib.espeak_Initialize(_SYNCHRONOUS, 0, str(Path(data).parent).encode(), options)
    if rate_hz <= 0:
        raise RuntimeError(f"its data in {data} cannot be read")
    pcm, phonemes, words = bytearray(), list[tuple[int, str]](), list[tuple[int, int, int]]()

    def receive(samples, count, events) -> int:  # type: ignore[no-untyped-def]  # pointers of ctypes
        if samples and count:
            pcm.extend(ctypes.string_at(samples, 2 * count))
        i = 0
        while events[i].type:
            event = events[i]
            if event.type == _PHONEME:
                phonemes.append((event.sample, event.phoneme()))
            elif event.type == _WORD:
                words.append((event.sample, event.text_position, event.length))
            i += 1
        return 0

    callback = _CALLBACK(receive)
    lib.espeak_SetSynthCallback(callback)
    _check(lib.espeak_SetVoiceByName(f"{voice.language}+{voice.variant}".encode()), f"no voice {voice}")
    for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
        _check(lib.espeak_SetParameter(parameter, value, 0), f"parameter {parameter} cannot be {value}")
    # Seeded by the clock otherwise.
    lib.espeak_ng_SetRandSeed(ctypes.c_long(1))
    replies = []
    for text in texts:
        raw = text.encode()
        flags = _UTF8 | _END_PAUSE
        size = ctypes.c_size_t(len(raw) + 1)
        _check(lib.espeak_Synth(raw, size, 0, _POSITION_CHARACTER, 0, flags, None, None), f"cannot say {text!r}")
        sound = base64.b64encode(bytes(pcm)).decode()
        replies.append({"rate_hz": rate_hz, "pcm": sound, "phonemes": phonemes[:], "words": words[:]})
        pcm.clear()
        phonemes.clear()
        words.clear()
    lib.espeak_Terminate()
    return replies


def _check(status: int, message: str) -> None:
    if status:
        raise RuntimeError(f"{message} (status {status})")


if __name__ == "__main__":
    asked = json.load(sys.stdin.buffer)
    sys.stdout.write(json.dumps(_synthesise(asked["library"], asked["data"], asked["texts"], Voice(**asked["voice"]))))
