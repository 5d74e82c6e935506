"""What lies under a preset, and how presets and files of one's own are named."""

from pathlib import Path

import pytest
import yaml

from jdap.__main__ import main
from jdap.configs import CONFIGS, presets


def printed(capsys, *words) -> dict:
    """The settings that a training would have."""
    with pytest.raises(SystemExit, match="0"):
        main(["train-image", *words, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


def names(settings) -> list[str]:
    return [callback["class_path"].rsplit(".", 1)[-1] for callback in settings["trainer"]["callbacks"]]


def test_a_preset_is_found_by_name_and_by_path_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    by_path, by_name, short = (
        printed(capsys, "--config", name)
        for name in (str(CONFIGS / "image-small.yaml"), "image-small.yaml", "image-small")
    )
    assert by_path == by_name == short
    assert by_path["model"]["preset"] == "small"
    Path("image-small.yaml").write_text("model: {preset: sd15}\n")  # one's own file wins over a name
    assert printed(capsys, "--config", "image-small.yaml")["model"]["preset"] == "sd15"


def test_a_file_of_ones_own_stands_on_the_base(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {noise: {last_step_fraction: 0.3}, optimizer: {decay: 0.5}}\ntrainer: {max_steps: 7}\n")
    settings = printed(capsys, "--config", str(mine))
    assert settings["trainer"]["max_steps"] == 7
    assert settings["trainer"]["logger"]["class_path"].endswith("TensorBoardLogger")
    assert {"RunProgress", "FiniteGuard", "ExportWeights"} <= set(names(settings))
    assert "EMA" not in names(settings)  # a preset's own
    assert settings["model"]["noise"] == {"density": "log_snr", "last_step_fraction": 0.3, "condition_noise": 0.05}
    mine.write_text("trainer: {callbacks+: [{class_path: jdap.callbacks.averaging.EMA, init_args: {decay: 0.9}}]}\n")
    assert names(printed(capsys, "--config", str(mine)))[-1] == "EMA"
    mine.write_text("trainer: {callbacks: [{class_path: jdap.callbacks.progress.RunProgress}]}\n")
    assert names(printed(capsys, "--config", str(mine))) == ["RunProgress"]
    mine.write_text("model: {optimizer: {learning_rate: 0.5}}\n")
    more = ("--model.optimizer.warmup_steps", "3")  # the others of a group stay
    optimizer = printed(capsys, "--config", "image-tiny", "--config", str(mine), *more)["model"]["optimizer"]
    assert (optimizer["learning_rate"], optimizer["warmup_steps"], optimizer["beta2"]) == (0.5, 3, 0.99)


@pytest.mark.parametrize("name", presets())
def test_nothing_of_the_base_is_said_again(name):
    base = yaml.safe_load((CONFIGS / "_base.yaml").read_text())
    own = yaml.safe_load((CONFIGS / name).read_text())
    repeated = {key for key, value in own.get("trainer", {}).items() if base["trainer"].get(key, ...) == value}
    assert not repeated | (set(own) & {"seed_everything"})
