"""The pipelines as users of diffusers know pipelines: their conventions, and their loader."""

import inspect
import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, MotionAdapter, UNet2DConditionModel
from networks import seeing_networks, small_codec
from PIL import Image
from talker import person, speech, talker

import jdap
from jdap.depth import ENCODING, from_uint16
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.joint_unet import JointUNet
from jdap.models.loading import WeightsError
from jdap.pipelines.masks import known_parts
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline

SIZE = 32


@pytest.fixture
def pipe() -> PortraitPipeline:
    torch.manual_seed(0)
    unet, reference = seeing_networks(0)
    schedule = NoiseSchedule(spacing="log_snr")
    parts = (small_codec().eval(), unet.eval(), reference.eval(), schedule)
    return PortraitPipeline(*parts, preset="tiny", size_px=SIZE).quiet()


@pytest.fixture
def folder(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def seed(number: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def pictures(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, SIZE, SIZE, generator=seed(3)) * 2 - 1


def same(a, b) -> bool:
    return torch.equal(a.rgb, b.rgb) and torch.equal(a.depth, b.depth)


def test_diffusers_own_loader_gives_the_same_answers(pipe, folder):
    loaded = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(loaded).__name__ == "PortraitPipeline"
    assert isinstance(loaded.unet, JointUNet)
    assert loaded.unet.rotary
    loaded.quiet()
    a, b = (p(pictures(), steps=2, generator=seed()) for p in (pipe, loaded))
    assert same(a, b)
    explicit = DiffusionPipeline.from_pretrained(folder, custom_pipeline="pipeline", trust_remote_code=True)
    assert explicit.size_px == SIZE


def test_diffusers_own_loader_is_as_strict_with_our_networks(folder):
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "_rotary"}))
    with pytest.raises(WeightsError, match="_rotary must be true or false"):
        DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)


def test_plain_diffusers_reads_the_networks(pipe, folder):
    for name, network in (("unet", pipe.unet.unet), ("reference", pipe.reference.unet)):
        plain = UNet2DConditionModel.from_pretrained(folder / name)
        ours = network.state_dict()
        assert all(torch.equal(ours[key], x) for key, x in plain.state_dict().items())
    assert DDIMScheduler.from_pretrained(folder / "scheduler").config["timestep_spacing"] == "log_snr"


def test_a_round_trip_keeps_components_settings_and_answers(pipe, folder, tmp_path):
    loaded = PortraitPipeline.from_pretrained(folder).quiet()
    loaded.save_pretrained(tmp_path / "again")
    again = PortraitPipeline.from_pretrained(tmp_path / "again").quiet()
    a, b = (p(pictures(), steps=2, generator=seed()) for p in (pipe, again))
    assert same(a, b)
    names = {"codec", "unet", "reference", "scheduler", "image_tokens", "face_layers", "likeness_net"}
    assert set(again.components) == names
    assert again.image_tokens is None
    first, second = ((f / "model_index.json").read_text() for f in (folder, tmp_path / "again"))
    assert first == second
    built = PortraitPipeline(**again.components, **again.parameters).quiet()
    assert same(a, built(pictures(), steps=2, generator=seed()))
    assert "PortraitPipeline" in repr(again)


def test_a_part_may_be_given_in_place_of_the_folders(pipe, folder):
    other = NoiseSchedule(spacing="trailing").scheduler()
    loaded = PortraitPipeline.from_pretrained(folder, scheduler=other)
    assert loaded.schedule.spacing == "trailing"
    loaded.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    assert loaded.schedule == pipe.schedule
    with pytest.raises(TypeError, match="no vae; it has codec"):
        PortraitPipeline.from_pretrained(folder, vae=None)
    with pytest.raises(ValueError, match="only safetensors"):
        pipe.save_pretrained(folder, safe_serialization=False)


def test_a_sample_of_a_batch_is_what_it_would_be_alone(pipe):
    batch = pipe(pictures(3), steps=2, generator=[seed(i) for i in range(3)])
    for i in range(3):
        alone = pipe(pictures(3)[i : i + 1], steps=2, generator=seed(i))
        torch.testing.assert_close(alone.rgb[0], batch.rgb[i], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.depth[0], batch.depth[i], atol=1e-5, rtol=1e-5)
    known = torch.zeros(3, 1, SIZE, SIZE, dtype=torch.bool)
    how = {"steps": 3, "resample": 2, "generator": [seed(i) for i in range(3)]}
    pipe.edit(pictures(3), pictures(3)[:, :1], known, known, **how)
    with pytest.raises(ValueError, match="2 generators for 3 samples"):
        pipe(pictures(3), steps=2, generator=[seed(), seed()])


