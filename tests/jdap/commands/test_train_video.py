"""The temporal stage's YAMLs, end to end on drawn people who talk, at a reduced size."""

import json

import av
import numpy as np
import pytest
import torch
from animatediff import write_original
from fakes import write_fakes
from PIL import Image
from scipy.io import wavfile
from speech import write_wav2vec
from stable_diffusion import small_unet, write_folder
from temporal import SIZE_PX, write_image_weights

from jdap.__main__ import main
from jdap.configs import CONFIGS
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.audio import Wav2VecEncoder
from jdap.models.clip.motion import load_motion, new_motion
from jdap.pipelines.portrait import PortraitPipeline
from jdap.pipelines.talking import TalkingPipeline
from jdap.stages.parts.networks import image_networks
from jdap.stages.settings.image import ImageNetworkSettings


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Clips that are long enough, image weights of presets tiny and sd15, motion modules, a speech network."""
    folder = tmp_path_factory.mktemp("video")
    write_fakes(folder / "clips", people=2, frames=18, size_px=32, fps=25.0)
    write_image_weights(folder / "tiny")
    sd = write_folder(folder / "sd")
    networks = ImageNetworkSettings(image_encoder=str(sd / "image_encoder"))
    made = image_networks("sd15", None, init=None, sd=str(sd), settings=networks, checkpointing=False)
    PortraitPipeline(
        made.codec,
        made.unet,
        made.reference,
        NoiseSchedule(),
        preset="sd15",
        size_px=SIZE_PX,
        image_tokens=made.image_tokens,
    ).save_pretrained(folder / "sd15" / "weights")
    motion = new_motion(small_unet())
    for parameter in motion.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    write_original(motion, folder / "mm.safetensors", frames=32)
    write_wav2vec(folder / "wav2vec2")
    return folder


def arguments(given, out, config, weights, *more) -> list[str]:
    return [
        *("train-video", "--config", str(CONFIGS / f"video-{config}.yaml"), "--out", str(out)),
        *("--data.train", str(given / "clips"), "--data.val", str(given / "clips"), "--data.workers", "0"),
        *("--model.init", str(given / weights / "weights"), "--data.size_px", str(SIZE_PX)),
        *("--data.batch_size", "1", "--trainer.accelerator", "cpu", "--trainer.max_steps", "2"),
        *more,
    ]


def test_tiny_leaves_weights_that_jdap_talk_takes_and_a_run_to_go_on_with(given, tmp_path):
    few = ["--model.window.frames", "3", "--data.frames", "5", "--trainer.val_check_interval", "2"]
    run = arguments(given, tmp_path / "run", "tiny", "tiny", *few, "--trainer.limit_val_batches", "1")
    assert main(run) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"weights", "checkpoints", "logs", "samples.mp4"}
    Image.new("RGB", (64, 64), "tan").save(tmp_path / "me.png")
    wavfile.write(tmp_path / "a.wav", 16000, np.zeros(16000 // 5, np.int16))
    talk = ["talk", str(tmp_path / "me.png"), str(tmp_path / "a.wav"), "-o", str(tmp_path / "talk.mp4"), "--no-crop"]
    assert main([*talk, "--weights", str(tmp_path / "run" / "weights"), "--steps", "1", "--device", "cpu"]) == 0
    with av.open(str(tmp_path / "talk.mp4")) as video:
        assert len(list(video.decode(video=0))) == 5
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert main([*run, "--trainer.max_steps", "3", "--resume", str(last)]) == 0
    assert json.loads((tmp_path / "run" / "weights" / "training.json").read_text())["steps"] == 3


def test_without_a_logger_weights_are_left(given, tmp_path):
    few = ["--model.window.frames", "3", "--data.frames", "5", "--trainer.val_check_interval", "2"]
    more = ["--trainer.limit_val_batches", "1", "--trainer.log_every_n_steps", "1", "--trainer.logger", "false"]
    assert main(arguments(given, tmp_path, "tiny", "tiny", *few, *more)) == 0
    assert {"weights", "samples.mp4"} <= {p.name for p in tmp_path.iterdir()}


UNSEEN = ("--trainer.limit_val_batches", "0", "--trainer.accumulate_grad_batches", "1")


@pytest.mark.slow
def test_moonshine_trains_and_talks(given, tmp_path):
    pytest.importorskip("moonshine_voice", reason="the extra jdap[moonshine]")
    few = ("--model.window.frames", "3", "--data.frames", "5", "--data.audio_margin", "14")
    assert main(arguments(given, tmp_path, "tiny", "tiny", *few, *UNSEEN, "--model.sound.encoder", "moonshine")) == 0
    assert not list((tmp_path / "weights" / "audio" / "encoder").glob("*.safetensors"))
    pipeline = TalkingPipeline.from_pretrained(tmp_path / "weights")
    (window,) = pipeline.talk(torch.zeros(1, 3, SIZE_PX, SIZE_PX), torch.zeros(3 * 640), steps=1)
    assert window.rgb.isfinite().all()


@pytest.mark.slow
def test_small_trains_on_image_weights(given, tmp_path):
    assert main(arguments(given, tmp_path, "small", "tiny", *UNSEEN)) == 0
    assert TalkingPipeline.from_pretrained(tmp_path / "weights").shape.frames == 14


@pytest.mark.slow
def test_sd15_trains_from_animatediff_and_a_speech_network(given, tmp_path):
    """Stable Diffusion's architecture, with image tokens, under bf16-mixed and gradient checkpointing."""
    speech = f"wav2vec2:{given / 'wav2vec2'}"
    own = ("--model.optimizer.warmup_steps", "1", "--model.optimizer.learning_rate", "1e-3")
    own += ("--model.motion", str(given / "mm.safetensors"), "--model.sound.encoder", speech)
    assert main(arguments(given, tmp_path, "sd15", "sd15", *own, *UNSEEN)) == 0
    told = json.loads((tmp_path / "weights" / "training.json").read_text())["hyper_parameters"]
    assert (told["gradient_checkpointing"], told["sound"]["encoder"]) == (True, speech)
    pipeline = TalkingPipeline.from_pretrained(tmp_path / "weights")
    assert isinstance(pipeline.audio.encoder, Wav2VecEncoder)
    assert pipeline.image_tokens is not None
    assert (pipeline.shape.frames, pipeline.shape.motion_frames, pipeline.shape.audio_margin) == (14, 2, 27)
    begun, ended = load_motion(given / "mm.safetensors"), pipeline.unet.motion_adapter().state_dict()
    moved = {name for name, x in begun.state_dict().items() if not torch.equal(ended[name], x)}
    assert {name for name, _ in begun.named_parameters() if name.endswith("weight")} <= moved
    for name, x in begun.state_dict().items():
        torch.testing.assert_close(ended[name], x, atol=5e-3, rtol=0)  # two steps of 1e-3
    (window,) = pipeline.talk(torch.zeros(1, 3, SIZE_PX, SIZE_PX), torch.zeros(14 * 640), steps=1)
    assert window.rgb.shape == (14, 3, SIZE_PX, SIZE_PX)
    assert window.rgb.isfinite().all()
    assert window.depth.isfinite().all()


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--model.sound.encoder", "wav2vec2:{given}/wav2vec2", "--data.audio_margin", "4"], "audio_margin to 27"),
        (["--model.sound.encoder", "mel", "--data.frames", "14"], "set data.frames to 16"),
        (["--model.sound.encoder", "moonshine:tiny"], "expected mel, moonshine, wav2vec2:"),
        (["--model.sound.encoder", "mel", "--model.motion", "{given}/tiny/weights/unet"], "_class_name"),
        (["--model.init", "nowhere"], "nowhere: no such weights folder"),
        (["--model.anchors", "true"], "anchors"),
    ],
)
def test_mistakes_are_told_in_one_line(given, tmp_path, capsys, extra, says):
    extra = [word.format(given=given) for word in extra]
    assert main(arguments(given, tmp_path, "sd15", "sd15", *UNSEEN, *extra)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert says in last
