"""The shipped YAMLs, end to end on drawn people, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from fakes import write_fakes
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import write_stills

from jdap.__main__ import COMMANDS, main
from jdap.commands.runs import EVALUATION, TRAINING_DOES
from jdap.configs import CONFIGS, DEFAULTS
from jdap.models.codec import load_codec
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    return write_stills(tmp_path_factory.mktemp("fakes"), 64)


def arguments(fakes, out) -> list[str]:
    return [
        *("--out", str(out), "--data.train", str(fakes / "train"), "--data.val", str(fakes / "val")),
        *("--data.size_px", "64", "--data.batch_size", "2", "--trainer.accelerator", "cpu"),
    ]


def image_arguments(fakes, out) -> list[str]:
    codec = ("--data.targets", "2", "--model.codec", str(fakes / "codec"), "--model.size_px", "64")
    return ["train-image", *arguments(fakes, out), *codec]


class Terminate(L.Callback):
    """What a cluster does to a job whose time is over."""

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_terminated_training_says_so_and_where_to_go_on(fakes, tmp_path, capsys):
    run = [*image_arguments(fakes, tmp_path), "--trainer.max_steps", "4", "--trainer.val_check_interval", "2"]
    ended = ["--trainer.callbacks+", f"{__name__}.Terminate"]
    every = ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "1"]
    every += ["--trainer.callbacks.save_last", "true"]
    with pytest.raises(SystemExit) as status:
        main([*run, *every, *ended])
    assert status.value.code == 128 + signal.SIGTERM
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert f"ended by SIGTERM at step 3, without weights; go on with --resume {last}" in capsys.readouterr().err
    assert last.is_file()
    assert not (tmp_path / "weights").exists()


def test_train_image_runs_resumes_and_leaves_weights(fakes, tmp_path):
    out = tmp_path / "run"
    run = [*image_arguments(fakes, out), "--trainer.val_check_interval", "2"]
    assert main([*run, "--trainer.max_steps", "2"]) == 0
    assert {p.name for p in out.iterdir()} >= {"weights", "checkpoints", "logs", "samples.png"}
    assert list(out.glob("logs/**/events.out.tfevents.*"))
    assert PortraitPipeline.from_pretrained(out / "weights").size_px == 64
    assert json.loads((out / "weights" / "training.json").read_text())["steps"] == 2
    checkpoint = out / "checkpoints" / "last.ckpt"
    assert main([*run, "--trainer.max_steps", "4", "--resume", str(checkpoint)]) == 0
    assert json.loads((out / "weights" / "training.json").read_text())["steps"] == 4


OFF = ("--trainer.logger", "false", "--trainer.enable_progress_bar", "false", "--trainer.enable_checkpointing", "false")


@pytest.mark.parametrize("command", ["train-image", "train-codec", pytest.param("train-depth", marks=pytest.mark.slow)])
def test_a_run_without_logger_bar_and_checkpoints_leaves_weights(fakes, tmp_path, command):
    argv = image_arguments(fakes, tmp_path)[1:] if command == "train-image" else arguments(fakes, tmp_path)
    steps = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1")
    assert main([command, *argv, *steps, *OFF]) == 0
    assert (tmp_path / "weights").is_dir()
    assert not {"logs", "checkpoints"} & {p.name for p in tmp_path.iterdir()}


def test_train_codec_runs_and_leaves_a_codec(fakes, tmp_path):
    steps = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    assert main(["train-codec", *arguments(fakes, tmp_path), *steps]) == 0
    codec = load_codec(tmp_path / "weights")
    asked = yaml.safe_load((CONFIGS / "codec-tiny.yaml").read_text())["model"]
    assert codec.latent_channels == asked["network"]["latent_channels"]


@pytest.mark.slow
def test_train_depth_fine_tunes_what_ships_and_jdap_depth_takes_it(fakes, tmp_path, capsys):
    steps = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    assert main(["train-depth", *arguments(fakes, tmp_path / "run"), *steps]) == 0
    weights = tmp_path / "run" / "weights"
    assert json.loads((weights / "model_index.json").read_text())["one_step_start"] == "zeros"
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "tan").save(photo)
    common = ["--weights", str(weights), "--no-crop", "--device", "cpu"]
    assert main(["depth", str(photo), "--out", str(tmp_path / "depth"), *common]) == 0
    assert (tmp_path / "depth" / "photo.depth.png").is_file()
    many = ["depth", str(photo), "--out", str(tmp_path / "many"), *common, "--steps", "4"]
    assert "depth in 4 steps by clean: these weights were fine-tuned" in failure(many, capsys)
    generate = ["generate", "--reference", str(photo), "--out", str(tmp_path / "made"), *common]
    assert "another question than image-to-depth: these weights were fine-tuned to depth in one step" in failure(
        generate, capsys
    )


def test_train_depth_says_what_it_cannot_start_from(fakes, tmp_path, capsys):
    argv = ["train-depth", *arguments(fakes, tmp_path / "run")]
    assert "nowhere: no such weights folder" in failure([*argv, "--model.init", "nowhere"], capsys)
    config = tmp_path / "mine.yaml"
    config.write_text("".join(x for x in (CONFIGS / "depth-tiny.yaml").open() if not x.startswith("  init:")))
    assert "model.init" in failure([*argv, "--config", str(config)], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "overlay", ["image-hybrid.yaml", pytest.param("image-studio-first.yaml", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_hybrid_configs_go_on_top_of_a_preset(fakes, tmp_path, overlay):
    write_fakes(tmp_path / "fitted", people=3, frames=2, size_px=64, seed=2, depth_source="fitted")
    argv = image_arguments(fakes, tmp_path / "run")
    at = argv.index("--data.train")
    del argv[at : at + 2]
    configs = [word for name in ("image-tiny.yaml", overlay) for word in ("--config", str(CONFIGS / name))]
    sources = [
        "--data.train.studio.shards",
        str(fakes / "train"),
        "--data.train.fitted.shards",
        str(tmp_path / "fitted"),
    ]
    steps = ["--trainer.max_steps", "4", "--trainer.log_every_n_steps", "4", "--trainer.val_check_interval", "4"]
    assert main([argv[0], *configs, *argv[1:], *sources, *steps]) == 0
    events = EventAccumulator(str(next((tmp_path / "run").glob("logs/**/events.out.tfevents.*")).parent))
    events.Reload()
    shares = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"] if "share_" in name}
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"data/share_studio"} | ({"data/share_fitted"} if overlay == "image-hybrid.yaml" else set())


@pytest.mark.slow
def test_the_recipe_of_the_shipped_weights_runs(fakes, tmp_path):
    long = [word for name in ("tiny", "tiny-long") for word in ("--config", str(CONFIGS / f"image-{name}.yaml"))]
    command, *given = image_arguments(fakes, tmp_path / "run")
    few = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main([command, *long, *given, *few]) == 0
    settings = json.loads((tmp_path / "run" / "weights" / "training.json").read_text())["hyper_parameters"]
    assert (settings["conditioning"]["image_to_depth"], settings["conditioning"]["reference_drop"]) == (0.25, 0.1)
    packed = tmp_path / "packed"
    assert main(["pack", str(tmp_path / "run" / "weights"), "--half", "--out", str(packed)]) == 0
    assert (packed / "training.json").is_file()


@pytest.mark.parametrize("command", TRAINING_DOES)
def test_every_training_command_has_its_yaml(command):
    assert yaml.safe_load((CONFIGS / DEFAULTS[command]).read_text())["model"]


def failure(argv, capsys) -> str:
    assert main(argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_a_misspelt_key_in_a_yaml_is_named(fakes, tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text((CONFIGS / "image-tiny.yaml").read_text().replace("learning_rate", "learning_rat"))
    message = failure([*image_arguments(fakes, tmp_path / "run"), "--config", str(config)], capsys)
    assert "learning_rat" in message
    assert "mine.yaml" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--model.optimizer.learnin_rate", "1"], "learnin_rate"),
        (["--model.learning_rate", "1"], "learning_rate"),  # as it was called without its group
        (["--model.noise.condition_noise", "2"], "condition_noise"),
        (["--data.batch_size", "many"], "batch_size"),
        (["--data.train", "nowhere"], "nowhere"),
        (["--data.train", '{"wild": {"shards": "nowhere"}}'], "source 'wild'"),
        (["--data.train", '{"wild": {"shards": "nowhere", "weight": -1}}'], "source 'wild': weight"),
        (["--model.codec", "nowhere"], "nowhere"),
        (["--model.preset", "huge"], "huge"),
        (["--resume", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_are_told_in_one_line(fakes, tmp_path, capsys, extra, named):
    assert named in failure([*image_arguments(fakes, tmp_path), *extra], capsys)


def test_an_unknown_command_names_those_there_are(capsys):
    assert "train-image" in failure(["trainimage"], capsys)
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(TRAINING_DOES) - set(EVALUATION)))
def test_every_other_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: jdap {command}" in capsys.readouterr().out


def test_photos_need_no_lightning():
    program = (
        "import sys, jdap.__main__, jdap.commands.depth, jdap.commands.generate; "
        "bad = [m for m in sys.modules if m.startswith(('lightning', 'webdataset', 'jdap.stages', 'jdap.data'))]; "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_a_checkpoint_that_is_a_pickle_of_code_is_refused(fakes, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "hacked").touch, ())

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    assert "evil.ckpt" in failure(
        [*image_arguments(fakes, tmp_path), "--resume", str(tmp_path / "evil.ckpt"), "--trainer.max_steps", "2"],
        capsys,
    )
    assert not (tmp_path / "hacked").exists()
