import contextlib
import copy
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
import torch
from networks import small_codec

from benchmarks.__main__ import main
from benchmarks.cost import speed
from benchmarks.cost.precision import precision_steps
from benchmarks.cost.reference_bank import BankedGuidance
from benchmarks.cost.speed_steps import GUIDANCE, networks, sampling_runs, training_steps
from benchmarks.cost.timing import Timing, compare, interleaved
from jdap.diffusion.samplers import guided

WIDTHS = (32, 32)
CPU = torch.device("cpu")


def test_calls_take_turns_and_the_first_of_each_is_not_measured():
    order = []
    timings = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3, CPU)
    assert order == list("abababab")
    assert all(len(t.wall_s) == len(t.processor_s) == 3 and t.peak_bytes is None for t in timings.values())


def clocks():
    """Timings of a sleep and of work; the processor's clock counts all threads of the process that calls it."""

    def work():
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    return interleaved({"sleep": lambda: time.sleep(0.05), "work": work}, 2, CPU)


def test_the_clocks_measure_what_they_say():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        timings = alone.submit(clocks).result()
    assert min(timings["sleep"].wall_s) >= 0.05
    assert max(timings["sleep"].processor_s) < 0.03
    assert all(
        wall >= processor - 1e-3
        for wall, processor in zip(timings["work"].wall_s, timings["work"].processor_s, strict=True)
    )
    assert min(timings["work"].processor_s) >= 0.02


def test_a_ratio_is_taken_round_by_round():
    ours = Timing(wall_s=[1.0, 20.0, 3.0])
    theirs = [Timing(wall_s=[1.0, 10.0, 1.0]), Timing(wall_s=[1.0, 10.0, 3.0])]
    found = compare(ours, theirs, "wall_s")
    assert found == {"ours_s": 3.0, "theirs_s": 4.0, "ratio": 0.75, "ratio_range": [0.5, 1.0]}


@torch.no_grad()
def test_the_public_design_gives_the_same_answer_as_ours():
    joint, reference = networks(WIDTHS, CPU)
    torch.nn.init.normal_(joint.unet.time_embedding.cond_proj.weight, std=0.1)
    with torch.no_grad():
        torch.nn.init.normal_(joint.unet.conv_in.weight[:, 8:], std=0.1)  # the reference's latents
    banked = copy.deepcopy(joint), copy.deepcopy(reference)
    rgb, depth, clean = torch.randn(3, 1, 4, 8, 8)
    t, other = torch.tensor([700]), torch.tensor([20])
    known = joint.project_reference(reference(clean))
    ours = guided(partial(joint, reference=known, reference_from=1), GUIDANCE)(rgb, depth, t, other)
    theirs = BankedGuidance(*banked, clean, GUIDANCE)(rgb, depth, t, other)
    led = joint(rgb, depth, t, other, known)
    leaner = BankedGuidance(*banked, clean, GUIDANCE, again=False)(rgb, depth, t, other)
    for i in range(2):
        torch.testing.assert_close(ours[i], theirs[i], atol=1e-4, rtol=1e-4)
        # without its second attention the unconditional half sees the reference, too, and nothing is guided
        torch.testing.assert_close(led[i], leaner[i], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(ours[i], leaner[i], atol=1e-3)


def test_both_ways_of_sampling_draw_the_same():
    runs = sampling_runs(WIDTHS, 8, 3, CPU, contextlib.nullcontext)
    ours, bank, lean = (runs[name]() for name in ("ours", "bank", "lean"))
    for a, b in zip(ours, bank, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(ours.rgb, lean.rgb, atol=1e-3)


def test_training_steps_train(monkeypatch):
    trained = []
    adamw = torch.optim.AdamW

    def noting(parameters, **rates):
        trained.append(list(parameters))
        return adamw(trained[-1], **rates)

    monkeypatch.setattr(torch.optim, "AdamW", noting)
    steps = training_steps(WIDTHS, 8, 2, CPU, contextlib.nullcontext)
    together, joint, other = trained
    assert set(steps) == {"injected", "dropping", "joint", "other"}
    for name, parameters in (("injected", together), ("dropping", together), ("joint", joint), ("other", other)):
        before = [p.detach().clone() for p in parameters]
        steps[name]()
        assert all(p.grad is not None for p in parameters)
        assert any(not torch.equal(p, b) for p, b in zip(parameters, before, strict=True))
    # a ReferenceNet trains all but its end, which is never read
    assert len(joint) < len(together) < len(joint) + len(other)


def test_the_command_writes_its_table(tmp_path, capsys, monkeypatch):
    arguments = ["--sizes", "8", "--widths", "32,32", "--steps", "2", "--repeats", "2", "--device", "cpu"]
    assert main(["speed", "--out", str(tmp_path), "--parts", "training,sampling", *arguments]) == 0
    found = json.loads((tmp_path / "speed.json").read_text())
    assert [(row["part"], row["size"]) for row in found["rows"]] == [("training", 8)] * 2 + [("sampling", 8)] * 2
    for row in found["rows"]:
        assert row["target"] is None  # it is for other widths
        assert row["ratio_range"][0] <= row["ratio"] <= row["ratio_range"][1]
        assert all(len(call["processor_s"]) == 2 and min(call["wall_s"]) > 0 for call in row["calls"].values())
    assert found["stamp"]["threads"] == torch.get_num_threads()
    assert found["stamp"]["clock"] == "processor"
    assert "2 guided steps" in capsys.readouterr().out


def test_targets_are_for_the_widths_and_sizes_they_were_set_for():
    assert speed.target("sampling", 64, speed.TARGET_WIDTHS) == 0.65
    assert speed.target("sampling", 16, speed.TARGET_WIDTHS) is None
    assert speed.target("sampling", 64, (32, 32)) is None


def test_steps_in_both_precisions_have_nearly_the_same_gradients():
    steps = precision_steps(CPU, (32, 32), cells=8)
    assert set(steps) == {"image", "clip"}
    for what, calls in steps.items():
        network = calls["float32"].args[0]
        found = {}
        for name, call in calls.items():
            torch.manual_seed(0)
            call()
            found[name] = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        exact, rough = found["float32"], found["bfloat16"]
        assert not torch.equal(exact, rough)
        assert torch.nn.functional.cosine_similarity(exact, rough, dim=0) > 0.99, what


@pytest.mark.slow
def test_a_training_runs_throughput(tmp_path):
    from fakes import write_fakes

    from benchmarks.cost.throughput import throughput
    from jdap.stages.settings.image import ImageNetworkSettings

    write_fakes(tmp_path / "shards", people=3, frames=2, size_px=32)
    small_codec().save_pretrained(tmp_path / "codec")
    settings = {"codec": str(tmp_path / "codec"), "networks": ImageNetworkSettings([32, 32]), "size_px": 32}
    rows = throughput(2, 2, CPU, "float32", shards=str(tmp_path / "shards"), batch=2, **settings)
    assert [row["what"] for row in rows] == ["encoded in the loop", "cached"]
    for row in rows:
        low, high = row["pictures_per_s_range"]
        assert 0 < low <= row["pictures_per_s"] <= high
        assert row["pictures_per_processor_s"] > 0


@pytest.mark.parametrize("wrong", [["--parts", "training,nothing"], ["--sizes", "0"], ["--dtype", "int8"]])
def test_mistakes_are_refused(wrong, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        main(["speed", "--out", str(tmp_path), *wrong])
