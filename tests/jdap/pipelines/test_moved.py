"""Sampling that looks at references that were moved to the drawn heads."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Pair
from jdap.diffusion.schedule import NoiseSchedule
from jdap.models.image.likeness_net import LikenessNet
from jdap.models.loading import WeightsError
from jdap.pipelines.moved import LOG_SNR_LED, MovedLatents, MovedReferences, cells_of, likened
from jdap.pipelines.portrait import PortraitPipeline

SIDE = 32


class Told(LikenessNet):
    """Says that the clean picture is the moved reference."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__(latent_channels, 8, 8, 1)

    def forward(self, noisy, clean, moved, seen, depth, log_snr):
        self.log_snr = log_snr
        return moved


class Moves:
    """Knows a face by the depth alone, or by a picture; notes what it was asked."""

    def __init__(self, by_depth: tuple[bool, ...], by_picture: tuple[bool, ...] = ()) -> None:
        self.by_depth, self.by_picture, self.asked = by_depth, by_picture, list[tuple[Tensor | None, Tensor]]()

    def __call__(self, rgb: Tensor | None, depth: Tensor) -> MovedReferences:
        self.asked.append((rgb, depth))
        found = torch.tensor(self.by_depth if rgb is None else self.by_picture or self.by_depth)
        seen = found[:, None, None, None].float().expand(-1, 2, SIDE, SIDE)
        return MovedReferences(pictures(5)[: len(found)] * found[:, None, None, None], seen)


def pictures(seed: int) -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def depth() -> Tensor:
    return torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4)) * 2 - 1


def seeds() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in (7, 8)]


@pytest.fixture
def told(pipeline: PortraitPipeline) -> PortraitPipeline:
    pipeline.register_modules(likeness_net=Told(pipeline.codec.latent_channels))
    return pipeline.quiet()


@pytest.mark.parametrize("log_snr", [-20.0, -3.0, 0.0, 2.0, 4.0])
def test_the_answer_is_the_networks_where_noise_lets_it_and_a_face_is_seen(log_snr: float) -> None:
    denoiser = JointDenoiser(NoiseSchedule())
    generator = torch.Generator().manual_seed(0)
    z, said = (Pair(*torch.randn(2, 2, 3, 8, 8, generator=generator)) for _ in range(2))
    moved = torch.randn(2, 3, 8, 8, generator=generator)
    seen = torch.tensor([1.0, 0.0])[:, None, None, None].expand(2, 2, 8, 8)
    t = denoiser.schedule.at_log_snr(torch.tensor([log_snr, log_snr]))
    net = Told(3)
    led = likened(lambda *asked: said, net, denoiser, MovedLatents(moved, seen, z.depth))
    v = Pair(*led(*z, t, t))
    assert torch.equal(v.depth, said.depth)
    assert torch.equal(v.rgb[1], said.rgb[1])
    clean = denoiser.clean(z, v, Pair(t, t)).rgb[0]
    if float(denoiser.schedule.snr(t)[0].log()) <= LOG_SNR_LED[1]:
        torch.testing.assert_close(clean, moved[0], atol=1e-4, rtol=1e-4)
        assert float(net.log_snr.amin()) >= LOG_SNR_LED[0]
    else:
        assert torch.equal(v.rgb, said.rgb)


def test_cells_hold_shares() -> None:
    seen = torch.zeros(1, 2, 8, 8)
    seen[0, 0, :4, :4], seen[0, 1, :2, :4] = 1, 1
    assert cells_of(seen, 4).tolist() == [[[[1, 0], [0, 0]], [[0.5, 0], [0, 0]]]]


def test_portraits_with_a_face_are_drawn_by_it_and_the_others_as_without(told: PortraitPipeline) -> None:
    how = {"steps": 4, "depth_first": 0.5, "guidance": 1.0}
    move = Moves((True, False))
    alone = told.generate(pictures(3), generator=seeds(), **how)
    made = told.generate(pictures(3), generator=seeds(), move=move, **how)
    ((rgb, seen_depth),) = move.asked
    assert rgb is not None
    assert torch.equal(seen_depth, made.depth)
    assert torch.equal(made.depth, alone.depth)
    assert torch.equal(made.rgb[1], alone.rgb[1])
    assert not torch.allclose(made.rgb[0], alone.rgb[0], atol=1e-2)


