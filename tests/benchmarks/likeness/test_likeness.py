"""The network that looks at moved references: its pairs, and its training."""

from pathlib import Path

import pytest
import torch
from networks import small_pipeline

from benchmarks import BenchmarkError
from benchmarks.__main__ import main
from benchmarks.likeness.pairs import MET, Tried, read_tried
from benchmarks.likeness.training import train, usual_error
from jdap.io.assets import SHIPPED_FOLDER
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.loading import load_strict
from jdap.pipelines.portrait import PortraitPipeline


@pytest.fixture
def tried() -> Tried:
    """A UNet that sees noise, and a moved reference that is the truth where it is seen."""
    generator = torch.Generator().manual_seed(0)
    noisy, target, depth = (torch.randn(40, 3, 8, 8, generator=generator) for _ in range(3))
    seen = torch.ones(40, 2, 8, 8)
    return Tried(
        *(noisy, target + 0.5 * torch.randn(target.shape, generator=generator), target, target, depth, seen),
        torch.ones(40, 1, 8, 8),
        torch.linspace(-5, 2, 40),
    )


def test_training_learns_and_goes_on_where_it_was_interrupted(tried: Tried, tmp_path: Path) -> None:
    losses: list[float] = []
    whole, done, _ = train(tried, 30, tmp_path / "whole.pt", on_step=lambda step, loss: losses.append(loss))
    assert (done, len(losses)) == (30, 30)
    assert losses[0] == pytest.approx(0.9, abs=0.1)  # the UNet's own, but for what an untrained network takes over
    assert sum(losses[-3:]) / 3 < 0.6 * losses[0]

    class Stop(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Stop

    train(tried, 30, tmp_path / "parts.pt", seconds=0)  # nothing yet, but begun
    with pytest.raises(Stop):
        train(tried, 30, tmp_path / "parts.pt", on_step=stop)
    again, _, _ = train(tried, 30, tmp_path / "parts.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    with pytest.raises(BenchmarkError, match=r"parts.pt.*begun with"):
        train(tried, 31, tmp_path / "parts.pt")


def test_a_network_that_is_there_is_trained_on(tried: Tried, tmp_path: Path) -> None:
    made, _, _ = train(tried, 30, tmp_path / "first.pt")
    made.save_pretrained(tmp_path / "made")
    first = load_strict(LikenessNet, tmp_path / "made").requires_grad_(False)
    before = [value.clone() for value in first.state_dict().values()]
    losses: list[float] = []
    second, _, _ = train(tried, 3, tmp_path / "second.pt", start=first, on_step=lambda step, loss: losses.append(loss))
    assert losses[0] < 0.6
    assert all(torch.equal(a, b) for a, b in zip(before, first.state_dict().values(), strict=True))
    assert not torch.equal(second.last.weight, first.last.weight)
    second.save_pretrained(tmp_path / "second")
    assert str(tmp_path) not in (tmp_path / "second" / "config.json").read_text()


def test_what_is_usual_is_the_error_at_such_noise(tried: Tried) -> None:
    noise = tried.log_snr[:, None, None, None].exp()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    worse = tried._replace(clean=tried.target + noise)
    usual = usual_error(Tried(*(x[order] for x in worse)))
    error = noise.square().flatten()[order]
    assert usual[error.argsort()].diff().min() >= 0
    assert error.min() < usual.min() < usual.max() < error.max()


@pytest.mark.slow
def test_weights_come_out_of_sittings(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = tmp_path / "sittings"
    studio = ["--split", "val", "--people", "2", "--frames", "3", "--sittings", "--size", "128"]
    from data_prep.__main__ import main as prepare

    assert prepare(["studio", "--out", str(shards), *studio]) == 0
    asked = ["likeness", "--shards", str(shards), "--steps", "2", "--out", str(tmp_path / "out")]
    assert main([*asked, "--minutes", "0"]) == 0
    assert "the same command goes on" in capsys.readouterr().out
    assert main(asked) == 0
    tried = read_tried(tmp_path / "out" / "pairs")
    assert len(tried.log_snr) == 2 * 2 * 2 * MET  # people, references, others
    assert (tried.seen[:, 1] <= tried.seen[:, 0]).all()
    assert tried.seen.flatten(1).amax(1).min() > 0.9
    # the reference, moved, is nearer to the picture than noise is
    assert (tried.moved - tried.target).float().square().mean() < 0.6 * tried.target.float().square().mean()
    weights = PortraitPipeline.from_pretrained(tmp_path / "out" / "weights")
    assert weights.likeness_net is not None
    mean = "mean_depth.safetensors"  # what stands beside the networks comes along
    assert (tmp_path / "out" / "weights" / mean).read_bytes() == (SHIPPED_FOLDER / "image-tiny" / mean).read_bytes()


def test_shards_without_people_and_weights_that_draw_nothing_are_refused(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    pipeline = small_pipeline(32, 32)
    pipeline.save_pretrained(tmp_path / "small")
    assert main(["likeness", "--shards", str(tmp_path), "--weights", str(tmp_path / "small"), *out]) == 2
    assert str(tmp_path) in " ".join(capsys.readouterr().err.split())
    pipeline.register_modules(reference=None)
    pipeline.save_pretrained(tmp_path / "nobody")
    asked = ["likeness", "--shards", "shipped:shards/val", "--weights", str(tmp_path / "nobody"), *out]
    assert main(asked) == 2
    assert "they draw no picture of a reference" in " ".join(capsys.readouterr().err.split())
