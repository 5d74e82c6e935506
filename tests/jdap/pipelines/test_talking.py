"""Windows that continue each other, guidance, noise, and what the sound does."""

import gc
from dataclasses import replace
from functools import partial

import pytest
import torch
from talker import SHAPE, SIZE, person, speech, talker

from jdap.diffusion.denoiser import Pair
from jdap.diffusion.draws import draw_frames
from jdap.diffusion.samplers import ddim
from jdap.models.clip.before import Anchor, MotionFrames
from jdap.models.clip.conditions import Conditions
from jdap.pipelines.pictures import Portrait
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.sound_windows import SoundWindows

F, M, MARGIN = SHAPE.frames, SHAPE.motion_frames, SHAPE.audio_margin


@pytest.fixture(scope="module")
def pipeline():
    return talker()


def said(pipeline, sound, **how) -> Portrait:
    """The whole video; windows share nothing if not asked to."""
    windows = list(pipeline.talk(person(), sound, **{"steps": 2, "overlap": 0, **how}))
    return Portrait(*(torch.cat(x) for x in zip(*windows, strict=True)))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def alike(a, b) -> bool:
    return all(torch.allclose(x, y, atol=1e-4) for x, y in zip(a, b, strict=True))


def test_a_video_has_the_frames_that_begin_before_the_sound_ends(pipeline):
    for samples, frames in ((1, 1), (640, 1), (641, 2), (640 * 4, 4), (640 * 4 + 1, 5), (640 * 9 - 1, 9)):
        for overlap in (0, 1, 2):
            windows = pipeline.talk(person(), torch.zeros(samples), steps=1, overlap=overlap)
            sizes = [len(rgb) for rgb, _ in windows]
            assert sum(sizes) == frames
            assert sizes[:-1] == [F - overlap] * (len(sizes) - 1)
            assert overlap < sizes[-1] <= F or len(sizes) == 1
    made = said(pipeline, speech(0.2))
    assert made.rgb.shape == (5, 3, SIZE, SIZE)
    assert made.depth.shape == (5, 1, SIZE, SIZE)
    assert all(x.abs().amax() <= 1 and x.isfinite().all() for x in made)


def test_blocks_of_any_lengths_are_the_whole_sound_to_the_bit(pipeline):
    sound = speech(0.5)
    whole = said(pipeline, sound)
    assert len(whole.rgb) == 13
    for lengths in ([1, 0, 7000], [333] * 20, [640 * 4] * 3):
        blocks, done = [], 0
        for length in lengths:
            blocks.append(sound[done : done + length].numpy())
            done += length
        assert same(whole, said(pipeline, iter([*blocks, sound[done:].numpy()])))


