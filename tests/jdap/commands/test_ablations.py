"""The YAMLs of the ablations on top of the preset, as a user runs them, and what their runs leave."""

import json

import pytest
import torch
from fakes import write_fakes
from networks import small_codec, write_codec
from settings import make_stage

from jdap.__main__ import main
from jdap.commands.train import build
from jdap.configs import CONFIGS
from jdap.pipelines.portrait import PortraitPipeline
from jdap.stages.image import ImageStage

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fakes")
    for name, options in {"studio": {}, "val": {"seed": 1}}.items():
        write_fakes(folder / name, **{"people": 2, "frames": 2, "size_px": 32, **options})
    write_codec(folder / "codec")
    return folder


def settings(fakes, out, *overlays) -> list[str]:
    configs = [str(CONFIGS / f"{name}.yaml") for name in ("image-tiny", *overlays)]
    return [
        *(word for config in configs for word in ("--config", config)),
        *("--out", str(out), "--data.val", str(fakes / "val"), "--data.size_px", "32", "--data.batch_size", "2"),
        *("--data.targets", "2"),
        *("--model.codec", str(fakes / "codec"), "--model.size_px", "32", "--trainer.accelerator", "cpu"),
        *("--trainer.max_steps", "1", "--trainer.val_check_interval", "1"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overlay", "joint", "reference", "shared"),
    [
        ("ablate-no-reference", True, False, False),
        ("ablate-separate", False, True, False),
        ("ablate-shared-timestep", True, True, True),
    ],
)
def test_networks_and_timesteps(fakes, tmp_path, overlay, joint, reference, shared):
    data = ("--data.train", str(fakes / "studio"))
    assert main(["train-image", *settings(fakes, tmp_path, "ablate", overlay), *data]) == 0
    index = json.loads((tmp_path / "weights" / "model_index.json").read_text())
    assert index["unet"][1] == ("JointUNet" if joint else "SeparateUNets")
    assert (index["reference"][1] is not None, index["shared_timestep"]) == (reference, shared)
    pipeline = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert (pipeline.reference is not None, pipeline.shared_timestep) == (reference, shared)
    settled = json.loads((tmp_path / "weights" / "training.json").read_text())["hyper_parameters"]
    assert settled["noise"]["last_step_fraction"] == 0.25  # of ablate.yaml, as in every arm
    # training goes on from such weights where the settings are the same, and not where a network is missing
    more = {"codec": str(fakes / "codec"), "init": str(tmp_path / "weights"), "image_to_depth": 0, "depth_to_image": 0}
    further = make_stage(ImageStage, **more, joint=joint, reference=reference)
    assert further.unet.training
    if not shared:
        lacking = f"need model.networks.{'joint' if reference else 'reference'} false"
        with pytest.raises(ValueError, match=lacking):
            make_stage(ImageStage, **more)


@pytest.mark.parametrize(("overlay", "kept"), [("ablate-studio-only", "studio"), ("ablate-fitted-only", "fitted")])
def test_sources(fakes, tmp_path, overlay, kept):
    shards = (f"--data.train.{kept}.shards", str(fakes / "studio"))
    cli = build("train-image", [*settings(fakes, tmp_path, overlay, "ablate"), *shards])
    assert list(cli.datamodule.train) == [kept]
    assert cli.datamodule.train[kept].confidence == (0.5 if kept == "fitted" else None)


@pytest.mark.parametrize("ablation", [{"joint": False}, {"shared_timestep": True}])
def test_a_half_beside_a_given_one_needs_a_joint_network_and_two_timesteps(ablation):
    with pytest.raises(ValueError, match=r"conditioning\.image_to_depth .*conditioning\.depth_to_image to 0"):
        make_stage(ImageStage, **ablation)


def test_a_reference_network_may_start_as_a_copy_of_the_unet_that_training_goes_on_from(tmp_path):
    small_codec().save_pretrained(tmp_path / "codec")
    begun = make_stage(ImageStage, codec=str(tmp_path / "codec"), widths=[32, 64])
    for p in begun.unet.parameters():  # as if it had been trained
        torch.nn.init.normal_(p, std=0.05)
    begun.pipeline().save_pretrained(tmp_path / "weights")
    how = {"codec": str(tmp_path / "codec"), "init": str(tmp_path / "weights")}
    copied = make_stage(ImageStage, **how, copy_reference=True)
    assert copied.reference.rotary
    theirs, ours = begun.unet.unet.state_dict(), copied.reference.unet.state_dict()
    assert torch.equal(ours["conv_in.weight"], theirs["conv_in.weight"][:, :3])
    assert torch.equal(ours["conv_out.bias"], theirs["conv_out.bias"][:3])
    rest = [name for name in ours if not name.startswith(("conv_in.weight", "conv_out"))]
    assert all(torch.equal(ours[name], theirs[name]) for name in rest)
    # without the ReferenceNet of such weights, or with it as it was
    assert make_stage(ImageStage, **how, reference=False).reference is None
    own = make_stage(ImageStage, **how).reference.unet.state_dict()
    assert all(torch.equal(own[name], value) for name, value in begun.reference.unet.state_dict().items())
    with pytest.raises(ValueError, match="needs them"):
        make_stage(ImageStage, codec=str(tmp_path / "codec"), copy_reference=True)
