"""Looks: noise, colours, light, shadows and pictures against references computed another way."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from data_prep.studio.looks import backdrop, light, person, picture, shadow, surface
from data_prep.studio.looks.noise import draw_lattice, smoothstep, value_noise
from data_prep.studio.looks.regions import BROWS, CHIN, EYELID_VERTICES, LIP_TOP, find_regions
from jdap import srgb
from jdap.blur import gaussian_blur

NOSE_TIP = 4857


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def regions(model):
    return find_regions(model)


class TestNoise:
    def test_is_the_lattice_at_lattice_points_and_repeats(self):
        lattice = draw_lattice(rng(), 8)
        points = torch.tensor([[3.0, 5, 7], [-1, 0, 8], [0, 0, 0]])
        expected = torch.stack([lattice[3, 5, 7], lattice[7, 0, 0], lattice[0, 0, 0]])
        torch.testing.assert_close(value_noise(points, lattice), expected)
        points = torch.rand(500, 3) * 8
        torch.testing.assert_close(value_noise(points + 16, lattice), value_noise(points, lattice), atol=1e-4, rtol=0)

    def test_blend_agrees_with_a_sum_over_the_corners(self):
        lattice = draw_lattice(rng(1), 8)
        for point in torch.rand(20, 3) * 30 - 15:
            cell = np.floor(point.numpy()).astype(int)
            t = point.numpy() - cell
            t = t * t * (3 - 2 * t)
            value = variance = 0.0
            for corner in np.ndindex(2, 2, 2):
                weight = np.prod(np.where(corner, t, 1 - t))
                value += weight * float(lattice[tuple((cell + corner) % 8)])
                variance += weight**2
            assert float(value_noise(point[None], lattice)) == pytest.approx(value / variance**0.5, abs=1e-3)

    @pytest.mark.parametrize("octaves", [1, 3])
    def test_has_unit_variance_everywhere(self, octaves):
        noise = value_noise(torch.rand(50_000, 3) * 32, draw_lattice(rng(2)), octaves)
        assert abs(float(noise.mean())) < 0.1
        assert float(noise.std()) == pytest.approx(1, abs=0.05)


class TestColours:
    def test_skin_covers_all_classes_of_the_individual_typology_angle(self):
        """ITA = atan((L* − 50) / b*): very light, light, intermediate, tan, brown or dark (Chardon et al. 1991)."""
        melanin = torch.linspace(0, 1, 101)
        linear = person.skin_reflectance(melanin, torch.full_like(melanin, 0.35))
        lab = rgb2lab(srgb.from_linear(linear).numpy()[None])[0]
        angle = np.degrees(np.arctan2(lab[:, 0] - 50, lab[:, 2]))
        counts, _ = np.histogram(angle, [-90, -30, 10, 28, 41, 55, 90])
        assert (counts >= 4).all()
        assert (np.diff(angle) < 0).all()
        assert (lab[:, 1:] > 5).all(), "skin is reddish and yellowish"

    def test_more_pigment_is_darker_and_blood_is_redder(self):
        amounts = torch.linspace(0, 1, 9)
        brown = person.skin_reflectance(amounts, torch.full_like(amounts, 0.3))
        red = person.skin_reflectance(torch.full_like(amounts, 0.3), amounts)
        assert (brown.diff(dim=0) < 0).all()
        assert ((red[:, 0] / red[:, 1]).diff() > 0).all()

    def test_all_tones_are_equally_frequent_and_dark_skin_has_dark_eyes_and_hair(self):
        people = [person.draw_look(rng(seed)) for seed in range(400)]
        counts, _ = np.histogram([p.melanin for p in people], 4, (0, 1))
        assert counts.min() > 70
        dark = [p for p in people if p.melanin > 0.6]
        assert max(sum(p.iris_rgb) for p in dark) < 0.2
        assert np.median([sum(p.hair_rgb) for p in dark]) < 0.1


class TestRegions:
    def test_masks_cover_what_they_name_and_nothing_else(self, regions):
        assert regions.lips[LIP_TOP] == 1
        assert regions.lips[[CHIN, NOSE_TIP]].max() == 0
        assert regions.nose_tip[NOSE_TIP] > 0.9
        assert regions.beard[CHIN] > 0.9
        assert regions.beard[[NOSE_TIP, LIP_TOP]].max() == 0
        corners = [v for brow in BROWS for v in brow]
        assert regions.brow_mm[corners].max() < 1e-4
        assert regions.lash_line[[v for eye in EYELID_VERTICES for v in eye[:4]]].min() > 0.9

    def test_brows_begin_at_the_nose(self, regions):
        for right_to_left in BROWS:
            along = regions.brow_along[list(right_to_left)]
            assert along.min() == 0
            assert along.max() == 1
        assert regions.brow_along[1401] == 0
        assert regions.brow_along[268] == 1

    def test_hair_and_clothes_are_above_and_below(self, model, regions):
        _, y, z = model.mean_V3.unbind(1)
        crown, chest = (y > 130).nonzero()[:, 0], (y < -185).nonzero()[:, 0]
        face = ((z > 100) & (y > -70) & (y < 70)).nonzero()[:, 0]
        assert regions.above_hairline_mm[crown].min() > 20
        assert regions.above_hairline_mm[face].max() < -15
        assert regions.collar_mm[chest].max() < 0
        assert regions.collar_mm[face].min() > 50

    def test_is_symmetric_and_eyeballs_lie_in_the_eyes(self, model, regions):
        right, left = regions.eyeball_mm
        torch.testing.assert_close(right * torch.tensor([-1.0, 1, 1]), left, atol=0.01, rtol=0)
        opening = model.mean_V3[list(EYELID_VERTICES[1])]
        assert (opening[:, :2].amin(0) < left[:2]).all()
        assert (left[:2] < opening[:, :2].amax(0)).all()
        lips = regions.lips[model.mean_V3[:, 0] > 1].sum(), regions.lips[model.mean_V3[:, 0] < -1].sum()
        assert float(lips[0]) == pytest.approx(float(lips[1]), rel=0.02)


class TestLight:
    def test_harmonics_are_orthogonal_on_the_sphere(self):
        basis = light.harmonics(shadow.fibonacci_sphere(20_000))
        gram = (basis.T @ basis / 20_000).numpy()
        off = gram - np.diag(np.diag(gram))
        assert np.abs(off).max() < 1e-3
        assert np.diag(gram).min() > 0.05

    def test_matt_white_answers_with_lambert(self):
        ambient = torch.zeros(9, 3)
        ambient[0] = 0.5
        lamps = light.Lighting(ambient, torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.8, 0.6]]))
        angles = torch.deg2rad(torch.tensor([0.0, 30, 60, 90, 150]))
        normals = torch.stack([angles.sin(), torch.zeros(5), -angles.cos()], 1)
        one, zero, first = torch.ones(5), torch.zeros(5), torch.zeros(5, dtype=torch.int64)
        eye = torch.tensor([[0.0, 0, -1]]).expand(5, 3)
        out = light.shade(
            light.Lights.of([lamps]), first, torch.full((5, 3), 0.5), normals, eye, zero, one, zero, one, one[:, None]
        )
        expected = 0.5 * (0.5 + angles.cos().clamp_min(0)[:, None] * lamps.power_D3)
        torch.testing.assert_close(out, expected)
        shut = light.shade(
            light.Lights.of([lamps]), first, torch.full((5, 3), 0.5), normals, eye, one, one, one, zero, zero[:, None]
        )
        assert shut.abs().max() == 0, "in full shadow nothing is left, no sheen either"

    def test_sheen_peaks_at_the_mirror_direction(self):
        lamp = torch.nn.functional.normalize(torch.tensor([[0.6, 0.0, -0.8]]), dim=1)
        lamps = light.Lighting(torch.zeros(9, 3), lamp, torch.ones(1, 3))
        angles = torch.deg2rad(torch.linspace(-60, 80, 141))
        normals = torch.stack([angles.sin(), torch.zeros(141), -angles.cos()], 1)
        eye, one = torch.tensor([[0.0, 0, -1]]).expand(141, 3), torch.ones(141)
        first = torch.zeros(141, dtype=torch.int64)
        out = light.shade(
            light.Lights.of([lamps]),
            first,
            torch.zeros(141, 3),
            normals,
            eye,
            one,
            50 * one,
            0 * one,
            one,
            one[:, None],
        )[:, 0]
        half = float(torch.rad2deg(torch.atan2(lamp[0, 0], -lamp[0, 2]))) / 2
        assert float(torch.rad2deg(angles[out.argmax()])) == pytest.approx(half, abs=1.5)

    def test_a_roof_shadows_what_is_under_it_from_above_only(self):
        def square(side: float, height: float) -> torch.Tensor:
            x, z = torch.meshgrid(torch.linspace(-side, side, 9), torch.linspace(-side, side, 9), indexing="ij")
            return torch.stack([x.flatten(), torch.full((81,), height), z.flatten()], 1)

        i = torch.arange(64) // 8 * 9 + torch.arange(64) % 8
        tiles = torch.cat([torch.stack([i, i + 1, i + 10], 1), torch.stack([i, i + 10, i + 9], 1)])
        vertices = torch.cat([square(150, 0.0), square(75, 60.0)])
        faces = torch.cat([tiles, tiles + 81])
        transfer = shadow.measure_transfer(vertices, faces, torch.ones(len(faces), dtype=torch.bool))
        lamps = torch.tensor([[0.0, 1, 0], [0.97, 0.25, 0]])
        above, side = transfer.shadow(transfer.lobes(lamps)).unbind(1)
        middle, corner, roof = 40, 0, 81 + 40
        assert above[middle] < shadow.BOUNCE + 0.1
        assert side[middle] > 0.75
        assert above[corner] > 0.9
        assert above[roof] > 0.95


class TestPicture:
    def test_final_centres_are_samples_of_the_grid(self):
        """A pixel's centre projects onto the centre of sample 2 u + 1 of the grid."""
        camera = torch.tensor([[300.0, 61.0, 70.0]])
        (f, cx, cy), (gf, gcx, gcy) = camera[0], picture.grid_camera(camera)[0]
        u = torch.arange(128) + 0.5
        ray = (u - cx) / f
        torch.testing.assert_close(gf * ray + gcx - 0.5, 2 * torch.arange(128.0) + 1, atol=1e-4, rtol=0)
        assert picture.centres(torch.zeros(1, 257, 257)).shape == (1, 128, 128)
        assert gcy == 2 * cy + 0.5

    def test_downsampling_keeps_light_and_place(self):
        ramp = torch.arange(33.0).view(1, 1, 33, 1).expand(1, 33, 33, 3)
        small = picture.downsample(ramp)
        assert small.shape == (1, 16, 16, 3)
        torch.testing.assert_close(small, picture.centres(ramp))
        spot = torch.zeros(1, 33, 33, 3)
        spot[0, 16, 16] = 1
        assert float(picture.downsample(spot).sum()) == pytest.approx(3 / 4)

    def test_a_background_is_the_same_scene_at_any_size(self):
        for seed in range(8):
            scene = backdrop.draw_background(rng(seed))
            large, small = scene.render(129, "cpu"), scene.render(65, "cpu")
            torch.testing.assert_close(large[::2, ::2], small, atol=1e-4, rtol=1e-3)
            assert large.min() >= 0

    def test_exposure_is_in_stops_and_noise_differs_between_frames(self):
        grey = torch.full((1, 16, 16, 3), 0.1)
        plain = picture.Sensor(stops=0.0, blur=0.0, noise=0.0, seed=1)
        brighter = picture.Sensor(stops=1.0, blur=0.0, noise=0.0, seed=1)
        expected = round(255 * float(srgb.from_linear(torch.tensor(0.2))))
        assert (picture.expose(grey, [brighter], [1.0], [0]) == expected).all()
        assert (picture.expose(grey, [plain], [2.0], [0]) == expected).all()
        noisy = picture.Sensor(stops=0.0, blur=0.0, noise=0.01, seed=1)
        first, again, second = (picture.expose(grey, [noisy], [1.0], [frame]) for frame in (0, 0, 1))
        assert (first == again).all()
        assert (first != second).any()

    def test_blur_keeps_the_mean(self):
        point = torch.zeros(65, 65, 3)
        point[32, 32] = 0.5
        blurred = gaussian_blur(point.permute(2, 0, 1)[None], 2.0)
        assert float(blurred.sum()) == pytest.approx(1.5, rel=1e-4)
        spread = (blurred[0, 0].sum(0) * (torch.arange(65) - 32) ** 2).sum() / blurred[0, 0].sum()
        assert float(spread) == pytest.approx(4.0, rel=0.05)


