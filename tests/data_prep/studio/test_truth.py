"""Truth of the studio: a sphere and a plane against their equations, shading from truth, batches, relighting."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from data_prep.head.normals import VertexNormals
from data_prep.studio.looks import light, picture
from data_prep.studio.looks.bust import BUST_PARTS
from data_prep.studio.people import PersonJob, make_batch, plan
from data_prep.studio.truth import Truth
from jdap import depth
from jdap.choices import PARSED
from jdap.data import draw
from jdap.geometry import vertex_normals
from jdap.shape.rasterise import rasterise
from jdap.shards import schema
from jdap.shards.sample import Sample

SIZE = 48
RELIT = PersonJob(6, 2, SIZE, truth=True, relight=True)
MATT = PersonJob(6, 2, SIZE, truth=True, shadows=False)


@pytest.fixture(scope="module")
def shoots(room):
    return [plan(room, RELIT, index)[0] for index in range(3)]


@pytest.fixture(scope="module")
def shots(room, shoots):
    """Three people, two stills each, all six drawn at a time."""
    return room.photograph(shoots, SIZE, truth=True, batch=6)


@pytest.fixture(scope="module")
def matt(room):
    """Without shadows: the sample, and its truth in memory."""
    (shot,) = room.photograph([plan(room, MATT, 1)[0]], SIZE, truth=True, shadows=False)
    return make_batch(room, MATT, [1])[0], shot.truth


def angle_deg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(2 * torch.asin(((a - b).norm(dim=-1) / 2).clamp(max=1)))


class TestAnalyticSurfaces:
    """Through the studio's path: the sample grid of a still's camera, its centres, and 16 bits on disk."""

    CAMERA = torch.tensor([[140.0, 61.3, 66.9]])
    PIXELS = 128

    def rays(self):
        v, u = torch.meshgrid(*[torch.arange(self.PIXELS).double() + 0.5] * 2, indexing="ij")
        f, cx, cy = self.CAMERA[0].double()
        return torch.stack([(u - cx) / f, (v - cy) / f, torch.ones_like(u)], -1)

    def draw(self, vertices, faces):
        grid = picture.grid_size(self.PIXELS)
        return rasterise(vertices, faces, picture.grid_camera(self.CAMERA), grid, grid, cull_back_faces=True)

    def stored(self, depth_mm):
        return depth.from_tenths(schema.decode_depth(schema.encode_depth(depth.to_tenths(depth_mm.numpy()))))

    def test_tilted_plane(self):
        a, b, c = 0.31, -0.17, 500.0
        xy = torch.tensor([[-900.0, -900.0], [900.0, -900.0], [900.0, 900.0], [-900.0, 900.0]])
        vertices = torch.cat([xy, a * xy[:, :1] + b * xy[:, 1:] + c], 1)[None]
        seen = picture.centres(self.draw(vertices, torch.tensor([[0, 2, 1], [0, 3, 2]])).depth_mm)[0]
        d = self.rays()
        exact = c / (1 - a * d[..., 0] - b * d[..., 1])
        assert (seen > 0).all()
        assert (seen - exact).abs().max() < 1e-3
        # 0.05 mm is what rounding to tenths takes, and the float of a tenth a little more.
        assert np.abs(self.stored(seen) - exact.numpy()).max() < 0.05 + 1e-3

    def test_sphere(self):
        radius, centre = 110.0, torch.tensor([9.0, -5.0, 520.0], dtype=torch.float64)
        rows, columns = 500, 1000
        polar = torch.linspace(0, torch.pi, rows + 1, dtype=torch.float64)[:, None]
        round_ = torch.arange(columns, dtype=torch.float64) / columns * 2 * torch.pi
        unit = torch.stack(
            [polar.sin() * round_.cos(), polar.sin() * round_.sin(), polar.cos().expand(-1, columns)], -1
        )
        corner = torch.arange((rows + 1) * columns).view(rows + 1, columns)
        a, b, c, d = corner[:-1], corner[1:], corner[1:].roll(-1, 1), corner[:-1].roll(-1, 1)
        faces = torch.cat([torch.stack(t, -1).view(-1, 3) for t in ((a, b, c), (a, c, d))])
        vertices = (centre + radius * unit.view(-1, 3)).float()[None]
        fragments = self.draw(vertices, faces)
        seen = picture.centres(fragments.depth_mm)[0]
        rays = self.rays()
        along, square = (rays * centre).sum(-1), (rays * rays).sum(-1)
        root = along**2 - square * (centre @ centre - radius**2)
        z = (along - root.clamp_min(0).sqrt()) / square
        # Close to the outline depth has no bound on its slope, and flat triangles lie under the sphere.
        inner = root > 0.05 * root.max()
        assert inner.sum() > 1500
        assert (seen - z)[inner].abs().max() < 0.01
        assert np.abs(self.stored(seen) - z.numpy())[inner.numpy()].max() < 0.05 + 0.01

        samples = fragments.samples()
        values = samples.interpolate(faces, VertexNormals(faces, vertices.shape[1])(vertices))
        grid = torch.zeros(*fragments.face.shape, 3)
        grid.view(-1, 3)[samples.pixel_N] = torch.nn.functional.normalize(values, dim=1)
        exact = (rays * z[..., None] - centre) / radius
        assert angle_deg(picture.centres(grid)[0].double(), exact)[inner].max() < 0.1


def test_vertex_normals_are_those_of_geometry_for_any_batch():
    faces, vertices = torch.randint(40, (150, 3)), torch.randn(5, 42, 3)
    normals = VertexNormals(faces, 42)
    torch.testing.assert_close(normals(vertices), vertex_normals(vertices, faces), atol=1e-5, rtol=0)
    assert (normals(vertices)[:, 40:] == 0).all(), "vertices of no triangle"
    assert torch.equal(normals(vertices)[3:4], normals(vertices[3:4]))


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 4])
    def test_pictures_do_not_depend_on_the_batch(self, room, shoots, shots, batch):
        for one, other in zip(room.photograph(shoots, SIZE, batch=batch), shots, strict=True):
            for name in ("rgb_FSS3", "depth_mm_FSS", "skin_FSS", "relit_FSS3"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))

    def test_samples_do_not_depend_on_the_company(self, room):
        job = PersonJob(8, 2, 32, truth=True, relight=True, mean_head=True)
        together = make_batch(room, job, [4, 5])
        alone = make_batch(room, job, [5])[0]
        assert together[1].members().keys() == alone.members().keys()
        for name, data in alone.members().items():
            assert together[1].members()[name] == data, name


class TestTruth:
    def test_shading_it_gives_the_linear_picture(self, shots):
        for shot in shots:
            torch.testing.assert_close(shot.truth.shade(), shot.truth.linear_FSS3, atol=1e-5, rtol=1e-5)
            assert shot.truth.linear_FSS3.max() > 0.05
            matt, whole = shot.truth.diffuse(), shot.truth.linear_FSS3
            assert (matt <= whole + 1e-5).all(), "sheen only adds"

    def test_the_law_as_docs_write_it_gives_the_linear_picture(self, shots):
        """In NumPy and double precision, pixel by pixel: nothing of the renderer's own shading is used."""
        truth = shots[0].truth
        value = {f.name: getattr(truth, f.name).double().numpy() for f in fields(Truth)}
        for f, v, u in np.argwhere(value["part_FSS"] > 0)[::37]:
            normal, eye = value["normal_FSS3"][f, v, u], value["to_eye_FSS3"][f, v, u]
            opened, wrap = value["opened_FSSL"][f, v, u], value["wrap_FSS"][f, v, u] * np.array([0.25, 0.12, 0.08])
            x, y, z = normal
            basis = np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
            ambient = value["ambient_F93"][f]
            matt = np.maximum(basis @ ambient, 0.1 * ambient[0]) * opened[0]
            shine = np.zeros(3)
            for lamp, power, arrives in zip(value["lamps_FD3"][f], value["power_FD3"][f], opened[1:], strict=False):
                cosine = normal @ lamp
                matt = matt + power * np.maximum((cosine + wrap) / (1 + wrap), 0) * arrives
                half = (eye + lamp) / np.linalg.norm(eye + lamp)
                exponent = value["sharpness_FSS"][f, v, u]
                lobe = max(normal @ half, 0) ** exponent * (exponent + 8) / 8
                fresnel = 0.04 + 0.96 * (1 - np.clip(eye @ half, 0, 1)) ** 5
                shine += power * lobe * fresnel * value["gloss_FSS"][f, v, u] * arrives * max(cosine, 0)
            expected = value["albedo_FSS3"][f, v, u] * matt + shine
            np.testing.assert_allclose(value["linear_FSS3"][f, v, u], expected, atol=1e-4)

    def test_it_fits_depth_and_skin(self, shots):
        for shot in shots:
            seen = torch.from_numpy(shot.depth_mm_FSS) > 0
            assert torch.equal(shot.truth.part_FSS > 0, seen)
            torch.testing.assert_close(shot.truth.normal_FSS3[seen].norm(dim=1), torch.ones(int(seen.sum())))
            away = (shot.truth.normal_FSS3 * shot.truth.to_eye_FSS3).sum(-1)[torch.from_numpy(shot.skin_FSS)]
            assert (away > -0.1).float().mean() > 0.99, "skin that is seen faces the camera"
            assert (shot.truth.wrap_FSS[~seen] == 0).all()

    def test_labels_say_in_a_parsers_words_what_parts_and_skin_say(self, shots):
        for shot in shots:
            label, part = shot.truth.label_FSS.numpy(), shot.truth.part_FSS.numpy()
            assert ((label == PARSED.index("background")) == (part == 0)).all()
            assert (label[shot.skin_FSS] == PARSED.index("skin")).all()
            for worn, name in (("beard", "hair"), ("hat", "hat"), ("frame", "glasses"), ("sclera", "skin")):
                assert (label[part == 1 + BUST_PARTS.index(worn)] == PARSED.index(name)).all(), worn
            assert "label" not in shot.truth.maps()
        # Cloth and hair that are painted on the head are no skin.
        neck = np.concatenate([(s.truth.part_FSS == 1 + BUST_PARTS.index("head_neck")).numpy() for s in shots])
        painted = np.concatenate([s.truth.label_FSS.numpy() for s in shots])[neck]
        assert {PARSED.index("skin"), PARSED.index("cloth")} <= set(painted.tolist())

    def test_a_brighter_light_is_a_brighter_picture(self, shots):
        truth = shots[0].truth
        brighter = replace(truth, ambient_F93=2 * truth.ambient_F93, power_FD3=2 * truth.power_FD3)
        torch.testing.assert_close(brighter.shade(), 2 * truth.shade(), atol=1e-5, rtol=1e-4)

    def test_shapes_are_checked(self, shots):
        with pytest.raises(ValueError, match=r"Truth.gain_F must be \(2,\)"):
            replace(shots[0].truth, gain_F=torch.zeros(3))
        whole = Truth.join([shots[0].truth[0:1], shots[0].truth[1:2]])
        assert all(torch.equal(getattr(whole, f.name), getattr(shots[0].truth, f.name)) for f in fields(Truth))


