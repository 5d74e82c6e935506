"""A flash in the picture and a click in the sound at one instant stay together from a video file to a batch.

The file is drawn here and read by the preparation's own readers; faces, fits and crops, which see one picture at a
time, are left out.
"""

from fractions import Fraction

import av
import numpy as np
import pytest

from data_prep.video.audio import read_audio
from data_prep.video.video import FrameReader, open_video
from jdap.data.clips import read_clips
from jdap.data.modules import ClipDataModule
from jdap.shards.sample import Sample
from jdap.shards.schema import FITTED, Record
from jdap.shards.writer import ShardWriter
from jdap.units import FPS, SAMPLE_RATE

SIZE, RATE, FRAMES, CHUNK = 32, 48000, 96, 32
#: Picture frames at which it flashes, for two frames: one of them is seen whatever the stride of 2 starts with.
FLASHES = (13, 40, 63, 86)
FRAME_S = 1 / FPS


def draw_video(path, sound_late_s: float = 0.0, pictures_late_s: float = 0.0) -> None:
    """Grey, white where it flashes; a click of 4 ms as each flash appears. The tracks begin as late as is said."""
    pictures = np.full((FRAMES, SIZE, SIZE, 3), 60, np.uint8)
    seconds = np.arange(round((FRAMES * FRAME_S + pictures_late_s) * RATE)) / RATE
    sound = 0.02 * np.sin(2 * np.pi * 200 * seconds)
    for k in FLASHES:
        pictures[k : k + 2] = 250
        start = round((pictures_late_s + k * FRAME_S) * RATE)
        sound[start : start + RATE // 250] = 0.9
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "12"})
        video.width = video.height = SIZE
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 1000)
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = round(1000 * (pictures_late_s + i * FRAME_S)), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in range(round(sound_late_s * RATE), len(sound), 1024):
            block = np.ascontiguousarray(sound[None, start : start + 1024], np.float32)
            heard = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            heard.rate, heard.pts, heard.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(heard))
        container.mux(audio.encode(None))


def prepare(path, folder) -> None:
    """Shards of the file in chunks of 32 frames, read as the preparation reads."""
    video = open_video(path)
    assert video.frames == FRAMES
    sound = read_audio(path, video.start_s, video.frames / FPS)
    reader, still = FrameReader(video), np.zeros((CHUNK, 3), np.float32)
    arrays = {"camera_px": still + SIZE, "rotation": still, "translation_mm": still + np.float32([0, 0, 700])}
    arrays |= {"identity": still[:, :1], "expression": still[:, :1]}
    depth_mm = np.full((CHUNK, SIZE, SIZE), 600, np.float32)
    with ShardWriter(folder, "sync") as writer:
        for first in range(0, FRAMES, CHUNK):
            record = Record("sync", "nobody", FITTED, CHUNK, SIZE, FPS, first)
            rgb = np.stack(list(reader.read(first, first + CHUNK)))
            part = sound[round(first * SAMPLE_RATE / FPS) :][: round(CHUNK * SAMPLE_RATE / FPS)]
            writer.write(Sample(record, rgb, depth_mm, depth_mm > 0, arrays, part))


def flashes_and_clicks(batch, clip: int, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """When (s from the first frame) a clip's pictures turn white, and when its sound gets loud."""
    white = batch.rgb[clip].mean((1, 2, 3)).numpy() > 0.5
    loud = np.abs(batch.audio[clip].numpy()) > 0.4
    # One event is at least twenty frames from the next.
    shown, heard = np.flatnonzero(white) / batch.fps, np.flatnonzero(loud) / SAMPLE_RATE - margin / batch.fps
    return tuple(x[np.diff(x, prepend=-1e9) > 5 * FRAME_S] for x in (shown, heard))


FILES = [
    ("plain.mp4", {}),
    ("late_sound.mp4", {"sound_late_s": 0.4}),
    ("late_pictures.mp4", {"pictures_late_s": 0.36}),
    ("late_pictures.mkv", {"pictures_late_s": 0.36}),
    ("late_sound.mkv", {"sound_late_s": 0.4}),
]


@pytest.fixture(scope="module", params=FILES, ids=[name for name, _ in FILES])
def shards(request, tmp_path_factory):
    name, late = request.param
    folder = tmp_path_factory.mktemp("sync")
    draw_video(folder / name, **late)
    with av.open(str(folder / name)) as container:  # the container kept what the test is about
        begins = [float(s.start_time * s.time_base) for s in (container.streams.audio[0], container.streams.video[0])]
    assert begins == pytest.approx([late.get("sound_late_s", 0), late.get("pictures_late_s", 0)], abs=0.03)
    prepare(folder / name, folder / "shards")
    return str(folder / "shards")


def test_a_whole_clip(shards):
    (batch,) = read_clips(shards, audio_margin=3)
    shown, heard = flashes_and_clicks(batch, 0, 3)
    np.testing.assert_allclose(shown, np.array(FLASHES) * FRAME_S, atol=1e-6)
    np.testing.assert_allclose(heard, shown, atol=0.01)


@pytest.mark.parametrize(("stride", "frames", "margin"), [(1, 16, 0), (1, 12, 5), (2, 10, 3), (2, 14, 0)])
def test_windows(shards, stride, frames, margin):
    settings = {"frames": frames, "stride": stride, "audio_margin": margin, "windows": 4, "shuffle": 4}
    module = ClipDataModule(shards, batch_size=4, size_px=None, epoch_steps=6, jitter=0.0, **settings)
    together, length = 0, frames * stride * FRAME_S
    for batch in module.train_dataloader():
        assert batch.fps == FPS / stride
        for clip in range(len(batch)):
            shown, heard = flashes_and_clicks(batch, clip, margin)
            # What happens at a border may be in one of them alone, and what is in the margin is only heard.
            for these, those in ((shown, heard), (heard, shown)):
                for t in these[(these > 1.5 * FRAME_S) & (these < length - 2.5 * FRAME_S)]:
                    # Of two white frames a stride of 2 may show the second.
                    assert np.abs(those - t).min(initial=np.inf) < (0.01 if stride == 1 else FRAME_S + 0.01)
                    together += 1
    assert together >= 10


def test_the_check_itself_sees_a_shift(shards):
    """Sound that is two frames late is told apart from sound in time."""
    (batch,) = read_clips(shards)
    shown, heard = flashes_and_clicks(batch, 0, 2)
    assert np.abs(heard - shown).min() > 1.5 * FRAME_S