def test_callbacks_see_every_step_and_may_change_the_latents(pipe):
    seen = []

    def watch(asked, step, timestep, tensors):
        seen.append((step, timestep, tuple(tensors["latents"].shape)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == asked.num_timesteps - 1 else {}

    made = pipe(pictures(), steps=3, depth_first=0.0, callback_on_step_end=watch)
    assert [(step, shape) for step, _, shape in seen] == [(i, (2, 6, 4, 4)) for i in range(3)]
    assert [time for _, time, _ in seen] == pipe.schedule.spaced(3)
    assert torch.equal(made.rgb[0], made.rgb[1])  # what nothing decodes to
    plain = pipe(pictures(), steps=2, generator=seed())
    told = pipe(pictures(), steps=2, generator=seed(), callback_on_step_end=lambda *_: {})
    assert same(plain, told)
    with pytest.raises(ValueError, match="must be among"):
        pipe(pictures(), steps=2, callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_a_bar_shows_the_steps_but_not_of_a_single_one(pipe, capfd):
    pipe.set_progress_bar_config(disable=False)
    pipe(pictures(), steps=2)
    assert "2/2" in capfd.readouterr().err
    pipe.image_to_depth(pictures())
    pipe.quiet()(pictures(), steps=2)
    assert capfd.readouterr().err == ""


def images(x: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(p) for p in ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()]


def test_an_answer_is_of_the_kind_of_what_was_given(pipe):
    shown = images(pictures())
    x = torch.from_numpy(np.stack([np.asarray(image) for image in shown])).permute(0, 3, 1, 2) / 127.5 - 1
    made = pipe(x, steps=2, generator=seed())
    for given in (shown, np.stack([np.asarray(image) for image in shown])):
        np.testing.assert_allclose(pipe(given, steps=2, generator=seed(), output_type="pt").rgb, made.rgb, atol=1e-5)
    drawn = pipe(shown, steps=2, generator=seed())
    assert [(rgb.mode, rgb.size) for rgb in drawn.rgb] == [("RGB", (SIZE, SIZE))] * 2
    np.testing.assert_allclose(np.asarray(drawn.rgb[0]) / 127.5 - 1, made.rgb[0].permute(1, 2, 0), atol=0.005)
    assert ENCODING.startswith("uint16")
    np.testing.assert_allclose(from_uint16(np.array(drawn.depth[1])), made.depth[1, 0], atol=1e-4)
    arrays = pipe((x.permute(0, 2, 3, 1).numpy() + 1) / 2, steps=2, generator=seed())
    assert arrays.rgb.shape == (2, SIZE, SIZE, 3)
    np.testing.assert_allclose(arrays.depth * 2 - 1, made.depth.permute(0, 2, 3, 1), atol=1e-4)
    assert isinstance(pipe(steps=1).rgb[0], Image.Image)
    assert isinstance(pipe(shown[0], steps=1, output_type="np").rgb, np.ndarray)
    found = pipe.image_to_depth(shown, ensemble=2, generator=seed())
    exact = pipe.image_to_depth(x, ensemble=2, generator=seed())
    np.testing.assert_allclose((np.array(found.uncertainty[0]) - 1) / 65534, exact.uncertainty[0, 0], atol=1e-4)
    with pytest.raises(ValueError, match="output_type must be one of"):
        pipe(x, output_type="latent")


def test_depth_and_masks_may_be_pictures_too(pipe):
    x, shown = pictures(1), images(pictures(1))[0]
    depth = pipe.image_to_depth(shown, generator=seed()).depth
    exact = torch.from_numpy(from_uint16(np.array(depth[0])))[None, None]
    drawn = pipe.depth_to_image(depth, steps=2, generator=seed(), output_type="pt")
    torch.testing.assert_close(drawn, pipe.depth_to_image(exact, steps=2, generator=seed()), atol=1e-5, rtol=1e-5)
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, :16] = 255
    known = torch.from_numpy(left > 0)[None, None]
    rgb = torch.from_numpy(np.asarray(shown).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    made = pipe.edit(shown, depth, Image.fromarray(left), left > 0, steps=2, generator=seed(), output_type="pt")
    told = pipe.edit(rgb, exact, known, known, steps=2, generator=seed())
    torch.testing.assert_close(tuple(made), tuple(told), atol=1e-5, rtol=1e-5)
    several = pipe([[shown, shown.rotate(90)]], steps=1, output_type="pt")
    assert several.rgb.shape == x.shape


def test_what_is_hidden_in_a_larger_picture_has_no_influence(pipe):
    """Made smaller, the hole's pixels would be mixed into those beside it, and thin holes would vanish."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (4 * SIZE, 4 * SIZE, 3), dtype=np.uint8)
    depth = np.full((4 * SIZE, 4 * SIZE), 0.5, np.float32)
    known = np.ones((4 * SIZE, 4 * SIZE), bool)
    known[40:73, 50:81] = False
    known[:, 101:103] = False
    answers = []
    for value in (0, 255):
        shown[~known], depth[~known] = value, np.nan if value else 1.0
        made = pipe.edit(Image.fromarray(shown), depth, known, known, steps=2, generator=seed(), output_type="pt")
        answers.append(made)
    torch.testing.assert_close(tuple(answers[0]), tuple(answers[1]), atol=0, rtol=0)
    without = pipe.edit(
        Image.fromarray(shown),
        np.nan_to_num(depth),
        known | True,
        known | True,
        steps=2,
        generator=seed(),
        output_type="pt",
    )
    assert (answers[0].rgb - without.rgb)[0, :, :, 25].abs().max() > 0.05  # the thin hole is drawn anew


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_one_reference_may_be_that_of_all_pictures(pipe, guidance):
    depth, person = pipe.image_to_depth(pictures(3), generator=seed()).depth, pictures(1)
    how = {"steps": 2, "guidance": guidance}

    def drawn(reference):
        own = [torch.Generator().manual_seed(k) for k in range(3)]
        return pipe.depth_to_image(depth, reference=reference, generator=own, **how)

    torch.testing.assert_close(drawn(person), drawn(person.expand(3, -1, -1, -1)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="2 references for 3 pictures: give one, or one for each"):
        drawn(pictures(2))


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((SIZE, SIZE), np.uint8),
        np.ones((SIZE, SIZE), np.int64),
        np.full((SIZE, SIZE, 1), 255, np.uint8),
        np.ones((SIZE, SIZE), np.float32),
        Image.new("1", (SIZE, SIZE), 1),
        Image.new("L", (SIZE, SIZE), 255),
        Image.new("RGB", (SIZE, SIZE), (255, 255, 255)),
        Image.fromarray(np.full((SIZE, SIZE), 65535, np.uint16)),
    ],
    ids=lambda mask: f"{getattr(mask, 'mode', None) or mask.dtype}",
)
def test_white_is_known_in_a_mask_of_any_kind(mask):
    black = Image.new(mask.mode, mask.size) if isinstance(mask, Image.Image) else mask * 0
    for given, expected in ((mask, True), (black, False)):
        _, known = known_parts(pictures(1), given, "rgb", 3, SIZE)
        assert (known == expected).all()


def test_pictures_of_another_size_are_brought_to_that_of_the_weights(pipe):
    wide = Image.new("RGB", (80, 80), (200, 30, 30))
    small = Image.new("RGB", (SIZE, SIZE), (200, 30, 30))
    a, b = (pipe.image_to_depth(image, generator=seed(), output_type="pt").depth for image in (wide, small))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="80 x 40 pixels"):
        pipe.image_to_depth(Image.new("RGB", (80, 40)))
    with pytest.raises(ValueError, match="got str"):
        pipe.image_to_depth("portrait.jpg")
    with pytest.raises(ValueError, match="must hold pictures"):
        pipe.image_to_depth([])


def test_half_precision(pipe, folder):
    half = PortraitPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16).quiet()
    assert half.dtype == half.unet.dtype == half.codec.dtype == torch.bfloat16
    made = half(pictures(), steps=2, generator=seed())
    assert made.rgb.dtype == torch.float32
    assert made.rgb.isfinite().all()
    exact = pipe.image_to_depth(pictures(), generator=seed()).depth
    found = pipe.to(torch.bfloat16).image_to_depth(pictures(), generator=seed()).depth
    assert (found - exact).abs().mean() < 0.05


def test_offloaded_networks_answer_the_same_and_leave(pipe):
    pytest.importorskip("accelerate")
    x = pictures()
    plain = pipe(x, steps=2, generator=seed()), pipe.image_to_depth(x, generator=seed()).depth
    pipe.enable_model_cpu_offload(device="cpu")
    made = pipe(x, steps=2, generator=seed())
    assert same(made, plain[0])
    assert torch.equal(pipe.image_to_depth(x, generator=seed()).depth, plain[1])
    used = []
    for network in (pipe.codec, pipe.reference, pipe.unet):
        before = network._hf_hook.pre_forward

        def watched(module, *args, before=before, **given):
            used.append(type(module).__name__)
            return before(module, *args, **given)

        network._hf_hook.pre_forward = watched
    pipe(x, steps=1)
    assert list(dict.fromkeys(used)) == ["ImageCodec", "ReferenceNet", "JointUNet"]
    assert used[-1] == "ImageCodec"


def test_being_called_is_generating():
    for kind, method in ((PortraitPipeline, "generate"), (TalkingPipeline, "talk")):
        assert inspect.signature(kind.__call__) == inspect.signature(getattr(kind, method))
    assert jdap.PortraitPipeline is PortraitPipeline
    assert set(jdap.__all__) <= set(dir(jdap))
    with pytest.raises(AttributeError, match="no attribute 'Pipeline'"):
        jdap.Pipeline  # noqa: B018


def test_the_model_card_has_metadata(folder, pipe):
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    told = card.data.to_dict()
    assert (told["license"], told["library_name"], told["pipeline_tag"]) == ("other", "diffusers", "image-to-image")
    from jdap.pipelines.card import model_card

    card = ModelCard(model_card(pipe, license="apache-2.0", figures={"val/rmse": 0.1234}, steps=1500, name="mine"))
    assert card.data.license == "apache-2.0"
    assert [(r.metric_type, r.metric_value) for r in card.data.eval_results] == [("val/rmse", 0.1234)]
    assert "| val/rmse | 0.1234 |" in card.text
    assert "1,500 training steps" in card.text


def test_what_is_pushed_is_the_weights_folder(pipe, monkeypatch):
    from huggingface_hub import RepoUrl

    pushed = {}

    def upload(*, repo_id, folder_path, **how):
        pushed.update(how, repo=repo_id, files=sorted(p.name for p in folder_path.iterdir()))
        return "https://hub/commit"

    monkeypatch.setattr("jdap.pipelines.base.create_repo", lambda name, **_: RepoUrl(f"https://huggingface.co/{name}"))
    monkeypatch.setattr("jdap.pipelines.base.upload_folder", upload)
    assert pipe.push_to_hub("somebody/portraits", private=True) == "https://hub/commit"
    assert pushed["repo"] == "somebody/portraits"
    parts = ["codec", "reference", "scheduler", "unet"]
    assert pushed["files"] == sorted([*parts, "README.md", "model_index.json", "pipeline.py"])


@pytest.mark.slow
def test_the_talking_pipeline_keeps_the_conventions(tmp_path):
    voice = talker(driven=True).quiet()
    voice.save_pretrained(tmp_path / "weights")
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "weights", trust_remote_code=True).quiet()
    a, b = (next(p(person(), speech(0.1), steps=2)) for p in (voice, loaded))
    torch.testing.assert_close(tuple(a), tuple(b), atol=1e-5, rtol=1e-5)
    assert set(loaded.components) == {"codec", "unet", "reference", "audio", "scheduler", "image_tokens", "drive"}
    UNet2DConditionModel.from_pretrained(tmp_path / "weights" / "unet")
    MotionAdapter.from_pretrained(tmp_path / "weights" / "unet" / "motion")
    (image,) = images(person())
    window = next(voice.talk(image, speech(0.1), steps=1))
    assert [frame.mode for frame in window.rgb] == ["RGB"] * 3
    pytest.importorskip("accelerate")
    voice.enable_model_cpu_offload(device="cpu")
    (again,) = voice(person(), speech(0.1), steps=2, start="reference")
    assert again.rgb.shape == (3, 3, SIZE, SIZE)
    half = TalkingPipeline.from_pretrained(tmp_path / "weights", dtype=torch.bfloat16).quiet()
    assert next(half(person(), speech(0.1), steps=1, start="reference")).rgb.isfinite().all()
    assert repr(half)