class TestStored:
    def test_members_shade_to_the_linear_picture(self, matt):
        """Diffuse light from what a shard holds, without shadows: within 3 % of the brightest, 0.3 % on average.

        Normals are off by 0.4 degrees at most, the square root of albedo and the other maps by 1/510.
        """
        sample, truth = matt
        back = Sample.from_members(sample.members())
        maps = {kind: torch.from_numpy(values) for kind, values in back.maps.items()}
        seen = maps["part"] > 0
        arrays = {name: torch.from_numpy(values) for name, values in back.arrays.items()}
        lights = light.Lights(arrays["light_ambient"], arrays["light_lamps"], arrays["light_power"])
        opened = maps["open"][seen]
        matt = light.diffuse(
            lights, seen.nonzero()[:, 0], maps["normal"][seen], maps["wrap"][seen], opened[:, 0], opened[:, 1:]
        )
        error = (maps["albedo"][seen] * matt - truth.diffuse()[seen]).abs()
        brightest = truth.diffuse().max()
        assert error.max() < 0.03 * brightest
        assert error.mean() < 0.003 * brightest
        np.testing.assert_allclose(back.arrays["exposure_gain"], truth.gain_F.numpy())

    def test_maps_come_back(self, matt):
        sample, truth = matt
        back = Sample.from_members(sample.members())
        normals = torch.from_numpy(back.maps["normal"])
        seen = truth.part_FSS > 0
        assert angle_deg(normals, truth.normal_FSS3)[seen].max() < 0.4
        assert (normals[~seen] == 0).all()
        assert (back.maps["part"] == truth.part_FSS.numpy()).all()
        assert np.abs(back.maps["albedo"] - truth.albedo_FSS3.numpy()).max() < 0.005

    def test_readers_ignore_what_they_do_not_need(self, matt):
        sample, _ = matt
        members = sample.members()
        broken = {
            name: b"no picture" if name.split(".")[0] in schema.TRUTH_MAPS else data for name, data in members.items()
        }
        record = draw.read_record({**broken, "__key__": sample.key, "__url__": "x"})
        drawn = draw.pick({**broken, "__key__": sample.key, "__url__": "x", "turn": 0}, record, 0, [1])
        assert not any(name.split(".")[0] in schema.TRUTH_MAPS for name in drawn.members)
        with pytest.raises(schema.SchemaError):
            Sample.from_members(broken)