class TestSurface:
    def test_an_eye_is_dark_in_the_middle_and_white_aside(self):
        look = person.draw_look(rng())
        centres = torch.tensor([[-31.0, 36, 78], [31.0, 36, 78]])
        side = torch.nn.functional.normalize(torch.tensor([[-0.9, -0.2, 1.0]]), dim=1)
        points = torch.cat([centres + torch.tensor([0.0, 0, 15]), centres + 15 * side])
        albedo = surface.eye_surface(look, points, centres).albedo_N3
        assert albedo[:2].max() < 0.02
        assert albedo[2:].min() > 0.1

    def test_the_mouth_is_dark_behind_closed_lips_and_deep_inside(self):
        look = person.draw_look(rng())
        points = torch.tensor([[0.0, -30, 107], [0.0, -30, 60]])
        teeth = torch.tensor([True, True])
        shut, apart = (surface.mouth_surface(look, points, teeth, torch.tensor(mm)).open_N for mm in (0.0, 20.0))
        assert shut.max() < 0.15
        assert apart[0] > 0.8
        assert apart[1] < 0.05

    def test_joining_puts_every_sample_in_its_place(self):
        mask = torch.tensor([True, False, True])
        look = person.draw_look(rng())
        a = surface.mouth_surface(look, torch.zeros(2, 3), torch.tensor([True, True]), torch.tensor(5.0))
        b = surface.mouth_surface(look, torch.zeros(1, 3), torch.tensor([False]), torch.tensor(5.0))
        whole = surface.join([(mask, a), (~mask, b)], 3)
        torch.testing.assert_close(whole.albedo_N3[mask], a.albedo_N3)
        torch.testing.assert_close(whole.albedo_N3[~mask], b.albedo_N3)

    def test_smoothstep(self):
        x = torch.tensor([-1.0, 0, 0.25, 0.5, 1, 3])
        torch.testing.assert_close(smoothstep(x, 0, 1), torch.tensor([0, 0, 0.15625, 0.5, 1, 1]))