def test_each_draw_of_several_has_heads_of_its_own(told: PortraitPipeline) -> None:
    move = Moves((True, True))
    told.generate(pictures(3), generator=seeds(), steps=4, depth_first=0.5, best_of=2, move=move)
    (_, one), (_, other) = move.asked
    assert not torch.equal(one, other)


def test_given_depth_alone_is_enough_or_a_picture_is_drawn_for_it(told: PortraitPipeline) -> None:
    move = Moves((True, True))
    both = told.depth_to_image(depth(), reference=pictures(3), steps=3, generator=seeds(), move=move)
    assert [rgb is None for rgb, _ in move.asked] == [True]
    move = Moves((True, False), (True, True))
    made = told.depth_to_image(depth(), reference=pictures(3), steps=3, generator=seeds(), move=move)
    assert [rgb is None for rgb, _ in move.asked] == [True, False]
    torch.testing.assert_close(made, both)  # what was drawn before does not change the answer's own noise
    move = Moves((False, False))
    none = told.depth_to_image(depth(), reference=pictures(3), steps=3, generator=seeds(), move=move)
    assert torch.equal(none, told.depth_to_image(depth(), reference=pictures(3), steps=3, generator=seeds()))


def test_an_edit_is_drawn_once_more_for_its_depth(told: PortraitPipeline) -> None:
    known = torch.ones(2, 1, SIDE, SIDE, dtype=torch.bool)
    known[..., 8:24, 8:24] = False
    steps: list[int] = []

    def on_step(pipe: PortraitPipeline, number: int, t: int, latents: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(number)
        return {}

    def edit(**more: object) -> tuple[Tensor, Tensor]:
        return told.edit(pictures(6), depth(), known, known, reference=pictures(3), steps=3, generator=seeds(), **more)

    move = Moves((True, False))
    plain, made = edit(), edit(move=move, callback_on_step_end=on_step)
    assert steps == list(range(6))
    assert torch.equal(made[1], plain[1])
    assert torch.equal(made[0][known.expand(-1, 3, -1, -1)], pictures(6)[known.expand(-1, 3, -1, -1)])
    assert not torch.allclose(made[0][0], plain[0][0], atol=1e-2)


def test_what_cannot_be_is_refused(pipeline: PortraitPipeline, told: PortraitPipeline) -> None:
    move = Moves((True, True))
    with pytest.raises(ValueError, match="depth_first must be above 0"):
        told.generate(pictures(3), depth_first=0, move=move)

    def small(rgb: Tensor | None, depth: Tensor) -> MovedReferences:
        return MovedReferences(torch.zeros(2, 3, 8, 8), torch.ones(2, 2, 8, 8))

    with pytest.raises(ValueError, match="moved reference's rgb must be"):
        told.depth_to_image(depth(), reference=pictures(3), steps=2, move=small)
    told.register_modules(likeness_net=None)
    with pytest.raises(ValueError, match="no likeness_net"):
        told.depth_to_image(depth(), reference=pictures(3), steps=2, move=move)


def test_weights_hold_the_network_and_one_of_other_latents_is_refused(
    pipeline: PortraitPipeline, tmp_path: Path
) -> None:
    net = LikenessNet(pipeline.codec.latent_channels, 8, 8, 1)
    pipeline.register_modules(likeness_net=net)
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = PortraitPipeline.from_pretrained(tmp_path / "weights")
    assert loaded.likeness_net is not None
    LikenessNet(pipeline.codec.latent_channels + 1, 8, 8, 1).save_pretrained(tmp_path / "weights" / "likeness_net")
    with pytest.raises(WeightsError, match="likeness_net and codec"):
        PortraitPipeline.from_pretrained(tmp_path / "weights")