@pytest.mark.parametrize("overlap", [0, 1, 2])
@torch.no_grad()
def test_a_window_is_what_the_networks_say_and_the_next_continues_its_latents(pipeline, overlap):
    """The same video, by the definitions: nothing of the pipeline's loop is used."""
    sound, seed = speech(11 / 25), 9
    padded = torch.cat([torch.zeros(640 * (M + MARGIN)), sound, torch.zeros(640 * 20)])
    latents = pipeline.codec.encode(person())
    led = pipeline.unet.project_reference(pipeline.reference(latents))
    motion = MotionFrames(torch.zeros(1, M, 3, 4, 4), torch.zeros(1, M, 3, 4, 4), torch.tensor([999]))
    made, new = [], F - overlap
    for first in range(0, 11 - overlap, new):
        heard = padded[640 * first :][: 640 * (M + F + 2 * MARGIN)]
        keys = pipeline.unet.project_audio(pipeline.audio(heard[None], M + F, MARGIN))
        network = partial(pipeline.unet, frames=F, motion=motion, reference=led, audio=keys)
        like = torch.zeros(F, 3, 4, 4)
        drawn = ddim(pipeline.denoiser, network, draw_frames(Pair(like, like), seed, first), steps=2)
        frames = [torch.cat(pair) for pair in zip(*drawn, strict=True)]
        for k in range(overlap if made else 0):  # thirds, or halves, from the old to the new
            share = (k + 1) / (overlap + 1)
            frames[k] = (1 - share) * made[first + k] + share * frames[k]
        made[first:] = frames
        before = torch.stack(made[first + new - M : first + new])[None]
        motion = MotionFrames(before[:, :, :3], before[:, :, 3:], torch.tensor([0]))
    expected = torch.cat([pipeline.codec.decode(x) for x in torch.stack(made[:11]).split(3, 1)], dim=1)
    found = said(pipeline, sound, seed=seed, overlap=overlap)
    torch.testing.assert_close(found.rgb, expected[:, :3].clamp(-1, 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.depth, expected[:, 3:].mean(1, keepdim=True).clamp(-1, 1), atol=1e-5, rtol=1e-5)


def test_sound_reaches_its_own_frames_and_those_around_it(pipeline):
    still, loud = torch.zeros(640 * 24), torch.zeros(640 * 24)
    loud[640 * 17 : 640 * 18] = speech(1 / 25)
    a, b = said(pipeline, still), said(pipeline, loud)
    # Windows end at frames 4, 8, 12 …; frame 17 is heard by its own window (16 … 19) and, as what comes, from frame
    # 17 - MARGIN = 12 on: the window that begins there.
    assert same([x[:12] for x in a], [x[:12] for x in b])
    assert not alike([x[16:20] for x in a], [x[16:20] for x in b])


def test_the_result_depends_on_seed_reference_and_sound(pipeline):
    sound = speech(0.3)
    first = said(pipeline, sound, seed=1)
    assert same(first, said(pipeline, sound, seed=1))
    for other in (
        said(pipeline, sound, seed=2),
        said(pipeline, speech(0.3, seed=5), seed=1),
        said(pipeline, sound, seed=1, noise_sharing=0.5),
        said(pipeline, sound, seed=1, steps=3),
        said(pipeline, sound, seed=1, start="reference"),
        Portrait(
            *(torch.cat(x) for x in zip(*pipeline.talk(person(8), sound, steps=2, seed=1), strict=True)),
        ),
    ):
        assert not alike(first, other)


def test_a_longer_sound_begins_like_a_shorter_one(pipeline):
    sound = speech(1.0)
    assert same([x[:12] for x in said(pipeline, sound[: 640 * 20])], [x[:12] for x in said(pipeline, sound)])


@pytest.mark.parametrize(
    ("guidance", "audio_guidance", "branches"),
    [(1.0, 1.0, 1), (2.0, 2.0, 2), (1.0, 3.0, 2), (2.0, 3.0, 3), (2.0, 0.0, 2)],
)
@torch.no_grad()
def test_guidance_by_reference_and_sound(pipeline, monkeypatch, guidance, audio_guidance, branches):
    """One step, so that the network's answer shows: v = v₀ + s_r (v_r − v₀) + s_a (v_ra − v_r)."""
    sound, sizes = speech(F / 25), []
    forward = pipeline.unet.forward

    def counted(rgb, *args, **given):
        sizes.append(len(rgb))
        return forward(rgb, *args, **given)

    monkeypatch.setattr(pipeline.unet, "forward", counted)
    (found,) = pipeline.talk(person(), sound, steps=1, guidance=guidance, audio_guidance=audio_guidance)
    assert sizes == [F * branches]

    like = torch.zeros(F, 3, 4, 4)
    noise = draw_frames(Pair(like, like), 0, 0)
    t = torch.full((F,), 999)
    led = pipeline.unet.project_reference(pipeline.reference(pipeline.codec.encode(person())))
    beyond = torch.zeros(640 * MARGIN)
    heard = torch.cat([torch.zeros(640 * M), beyond, sound, beyond])[None]
    keys = pipeline.unet.project_audio(pipeline.audio(heard, M + F, MARGIN))
    network = partial(forward, *noise, t, t, frames=F, motion=MotionFrames.null(like[None, :M], 1000))
    v0, vr, vra = (torch.cat(network(**given)) for given in ({}, {"reference": led}, {"reference": led, "audio": keys}))
    v = v0 + guidance * (vr - v0) + audio_guidance * (vra - vr)
    rgb, depth = pipeline.codec.decode(-v).chunk(2)  # at the last timestep x = −v
    torch.testing.assert_close(found.rgb, rgb.clamp(-1, 1), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(found.depth, depth.mean(1, keepdim=True).clamp(-1, 1), atol=2e-4, rtol=1e-4)
    assert not torch.allclose(v0, vr, atol=1e-3)
    assert not torch.allclose(vr, vra, atol=1e-3)


@torch.no_grad()
def test_the_first_window_may_continue_the_reference(pipeline, monkeypatch):
    seen = []
    forward = pipeline.unet.forward

    def watched(*args, motion, **given):
        seen.append(motion)
        return forward(*args, motion=motion, **given)

    monkeypatch.setattr(pipeline.unet, "forward", watched)
    list(pipeline.talk(person(), speech(0.1), steps=1))
    list(pipeline.talk(person(), speech(0.1), steps=1, start="reference", seed=5))
    assert seen[0].t.tolist() == [999]
    assert not seen[0].rgb.any()
    assert not seen[0].depth.any()
    assert seen[1].t.tolist() == [0]
    latents = pipeline.codec.encode(person())
    assert torch.equal(seen[1].rgb, latents[:, None].expand(-1, M, -1, -1, -1))
    # Its depth is what the image model of the same weights says of it in one step.
    image = PortraitPipeline(
        pipeline.codec, pipeline.unet.image_model(), pipeline.reference, pipeline.schedule, preset="tiny", size_px=SIZE
    )
    noise = draw_frames(Pair(latents, latents), 5, -1)
    network = image.network(person(), 1.0, 1)
    drawn = ddim(image.denoiser, network, noise, known_rgb=latents, steps=1)
    torch.testing.assert_close(seen[1].depth, drawn.depth[:, None].expand(-1, M, -1, -1, -1))


def test_a_deaf_model_and_windows_without_motion_frames():
    sound = speech(0.3)
    deaf = talker(deaf=True)
    assert same(said(deaf, sound), said(deaf, torch.zeros(len(sound))))
    with pytest.raises(ValueError, match="weights are deaf"):
        deaf.talk(person(), sound, audio_guidance=2.0)
    alone = talker(shape=replace(SHAPE, motion_frames=0))
    made, one = said(alone, sound), said(alone, sound, start="reference")
    assert len(made.rgb) == 8
    assert same(made, one)
    deaf.reference = None
    assert len(said(deaf, sound).rgb) == 8
    with pytest.raises(ValueError, match="no ReferenceNet"):
        deaf.talk(person(), sound, guidance=2.0)


@pytest.mark.parametrize(("guidance", "audio_guidance"), [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 3.0)])
@torch.no_grad()
def test_an_anchor_holds_the_reference_where_it_leads_and_nothing_where_it_does_not(guidance, audio_guidance):
    anchored, sound = talker(shape=replace(SHAPE, anchor=True)), speech(F / 25)
    (found,) = anchored.talk(person(), sound, steps=1, guidance=guidance, audio_guidance=audio_guidance)

    latents, like, t = anchored.codec.encode(person()), torch.zeros(F, 3, 4, 4), torch.full((F,), 999)
    led = {"reference": anchored.unet.project_reference(anchored.reference(latents))}
    beyond = torch.zeros(640 * MARGIN)
    heard = torch.cat([torch.zeros(640 * M), beyond, sound, beyond])[None]
    keys = {"audio": anchored.unet.project_audio(anchored.audio(heard, M + F, MARGIN), anchored=True)}
    fixed = {"frames": F, "motion": MotionFrames.null(like[None, :M], 1000), "anchor": Anchor(latents, 999)}
    network = partial(anchored.unet, *draw_frames(Pair(like, like), 0, 0), t, t, **fixed)
    v0, vr, vra = (torch.cat(network(**given)) for given in ({"reference_from": 1}, led, led | keys))
    v = v0 + guidance * (vr - v0) + audio_guidance * (vra - vr)
    rgb, _ = anchored.codec.decode(-v).chunk(2)
    torch.testing.assert_close(found.rgb, rgb.clamp(-1, 1), atol=2e-4, rtol=1e-4)


def test_conditions_reach_their_own_frames_and_are_optional(pipeline):
    sound, driven = speech(12 / 25), talker(driven=True)
    free = said(driven, sound)
    lips = torch.full((1, 9), float("nan"))
    assert same(free, said(driven, sound, drive=Conditions(lips_mm=lips)))
    lips[:, 8] = 12.0
    opened = said(driven, sound, drive=Conditions(lips_mm=lips))  # frames beyond the 9 that are told are free
    assert same([x[:8] for x in free], [x[:8] for x in opened])
    assert not alike([x[8:] for x in free], [x[8:] for x in opened])
    pose = torch.tensor([0.1, 0.2, 0.0, 5.0, 0.0, 600.0]).expand(1, 12, 6)
    assert not alike(free, said(driven, sound, drive=Conditions(pose)))
    with pytest.raises(ValueError, match="take no conditions"):
        pipeline.talk(person(), sound, drive=Conditions(pose))


def test_what_cannot_be_said_is_told(pipeline):
    with pytest.raises(ValueError, match="one picture of 32 pixels"):
        pipeline.talk(torch.zeros(1, 3, 64, 64), speech(0.1))
    with pytest.raises(ValueError, match=r"reference must be .*\[-1, 1\]"):
        pipeline.talk(person() * 3, speech(0.1))
    with pytest.raises(ValueError, match="steps must be within"):
        pipeline.talk(person(), speech(0.1), steps=0)
    with pytest.raises(ValueError, match="start must be"):
        pipeline.talk(person(), speech(0.1), start="middle")
    for sound, says in (
        (torch.zeros(0), "sound is empty"),
        ([], "sound is empty"),
        ([torch.zeros(10), torch.tensor([float("nan")])], "samples in"),
        (torch.full((100,), 1.5), "samples in"),
        (torch.zeros(2, 100), "samples in"),
    ):
        with pytest.raises(ValueError, match=says):
            list(pipeline.talk(person(), sound, steps=1))
    with pytest.raises(ValueError, match="noise sharing"):
        list(pipeline.talk(person(), speech(0.1), noise_sharing=2.0))
    with pytest.raises(ValueError, match=r"overlap .*0 … 2 frames, got 3"):
        pipeline.talk(person(), speech(0.1), overlap=3)


def test_progress_is_told(pipeline):
    calls = []

    def tell(asked, step, timestep, tensors):
        calls.append((step, asked.num_timesteps, timestep))
        assert tensors["latents"].shape == (F, 6, 4, 4)
        return {}

    list(pipeline.talk(person(), speech(0.2), steps=3, overlap=0, callback_on_step_end=tell))
    assert calls == [(0, 3, 999), (1, 3, 666), (2, 3, 332)] * 2


@pytest.mark.slow
def test_memory_does_not_grow_with_length_and_no_sound_is_read_before_it_is_needed(pipeline):
    """What is alive between windows late in the video is what was alive early in it."""
    read, windows = 0, 30

    def blocks():
        nonlocal read
        for _ in range(windows):
            read += 1
            yield torch.zeros(640 * F)

    def alive() -> int:
        gc.collect()
        return sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor)

    sizes = {}
    for k, _ in enumerate(pipeline.talk(person(), blocks(), steps=1, overlap=0)):
        assert read <= k + 1 + (MARGIN + F - 1) // F  # its own frames and the margin's
        if k in (4, windows - 5):
            sizes[k] = alive()
    assert read == windows
    assert sizes[4] == sizes[windows - 5]


def test_windows_of_sound_keep_no_more_than_they_need():
    windows = SoundWindows((torch.full((100,), k / 1000) for k in range(100)), 25)
    assert windows.frames(3) == 3
    cut = windows.cut(-1, 4)
    assert not cut[:640].any()
    assert cut[640:].tolist() == [pytest.approx(k // 100 / 1000) for k in range(640 * 3)]
    assert windows.frames(1000) == 16  # 10 000 samples
    assert torch.equal(windows.cut(2, 1), windows.cut(2, 1))
    last = windows.cut(15, 2)
    assert last[: 10000 - 9600].all()
    assert not last[10000 - 9600 :].any()
    assert not windows.cut(30, 1).any()
    with pytest.raises(ValueError, match="only go forward"):
        windows.cut(2, 1)


def test_frames_of_other_rates_begin_where_they_should():
    windows = SoundWindows(torch.arange(16000) / 16000, 30)
    assert windows.frames(100) == 30
    assert [round(float(windows.cut(k, 1)[0]) * 16000) for k in (0, 1, 2, 29)] == [0, 533, 1067, 15467]
