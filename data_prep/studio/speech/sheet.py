"""A contact sheet of a clip that talks: frames with their sounds, the waveform, and how far the lips are open.

Shapes: F frames, S x S pixels, N audio samples.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from data_prep.studio.speech.espeak import Phoneme
from data_prep.studio.speech.lips import contact
from data_prep.studio.speech.talk import read_phonemes, release_s
from data_prep.studio.speech.visemes import segments
from jdap.io.files import write_whole
from jdap.shards.sample import Sample
from jdap.units import SAMPLE_RATE

FRAMES_ACROSS, DOWN = 10, 3
#: Inches of a frame, of the text beneath it, and of each of the two plots.
SHEET_TILE_INCHES, CAPTION, PLOT = 1.25, 0.3, 1.25
SHUT, OPEN = "tab:red", "tab:blue"


class TalkSheet:
    """Draws the first sample that is added."""

    def __init__(self) -> None:
        self._png: bytes | None = None

    def add(self, sample: Sample) -> None:
        """Add a talking sample; after the first nothing happens."""
        if self._png is None:
            self._png = render_sheet(sample)

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG. Raises ValueError when there is nothing on it."""
        if self._png is None:
            raise ValueError("a contact sheet needs a sample")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self._png)


def render_sheet(sample: Sample) -> bytes:
    """The sheet of a talking sample as a PNG. Raises ValueError for a sample that does not talk."""
    record = sample.record
    if sample.audio is None or "lip_opening_mm" not in record.scores or not record.speech:
        raise ValueError(f"{sample.key}: nobody talks; make it with python -m data_prep studio --talk")
    phonemes = read_phonemes(record.speech["phonemes"], record.frames / record.fps)
    shown = np.unique(np.linspace(0, record.frames - 1, min(record.frames, FRAMES_ACROSS * DOWN)).round().astype(int))
    rows = -(-len(shown) // FRAMES_ACROSS)
    heights = [SHEET_TILE_INCHES + CAPTION] * rows + [PLOT, PLOT]
    figure = plt.figure(
        figsize=(FRAMES_ACROSS * SHEET_TILE_INCHES, sum(heights) + 0.9), layout="constrained", facecolor="white"
    )
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[rows * (SHEET_TILE_INCHES + CAPTION), 2 * PLOT + 0.9])
    top, bottom = parts[:, 0]
    top.suptitle(f"“{record.speech['text']}” · {record.speech['voice']}", fontsize=10)
    tiles = top.subplots(rows, FRAMES_ACROSS, squeeze=False).ravel()
    for axes in tiles:
        axes.axis("off")
    window = _around_skin(sample.skin_FHW)
    opening_mm = np.array(record.scores["lip_opening_mm"])
    closures = _closures(phonemes, sample.audio)
    for axes, i in zip(tiles, shown, strict=False):
        time_s = i / record.fps
        shut = next((s for s, start_s, end_s in closures if start_s <= time_s < end_s), None)
        sound = shut or next(p for p in reversed(phonemes) if p.start_s <= time_s)
        axes.imshow(sample.rgb_FHW3[i][window])
        axes.set_title(
            f"{sound.ipa or '–'}   {opening_mm[i]:.1f} mm",
            y=-0.17,
            fontsize=9,
            color=SHUT if shut else "black",
        )
    _plot(bottom, sample.audio, phonemes, closures, opening_mm, shown, record.fps)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()


def _plot(
    figure: plt.FigureBase,
    audio_N: np.ndarray,
    phonemes: tuple[Phoneme, ...],
    closures: list[tuple[Phoneme, float, float]],
    opening_mm_F: np.ndarray,
    shown: np.ndarray,
    fps: float,
) -> None:
    """The waveform and the opening, one above the other on one clock, with the sounds."""
    wave, lips = figure.subplots(2, 1, sharex=True)
    wave.plot(np.arange(len(audio_N)) / SAMPLE_RATE, audio_N, color="0.35", linewidth=0.4)
    wave.set_ylabel("sound")
    wave.set_yticks([])
    time_s = np.arange(len(opening_mm_F)) / fps
    lips.axhline(0, color="0.6", linewidth=0.8)
    lips.plot(time_s, opening_mm_F, color=OPEN, marker=".", markersize=4, linewidth=1.2)
    lips.plot(time_s[shown], opening_mm_F[shown], color=OPEN, marker="o", linestyle="none", markersize=5)
    lips.set_ylabel("lips apart, mm")
    lips.set_xlabel("s; red: lips shut for p, b, m")
    for sound in phonemes:
        for axes in (wave, lips):
            axes.axvline(sound.start_s, color="0.85", linewidth=0.6, zorder=0)
        middle = (sound.start_s + sound.end_s) / 2
        wave.annotate(
            sound.ipa, (middle, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
        )
    for _, start_s, end_s in closures:
        for axes in (wave, lips):
            axes.axvspan(start_s, end_s, color=SHUT, alpha=0.15, linewidth=0)
    lips.set_xlim(0, len(audio_N) / SAMPLE_RATE)


def _around_skin(skin_FSS: np.ndarray) -> tuple[slice, slice]:
    """The square of the pictures around the skin of all frames."""
    seen = np.any(skin_FSS, axis=0)
    rows, columns = np.flatnonzero(np.any(seen, axis=1)), np.flatnonzero(np.any(seen, axis=0))
    if not len(rows):
        return slice(None), slice(None)
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    corners = (int(np.clip((x[0] + x[-1] + 1 - side) // 2, 0, skin_FSS.shape[1] - side)) for x in (rows, columns))
    top, left = corners
    return slice(top, top + side), slice(left, left + side)


def _closures(phonemes: tuple[Phoneme, ...], audio_N: np.ndarray) -> list[tuple[Phoneme, float, float]]:
    """The sounds that close the lips, when they meet and when they part, s."""
    found = ((sound, one) for sound in phonemes for one in segments((sound,)) if one.viseme.shut == 1)
    return [(sound, *contact(replace(one, parted_s=release_s(one, audio_N)))) for sound, one in found]
