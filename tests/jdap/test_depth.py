import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jdap import depth


def scene(b: int = 3, size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth in mm with holes, and a skin mask that reaches into the holes."""
    z = 500 + 100 * torch.rand(b, 1, size, size)
    holes = torch.rand(b, 1, size, size) < 0.3
    return torch.where(holes, torch.zeros_like(z), z), torch.rand(b, 1, size, size) < 0.5


class TestTenths:
    def test_every_value_of_a_file_comes_back(self):
        tenths = np.arange(65536, dtype=np.uint16)
        np.testing.assert_array_equal(depth.to_tenths(depth.from_tenths(tenths)), tenths)

    def test_rounding_is_to_the_nearest_tenth(self):
        given = np.array([0.0, 0.04, 0.06, 123.44, 123.46, 6553.5])
        np.testing.assert_array_equal(depth.to_tenths(given), [0, 0, 1, 1234, 1235, 65535])
        assert depth.from_tenths(np.array([1235], np.uint16)).dtype == np.float32

    @pytest.mark.parametrize("bad", [-0.1, 6553.6, np.nan, np.inf])
    def test_nothing_is_clipped_silently(self, bad):
        with pytest.raises(ValueError, match=r"within 0 … 6553\.5 mm"):
            depth.to_tenths(np.array([1.0, bad]))

    def test_an_empty_array_is_fine(self):
        assert depth.to_tenths(np.zeros((0, 4))).shape == (0, 4)


class TestRange:
    def test_quantiles_are_numpys_over_valid_skin(self):
        z, skin = scene()
        for got, one, mask in zip(depth.skin_range_mm(z, skin), z.numpy(), skin.numpy(), strict=True):
            expected = np.quantile(one[mask & (one > 0)], [0.02, 0.98])
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_quantiles_are_torchs_to_the_bit(self, dtype):
        generator = torch.Generator().manual_seed(3)
        for count in (2, 3, 49, 50, 51, 52, 100, 101, 1000, 4097):
            z = 500 + 100 * torch.rand(5, 1, 1, count, generator=generator, dtype=dtype)
            z = torch.where(z < 550, z, (10 * z).round() / 10)  # many equal values, as files hold
            expected = torch.quantile(z.flatten(1), z.new_tensor([0.02, 0.98]), dim=1).T
            got = depth.skin_range_mm(z, torch.ones_like(z, dtype=torch.bool))
            assert torch.equal(got, expected), count

    def test_pixels_off_the_skin_do_not_count(self):
        z, skin = scene()
        other = torch.where(skin, z, torch.full_like(z, 6000.0))
        assert torch.equal(depth.skin_range_mm(z, skin), depth.skin_range_mm(other, skin))

    def test_no_skin_no_depth_and_a_flat_skin_have_no_range(self):
        z, skin = scene(4)
        skin[0] = False
        z[1] = 0
        z[2] = 600.0
        ranges = depth.skin_range_mm(z, skin)
        assert ranges[:3].tolist() == [[0, 1]] * 3
        assert depth.has_range(ranges).tolist() == [False, False, False, True]

    def test_relief_of_just_over_a_millimetre_is_a_range(self):
        z = torch.linspace(600, 601.1, 101).reshape(1, 1, 1, 101)
        skin = torch.ones_like(z, dtype=torch.bool)
        near, far = depth.skin_range_mm(z, skin)[0]
        assert far - near == pytest.approx(1.1 * 0.96, abs=1e-3)


class TestNormalising:
    def test_by_hand(self):
        z = torch.tensor([500.0, 510, 520, 480, 700, 0]).reshape(1, 1, 1, 6)
        d = depth.normalise(z, torch.tensor([[500.0, 520.0]]))
        assert d.flatten().tolist() == [-1, 0, 1, -1, 1, 1]

    def test_the_inverse_is_exact_inside_the_range(self):
        z, skin = scene()
        ranges = depth.skin_range_mm(z, skin)
        back = depth.denormalise(depth.normalise(z, ranges), ranges)
        near, far = (ranges[:, i].reshape(-1, 1, 1, 1) for i in range(2))
        inside = (z >= near) & (z <= far)
        assert inside.float().mean() > 0.5
        torch.testing.assert_close(back[inside], z[inside], rtol=0, atol=1e-3)
        # Outside it saturates: at the near or far end of the range, and at the far one where there is no depth.
        torch.testing.assert_close(back, torch.where(z > 0, z.clamp(near, far), far.expand_as(z)), rtol=0, atol=1e-3)

    def test_the_other_way_round_is_exact_too(self):
        d = torch.linspace(-1, 1, 30).reshape(1, 1, 5, 6)
        ranges = torch.tensor([[430.0, 560.0]])
        torch.testing.assert_close(depth.normalise(depth.denormalise(d, ranges), ranges), d, rtol=0, atol=1e-5)

    def test_each_picture_has_its_own_range_and_clips_share_one(self):
        ranges = torch.tensor([[500.0, 600.0], [100.0, 200.0]])
        z = torch.tensor([550.0, 150.0]).reshape(2, 1, 1, 1)
        assert depth.normalise(z, ranges).abs().max() < 1e-5
        clips = z[:, None].expand(2, 7, 1, 4, 4)
        assert depth.normalise(clips, ranges).shape == clips.shape
        assert depth.normalise(clips, ranges).abs().max() < 1e-5

    def test_a_picture_without_a_range_stays_finite(self):
        z = torch.tensor([0.0, 600.0]).reshape(1, 1, 1, 2)
        assert depth.normalise(z, torch.tensor([[0.0, 1.0]])).flatten().tolist() == [1, 1]


class TestCodec:
    def test_three_channels_and_back(self):
        d = torch.rand(2, 5, 1, 8, 8) * 2 - 1
        picture = depth.to_codec(d)
        assert picture.shape == (2, 5, 3, 8, 8)
        torch.testing.assert_close(depth.from_codec(picture), d)

    def test_a_decoded_picture_is_averaged_and_clipped(self):
        picture = torch.tensor([0.0, 0.3, 0.6]).reshape(1, 3, 1, 1)
        assert depth.from_codec(picture).item() == pytest.approx(0.3)
        assert depth.from_codec(torch.full((1, 3, 1, 1), 1.7)).item() == 1

    def test_latent_weight_is_the_share_of_skin(self):
        skin = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        skin[..., :4, :2] = True
        assert depth.latent_weight(skin, 4).flatten().tolist() == [0.5, 0, 0, 0]
        skin = torch.rand(2, 1, 16, 16) < 0.4
        by_hand = F.unfold(skin.float(), 8, stride=8).mean(1).reshape(2, 1, 2, 2)
        torch.testing.assert_close(depth.latent_weight(skin, 8), by_hand)


class TestConfidence:
    def test_a_cell_has_the_mean_over_its_skin(self):
        generator = torch.Generator().manual_seed(0)
        confidence = torch.rand(2, 1, 8, 12, generator=generator)
        skin = torch.rand(2, 1, 8, 12, generator=generator) < 0.4
        skin[0, :, :4, :4] = False
        got = depth.latent_confidence(confidence, skin, 4)
        assert got.shape == (2, 1, 2, 3)
        for b, y, x in np.ndindex(2, 2, 3):
            cell = (b, 0, slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
            trusted = confidence[cell][skin[cell]] if skin[cell].any() else confidence[cell]
            assert got[b, 0, y, x] == pytest.approx(float(trusted.mean()), abs=1e-6)

    def test_full_confidence_is_exactly_one(self):
        _, skin = scene()
        factor = 4 if skin.shape[-1] % 4 == 0 else 1
        assert (depth.latent_confidence(torch.ones(skin.shape), skin, factor) == 1).all()


def test_depth_is_learnt_on_skin_and_of_studio_people_a_little_beside_it():
    skin = torch.tensor([0.0, 0.5, 1.0]).repeat(3, 1, 1, 1)
    range_mm = torch.tensor([[500.0, 600.0], [500.0, 600.0], [0.0, 1.0]])
    weight = depth.loss_weight(skin, ("studio", "fitted", "studio"), range_mm, 0.2)
    assert torch.allclose(weight.reshape(3, 3), torch.tensor([[0.2, 0.6, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]))