class TestRelighting:
    def test_light_differs_and_nothing_else(self, shots):
        for shot in shots:
            assert (shot.rgb_FSS3 != shot.relit_FSS3).mean() > 0.2
            same = {"ambient_F93", "lamps_FD3", "power_FD3", "gain_F", "linear_FSS3", "opened_FSSL"}
            for field in fields(Truth):
                equal = torch.equal(getattr(shot.truth, field.name), getattr(shot.relit_truth, field.name))
                assert equal == (field.name not in same), field.name

    def test_asking_for_it_does_not_change_the_picture(self, room, shots):
        plain = make_batch(room, PersonJob(6, 2, SIZE), [0])[0]
        np.testing.assert_array_equal(plain.rgb_FHW3, shots[0].rgb_FSS3)
        assert not plain.maps
        assert "light_ambient" not in plain.arrays

    def test_pairs_are_stored_with_both_lights(self, room, shots):
        sample = make_batch(room, replace(RELIT, truth=False), [0])[0]
        assert set(sample.maps) == {"relit"}
        assert (sample.arrays["relit_ambient"] != sample.arrays["light_ambient"]).any()
        np.testing.assert_array_equal(sample.maps["relit"], shots[0].relit_FSS3)


def test_shares_that_round_over_one_are_stored(shots):
    truth = next(shot.truth for shot in shots if shot.truth is not None)
    over = replace(truth, opened_FSSL=truth.opened_FSSL * 0 + 1 + 2e-7)
    opened = schema.TRUTH_MAPS["open"][0](over.maps()["open"][0])
    assert (schema.TRUTH_MAPS["open"][1](opened) == 1).all()
