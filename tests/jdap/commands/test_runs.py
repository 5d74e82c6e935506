"""Runs from their start to their scores: resumed, refused, interrupted, told of, and measured; of tiny networks."""

import os
import re
import shutil
import signal
import tarfile

import lightning as L
import pytest
import torch
import yaml
from fakes import write_fakes
from networks import small_codec
from training import write_stills

from jdap.__main__ import main
from jdap.callbacks import progress
from jdap.commands.runs import TRAINING_DOES
from jdap.configs import CONFIGS
from jdap.io import progress as telling
from jdap.shards.writer import ShardWriter


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn people of 32 pixels, and a codec."""
    folder = write_stills(tmp_path_factory.mktemp("data"))
    write_fakes(folder / "test", people=3, frames=2, size_px=32, seed=2)
    small_codec(factor=4, encoder_widths=(16, 16), decoder_widths=(16, 16)).save_pretrained(folder / "codec")
    config = yaml.safe_load((CONFIGS / "image-tiny.yaml").read_text())
    config["model"] |= {"codec": str(folder / "codec"), "size_px": 32, "networks": {"widths": [32, 32]}}
    config["model"]["optimizer"]["warmup_steps"] = 1
    config["data"] |= {"train": str(folder / "train"), "val": str(folder / "val"), "test": None}
    config["data"] |= {"size_px": 32, "batch_size": 2, "targets": 2}
    config["trainer"] |= {"accelerator": "cpu", "val_check_interval": 2, "log_every_n_steps": 1}
    own = config["trainer"].pop("callbacks+")  # EMA, ModelCheckpoint
    others = ("jdap.callbacks.progress.RunProgress", "jdap.callbacks.export.ExportWeights")
    config["trainer"]["callbacks"] = [*({"class_path": path} for path in others), *own]
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    return folder


def command(data, out, steps: int, *more: str) -> list[str]:
    return [
        *("train-image", "--config", str(data / "small.yaml"), "--out", str(out)),
        *("--trainer.max_steps", str(steps), *more),
    ]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a run of two steps, by `--resume auto` where there is nothing to go on from."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert main(command(data, out, 2, "--resume", "auto")) == 0
    return out


def test_a_run_that_is_over_keeps_its_weights(data, tmp_path, capsys):
    """Its averages, which the checkpoint's weights are not."""
    out = tmp_path / "run"
    assert main(command(data, out, 2)) == 0
    before = {p.name: p.read_bytes() for p in (out / "weights").rglob("*") if p.is_file()}
    assert main(command(data, out, 2, "--resume", "auto")) == 0
    assert "nothing to do: the run is over at step 2" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (out / "weights").rglob("*") if p.is_file()} == before
    shutil.rmtree(out / "weights")  # killed before it wrote them
    assert main(command(data, out, 2, "--resume", "auto")) == 2
    assert "the run is over at step 2, but" in capsys.readouterr().err
    assert main(command(data, out, 3, "--resume", "auto")) == 0
    assert last_step(out) == 3


def test_what_is_no_checkpoint_is_one_line(data, tmp_path, capsys):
    (tmp_path / "bad.ckpt").write_bytes(b"bad")
    assert main(command(data, tmp_path / "run", 2, "--resume", str(tmp_path / "bad.ckpt"))) == 2
    assert "bad.ckpt: no checkpoint of ours" in capsys.readouterr().err


def test_a_run_whose_time_is_over_is_so_too(data, tmp_path, capsys):
    how = ("--trainer.max_time", "00:00:00:08", "--trainer.val_check_interval", "1000000")
    out = tmp_path / "run"
    assert main(command(data, out, 10**6, *how)) == 0
    step = last_step(out)
    assert main(command(data, out, 10**6, *how, "--resume", "auto")) == 0
    assert f"nothing to do: the run is over at step {step}" in capsys.readouterr().err


def last_step(out) -> int:
    return yaml.safe_load((out / "weights" / "training.json").read_text())["steps"]


def failure(argv, capsys) -> str:
    assert main(argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


class Interrupt(L.Callback):
    """Ctrl-C in the second step."""

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_run_into_a_folder_is_refused_and_nothing_of_the_first_is_touched(data, run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert f"{run} holds a run" in failure(command(data, run, 4), capsys)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_resume_auto_goes_on_from_the_last_checkpoint(data, run, tmp_path):
    out = shutil.copytree(run, tmp_path / "moved")
    assert last_step(out) == 2
    assert main(command(data, out, 3, "--resume", "auto")) == 0
    assert last_step(out) == 3
    assert [path.name for path in (out / "checkpoints").glob("last*.ckpt")] == ["last.ckpt"]


def test_the_last_checkpoint_is_of_the_last_step(data, tmp_path):
    every = ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "2"]
    assert main(command(data, tmp_path, 3, *every, "--trainer.callbacks.save_last", "true")) == 0
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 3


def test_ctrl_c_ends_with_130_and_the_command_that_goes_on(data, tmp_path, capsys, hears_sigint):
    every = ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "1"]
    every += ["--trainer.callbacks.save_last", "true"]
    interrupted = ["--trainer.callbacks+", f"{__name__}.Interrupt"]
    with pytest.raises(SystemExit) as status:
        main(command(data, tmp_path / "run", 4, *every, *interrupted))
    assert status.value.code == 130
    (last,) = re.findall(r"go on with --resume (\S+)", capsys.readouterr().err)
    assert last == str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert not (tmp_path / "run" / "weights").exists()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert main(command(data, tmp_path / "run", 3, "--resume", last)) == 0
    assert last_step(tmp_path / "run") == 3


def test_without_a_terminal_a_run_tells_step_of_steps_loss_and_time_left(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(telling, "LINE_S", 0.0)
    assert main(command(data, tmp_path, 3)) == 0
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("step ")]
    assert re.fullmatch(r"step 1 of 3, loss [\d.]+, [\d.]+ (steps/s|s a step), \d+:\d\d left", lines[0])
    assert re.fullmatch(r"step 3 of 3, loss [\d.]+, .*, \d+:\d\d in all", lines[-1])
    assert any("validating" in line for line in lines)
    noise = ("Epoch", "Tip", "treespec", "eval mode", "GPU available", "does not have many workers")
    assert not [word for word in noise if word in captured.err + captured.out.replace("Modules in eval mode", "")]


def test_a_run_that_time_ends_says_so_and_what_was_reached(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress.os, "getloadavg", lambda: (0.0, 0.0, 99.5))
    assert main(command(data, tmp_path / "run", 100000, "--trainer.max_time", "00:00:00:01")) == 0
    err = capsys.readouterr().err
    step = last_step(tmp_path / "run")
    assert f"max_time was up at step {step}, before the last step (100000)" in err
    assert re.search(rf"^step {step}, loss .* in all$", err, re.MULTILINE)
    assert "of 100000" not in err
    assert "99.5 programs" in err
    monkeypatch.setattr(progress.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert main(command(data, tmp_path / "other", 2, "--trainer.max_time", "00:01:00:00")) == 0
    assert "max_time" not in capsys.readouterr().err


def test_time_left_is_no_more_than_max_time_leaves(data, tmp_path, capsys, monkeypatch):
    class Soon:
        callbacks = (progress.Timer(duration={"seconds": 90}), progress.Timer(duration=None))

    assert progress.time_left_s(Soon()) == pytest.approx(90, abs=1)


def test_data_that_are_not_there_are_noticed_before_networks_are_built(data, tmp_path, capsys):
    with ShardWriter(tmp_path / "empty", "empty"):
        pass
    nowhere = ["--model.codec", "nowhere"]  # which building networks would notice
    (tmp_path / "none").mkdir()
    with tarfile.open(tmp_path / "none" / "none.tar", "w"):
        pass
    for folder in ("empty", "none"):
        argv = command(data, tmp_path / "run", 2, "--data.train", str(tmp_path / folder), *nowhere)
        assert str(tmp_path / folder) in failure(argv, capsys)
    val = command(data, tmp_path / "run", 2, "--data.val", str(tmp_path / "none"), *nowhere)
    assert "none.tar" in failure(val, capsys)
    assert not (tmp_path / "run").exists()


def test_out_on_a_file_is_one_line(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'}: a file" in failure(command(data, tmp_path / "file", 2), capsys)
    photo = ["depth", "x.png", "--out", str(tmp_path / "file" / "deeper")]
    assert f"{tmp_path / 'file'}: a file" in failure(photo, capsys)


def scores(argv, capsys) -> dict[str, float]:
    assert main(argv) == 0
    out = capsys.readouterr().out
    return {name: float(x) for name, x in re.findall(r"^  (\S+) +(-?[\d.]+|nan)$", out, re.MULTILINE)}


def test_weights_and_the_checkpoint_they_came_from_have_the_same_scores(data, run, capsys):
    shards = ["--data.val", str(data / "val"), "--trainer.accelerator", "cpu"]
    of_weights = scores(["validate", str(run / "weights"), *shards], capsys)
    assert {"absrel", "rmse"} <= set(of_weights)
    of_checkpoint = scores(["validate", str(run / "checkpoints" / "last.ckpt"), *shards], capsys)
    assert of_checkpoint == pytest.approx(of_weights, rel=1e-3)


@pytest.mark.slow
def test_test_scores_other_shards_than_validate(data, run, capsys):
    split = ["--data.test", str(data / "test"), "--trainer.accelerator", "cpu"]
    of_test = scores(["test", str(run / "weights"), *split], capsys)
    of_val = scores(["validate", str(run / "weights"), "--data.val", str(data / "test"), *split[2:]], capsys)
    assert of_test == of_val
    assert of_test
    message = failure(["test", str(run / "weights"), "--data.test", "null"], capsys)
    assert "--data.test" in message


def test_what_cannot_be_scored_is_told(tmp_path, capsys):
    assert "nothing.ckpt" in failure(["validate", str(tmp_path / "nothing.ckpt")], capsys)
    (tmp_path / "bad.ckpt").write_bytes(b"bad")
    assert "bad.ckpt: no checkpoint of ours" in failure(["validate", str(tmp_path / "bad.ckpt")], capsys)
    assert str(tmp_path) in failure(["validate", str(tmp_path)], capsys)


@pytest.mark.parametrize("name", TRAINING_DOES)
def test_settings_are_printed_and_nothing_is_done(name, data, tmp_path, capsys):
    argv = [name, "--out", str(tmp_path / "run"), "--trainer.max_steps", "7", "--print_config"]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert not stop.value.code
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_steps"] == 7
    assert not (tmp_path / "run").exists()
