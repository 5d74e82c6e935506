"""The studio: exact depth by independent rays, seeds and splits, plausible takes, and the command."""

import argparse
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes

from data_prep.choices import MAX_PEOPLE, SPLIT_START
from data_prep.clips.steps.pipeline import Task
from data_prep.commands import studio
from data_prep.commands.studio import StudioError
from data_prep.engines import studio as studio_units
from data_prep.engines.plan import PrepareError
from data_prep.folders.verify import verify
from data_prep.head.model import head_to_camera
from data_prep.options import studio as options
from data_prep.studio.looks.noise import draw_lattice
from data_prep.studio.motion import performance
from data_prep.studio.people import (
    MAX_IDENTITY_SD,
    PersonJob,
    draw_person,
    make_batch,
    make_sample,
)
from data_prep.studio.scene import Shoot, draw_scene
from jdap.geometry import project
from jdap.shape.rasterise import rasterise
from jdap.shards.reader import read_samples
from jdap.units import FPS

SIZE = 64


@pytest.fixture(scope="module")
def stills(room):
    """Three people of four stills each, with the mean head."""
    return [make_sample(room, PersonJob(3, 4, SIZE, mean_head=True), index) for index in range(3)]


@pytest.fixture(scope="module")
def many(model):
    """600 stills."""
    names = model.expression_names
    return performance.join([performance.draw_still(np.random.default_rng(i), names, SIZE) for i in range(600)])


@pytest.fixture(scope="module")
def clip(model):
    """Ten seconds."""
    return performance.draw_clip(np.random.default_rng(7), model.expression_names, 250, SIZE)


def frames(samples):
    for sample in samples:
        yield from ((sample, i) for i in range(sample.record.frames))


def arrays(sample, i):
    """One frame's arrays as batches of one."""
    return {name: torch.from_numpy(values[i : i + 1]) for name, values in sample.arrays.items()}


def first_hits(triangles_T33, directions_N3):
    """z of the nearest hit of rays from the origin, by Möller and Trumbore (1997) in double precision; inf for none."""
    a, b, c = triangles_T33.transpose(1, 0, 2).astype(np.float64)
    e1, e2, out = b - a, c - a, []
    for d in directions_N3:
        p = np.cross(d, e2)
        det = (e1 * p).sum(1)
        det = np.where(np.abs(det) < 1e-12, np.inf, det)
        u = (-a * p).sum(1) / det
        q = np.cross(-a, e1)
        v = (q @ d) / det
        t = (e2 * q).sum(1) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & np.isfinite(det)
        out.append((t[hit] * d[2]).min(initial=np.inf))
    return np.array(out)


class TestDepth:
    def test_stored_arrays_say_where_the_skin_is(self, stills, model):
        """Rays through pixel centres hit the stored identity, expression, pose and camera at the stored depth."""
        rng = np.random.default_rng(0)
        for sample, i in frames(stills[:2]):
            stored = arrays(sample, i)
            vertices = head_to_camera(
                model.vertices(stored["identity"], stored["expression"]), stored["rotation"], stored["translation_mm"]
            )
            f, cx, cy = stored["camera_px"][0].double().numpy()
            v, u = sample.skin_FHW[i].nonzero()
            some = rng.choice(len(u), 40, replace=False)
            rays = np.stack([(u[some] + 0.5 - cx) / f, (v[some] + 0.5 - cy) / f, np.ones(40)], 1)
            hits = first_hits(vertices[0][model.faces_T3[model.skin_T]].numpy(), rays)
            error = np.abs(hits - sample.depth_mm_FHW[i][v[some], u[some]])
            # Hair lifts the surface a little before it counts as hair: a few pixels along the hairline may differ.
            assert np.median(error) < 0.005
            assert (error < 0.05).mean() > 0.9

    def test_grid_and_culling_change_nothing(self, room, monkeypatch):
        """Depth read from the supersampled grid is that at the final centres, and no back of the head is ever seen."""
        job, drawn = PersonJob(5, 1, SIZE), []

        def spy(vertices, faces, camera, height, width, *, drawn_BT, cull_back_faces):
            drawn.append((vertices, drawn_BT))
            return rasterise(vertices, faces, camera, height, width, drawn_BT=drawn_BT, cull_back_faces=cull_back_faces)

        monkeypatch.setattr("data_prep.studio.photograph.rasterise", spy)
        for index in range(3):
            sample = make_sample(room, job, index)
            camera, (vertices, worn) = torch.from_numpy(sample.arrays["camera_px"]), drawn[-1]
            mesh = vertices, room.bust.faces_T3, camera, SIZE, SIZE
            again = rasterise(*mesh, drawn_BT=worn, cull_back_faces=True).depth_mm[0].numpy()
            assert (np.abs(again - sample.depth_mm_FHW[0]) < 0.02).mean() > 0.9995
            # Locks of hair are open sheets, drawn from outside alone; the head itself is closed.
            head = [rasterise(*mesh, drawn_BT=room.bust.head_T[None], cull_back_faces=cull) for cull in (False, True)]
            assert ((head[0].depth_mm - head[1].depth_mm).abs() < 0.02).float().mean() > 0.9995

    def test_heads_have_no_holes(self, stills):
        for sample, i in frames(stills):
            seen, bald = sample.depth_mm_FHW[i] > 0, sample.mean_head_mm_FHW[i] > 0
            assert (binary_fill_holes(bald) == bald).all()
            # Between locks and neck, or under a collar, there may be a view of the background.
            assert (binary_fill_holes(seen) ^ seen).mean() < 0.01
            assert 0.15 < seen.mean() < 0.98

    def test_skin_has_depth_and_is_most_of_the_face(self, stills):
        for sample, i in frames(stills):
            skin, depth_mm = sample.skin_FHW[i], sample.depth_mm_FHW[i]
            assert (depth_mm[skin] > 0).all()
            assert 0.05 < skin.mean() < 0.6
            assert 20 < np.ptp(depth_mm[skin]) < 260

    def test_mean_head_is_posed_as_the_frame(self, stills, model):
        for sample, i in frames(stills[:1]):
            stored = arrays(sample, i)
            posed = head_to_camera(model.mean_V3[None], stored["rotation"], stored["translation_mm"])
            kept = model.drawn_T & ~model.part("iris")
            depth_mm = rasterise(posed, model.faces_T3[kept], stored["camera_px"], SIZE, SIZE).depth_mm[0].numpy()
            ours = sample.mean_head_mm_FHW[i]
            # Where the model itself is; below it, the studio's bust goes on.
            assert (np.abs(ours - depth_mm)[depth_mm > 0] < 0.02).mean() > 0.995
            assert np.abs(ours - sample.depth_mm_FHW[i])[sample.skin_FHW[i] & (ours > 0)].mean() > 0.5


class TestSeeds:
    def test_a_still_depends_on_seed_index_and_number_alone(self, room, stills):
        again = make_sample(room, PersonJob(3, 2, SIZE), 1)
        assert (again.rgb_FHW3 == stills[1].rgb_FHW3[:2]).all()
        assert (again.depth_mm_FHW == stills[1].depth_mm_FHW[:2]).all()
        for name, values in again.arrays.items():
            assert (values == stills[1].arrays[name][:2]).all()
        other = make_sample(room, PersonJob(4, 1, SIZE), 1)
        assert (other.rgb_FHW3[0] != stills[1].rgb_FHW3[0]).any()

    def test_depth_may_be_rounded_and_nothing_else(self, room, stills):
        coarse = make_sample(room, PersonJob(3, 2, SIZE, depth_step_mm=0.5), 1)
        exact = stills[1].depth_mm_FHW[:2]
        assert ((coarse.depth_mm_FHW > 0) == (exact > 0)).all()
        assert (coarse.depth_mm_FHW * 2 == np.rint(coarse.depth_mm_FHW * 2)).all()
        assert 0.2 < np.abs(coarse.depth_mm_FHW - exact).max() <= 0.2501
        assert (coarse.rgb_FHW3 == stills[1].rgb_FHW3[:2]).all()

    def test_stills_differ_in_everything_but_the_person(self, stills):
        for sample in stills:
            assert (np.ptp(sample.arrays["identity"], 0) == 0).all()
            for name in ("rotation", "translation_mm", "camera_px"):
                assert (np.ptp(sample.arrays[name], 0) > 0).all()
            assert np.ptp(sample.arrays["expression"], 0).max() > 0.1

    def test_stills_of_a_sitting_share_person_light_and_background_and_nothing_else(self, room, stills):
        sitting = make_sample(room, PersonJob(3, 3, SIZE, kind="sittings", truth=True), 1)
        assert sitting.record.person_id == stills[1].record.person_id
        assert sitting.record.fps == 0
        for name in ("identity", "light_ambient", "light_lamps", "light_power", "exposure_gain"):
            assert (np.ptp(sitting.arrays[name], 0) == 0).all()
        for name in ("rotation", "translation_mm", "camera_px"):
            assert (np.ptp(sitting.arrays[name], 0) > 0).all()
        # Where no head is, all of them show the same, up to the sensor's noise.
        bare = (sitting.depth_mm_FHW == 0).all(0)
        assert bare.mean() > 0.1
        colours = sitting.rgb_FHW3[:, bare].astype(float)
        assert np.abs(colours - colours.mean(0)).mean() < 0.1 * np.abs(colours - colours.mean()).max()
        shorter = make_sample(room, PersonJob(3, 2, SIZE, kind="sittings"), 1)
        assert (shorter.depth_mm_FHW == sitting.depth_mm_FHW[:2]).all()

    def test_splits_share_no_person_and_no_coefficient(self):
        people = {split: [draw_person(0, first + i, 100) for i in range(40)] for split, first in SPLIT_START.items()}
        ids = [p.person_id for split in people.values() for p in split]
        assert len(set(ids)) == len(ids)
        coefficients = np.concatenate([p.identity_K for split in people.values() for p in split])
        # Independent draws collide only by float32 rounding; one shared person would repeat a hundred values.
        assert len(np.unique(coefficients)) > len(coefficients) - 20
        starts = sorted(SPLIT_START.values())
        assert np.diff(starts).min() >= MAX_PEOPLE

    def test_identity_is_a_truncated_standard_normal(self):
        identity = np.stack([draw_person(1, i, 100).identity_K for i in range(60)])
        assert np.abs(identity).max() <= MAX_IDENTITY_SD
        assert abs(identity.mean()) < 0.05
        assert identity.std() == pytest.approx(0.880, abs=0.02)  # of N(0, 1) cut at ± 2


class TestTakes:
    def test_framing_is_as_asked(self, many):
        f, cx, cy = many.camera_px_F3.T
        fov = np.rad2deg(2 * np.arctan(SIZE / 2 / f))
        assert performance.HFOV_DEG[0] <= fov.min() < 17
        assert 43 < fov.max() <= performance.HFOV_DEG[1] + 1e-3
        middle = torch.tensor([performance.HEAD_MIDDLE_MM]).expand(600, 1, 3)
        pose = [torch.from_numpy(a) for a in (many.rotation_F3, many.translation_mm_F3, many.camera_px_F3)]
        in_camera = head_to_camera(middle, pose[0], pose[1])
        at = project(in_camera, pose[2])[:, 0] / SIZE
        assert (at - 0.5).abs().max() <= 0.0601
        fill = torch.from_numpy(f) * performance.HEAD_HEIGHT_MM / in_camera[:, 0, 2] / SIZE
        assert performance.FILL[0] - 1e-4 <= fill.min() < 0.57
        assert 0.83 < fill.max() <= performance.FILL[1] + 1e-4
        assert np.abs([cx / SIZE - 0.5, cy / SIZE - 0.5]).max() <= 0.12

    def test_heads_turn_widely_but_mostly_face_the_camera(self, many):
        angle = np.rad2deg(np.linalg.norm(many.rotation_F3, axis=1))
        assert 35 < angle.max() < 48
        turn = np.rad2deg(many.rotation_F3[:, 1])
        assert (np.abs(turn) < 10).mean() > 0.3
        assert (np.abs(turn) > 25).mean() > 0.15
        assert abs(turn.mean()) < 3

    def test_expressions_are_sparse_symmetric_and_within_range(self, many, model):
        expression = many.expression_FE
        assert expression.min() >= 0
        assert expression.max() <= 1
        assert 4 < (expression > 0.05).sum(1).mean() < 22
        column = {name: expression[:, i] for i, name in enumerate(model.expression_names)}
        for name in ("mouthSmile", "eyeBlink", "browInnerUp"):
            left, right = column[name + "_L"], column[name + "_R"]
            assert np.corrcoef(left, right)[0, 1] > 0.9
            assert left.max() > 0.5
        assert np.corrcoef(column["eyeLookOut_L"], column["eyeLookIn_R"])[0, 1] > 0.99

    def test_eyes_look_where_the_coefficients_say(self, model):
        names = model.expression_names
        expression = np.zeros((2, len(names)), np.float32)
        expression[0, [names.index("eyeLookOut_L"), names.index("eyeLookIn_R")]] = 1
        expression[1, [names.index("eyeLookDown_L"), names.index("eyeLookDown_R")]] = 0.5
        left, down = performance.gaze_direction(names, expression)
        np.testing.assert_allclose(left, np.tile([0.5, 0, 0.75**0.5], (2, 1)), atol=1e-6)
        np.testing.assert_allclose(down, np.tile([0, -np.sin(np.pi / 12), np.cos(np.pi / 12)], (2, 1)), atol=1e-6)

    def test_eye_contact_counters_the_head(self, many, model):
        """Of heads that are turned away, eyes more often look back to the camera than farther away."""
        gaze = torch.from_numpy(performance.gaze_direction(model.expression_names, many.expression_FE)).float()
        turned, zero = torch.from_numpy(many.rotation_F3), torch.zeros(1, 3)
        face = head_to_camera(torch.tensor([[[0.0, 0, 1]]]).expand(600, 1, 3), turned, zero)[:, 0, 2]
        looks = head_to_camera(gaze[:, :1], turned, zero)[:, 0, 2]
        away = face > -0.9  # by more than 26 degrees
        assert away.sum() > 60
        assert (looks < face)[away].float().mean() > 0.65

    def test_clips_move_smoothly_and_blink(self, clip, model):
        assert np.rad2deg(np.abs(np.diff(clip.rotation_F3, axis=0))).max() < 2.5
        assert np.abs(np.diff(clip.translation_mm_F3, axis=0)).max() < 12
        column = {name: clip.expression_FE[:, i] for i, name in enumerate(model.expression_names)}
        blinks = np.diff((column["eyeBlink_L"] > 0.7).astype(int)) == 1
        assert 1 <= blinks.sum() <= 9
        assert (clip.camera_px_F3 == clip.camera_px_F3[0]).all()

    def test_a_longer_clip_begins_like_a_shorter_one(self, clip, model):
        short = performance.draw_clip(np.random.default_rng(7), model.expression_names, 20, SIZE)
        np.testing.assert_array_equal(short.expression_FE, clip.expression_FE[:20])
        np.testing.assert_array_equal(short.rotation_F3, clip.rotation_F3[:20])
        np.testing.assert_allclose(short.translation_mm_F3, clip.translation_mm_F3[:20], rtol=1e-6)


class TestPictures:
    def test_are_exposed_and_differ_from_their_background(self, stills):
        for sample, i in frames(stills):
            rgb, head = sample.rgb_FHW3[i].astype(float), sample.depth_mm_FHW[i] > 0
            assert 25 < rgb[head].mean() < 225
            assert rgb[head].std() > 8

    def test_a_lattice_changes_the_grain_of_a_person_only(self, room):
        """Two people who differ in their noise alone have the same depth and nearly the same colours."""
        person = draw_person(0, 0, 100)
        other = replace(person, look=replace(person.look, hair=replace(person.look.hair, style="bald"), hair_cover=0.0))
        twin = replace(other, look=replace(other.look, lattice_LLL=draw_lattice(np.random.default_rng(99))))
        take = performance.draw_still(np.random.default_rng(0), room.bust.model.expression_names, SIZE)
        scene = draw_scene(np.random.default_rng(1))
        a, b = room.photograph([Shoot(p, take, [scene]) for p in (other, twin)], SIZE)
        assert (a.depth_mm_FSS == b.depth_mm_FSS).mean() > 0.99
        assert 0 < np.abs(a.rgb_FSS3.astype(float) - b.rgb_FSS3).mean() < 6

    def test_clips_keep_light_lens_and_background(self, room):
        clip = make_sample(room, PersonJob(2, 3, SIZE, "clips"), 0)
        assert clip.record.fps == FPS
        still = (clip.depth_mm_FHW == 0).all(0)
        assert still.mean() > 0.05
        change = np.abs(np.diff(clip.rgb_FHW3[:, still].astype(float), axis=0))
        assert change.mean() < 4, "only sensor noise moves"


class TestCommand:
    def parse(self, *argv):
        parser = argparse.ArgumentParser()
        options.add_arguments(parser)
        return parser.parse_args([str(a) for a in argv])

    @pytest.fixture(autouse=True)
    def _built(self, room, monkeypatch):
        monkeypatch.setitem(studio_units.studios, "cpu", room)

    def test_writes_shards_that_verify_and_a_sheet(self, tmp_path, capsys):
        out, sheet = tmp_path / "val", tmp_path / "sheet.png"
        args = self.parse("--people", 2, "--size", 32, "--split", "val", "--out", out, "--sheet", sheet)
        assert studio.run(args) == 0
        assert verify(out) == []
        samples = [sample for shard in sorted(out.glob("*.tar")) for sample in read_samples(shard)]
        assert [s.record.person_id for s in samples] == ["studio-0-1000000", "studio-0-1000001"]
        assert {s.record.fps for s in samples} == {0.0}
        assert "2 people, 4 frames" in capsys.readouterr().out
        assert sheet.stat().st_size > 1000
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
        assert studio.run(args) == 0  # what is there is not made again
        assert "0 people, 0 frames, 0 units" in capsys.readouterr().out
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == before

    def test_goes_on_where_it_was_interrupted_and_adds_people(self, tmp_path, capsys):
        out, few = tmp_path / "out", ("--frames", 1, "--size", 16, "--out", tmp_path / "out")
        studio.run(self.parse("--people", 2, *few))
        whole = {path.name: path.read_bytes() for path in out.glob("*.tar")}
        (out / "units" / "000001.json").unlink()  # as if it had ended before
        capsys.readouterr()
        studio.run(self.parse("--people", 3, *few))
        assert "2 people, 2 frames, 2 units" in capsys.readouterr().out
        now = {path.name: path.read_bytes() for path in out.glob("*.tar")}
        assert now.items() > whole.items()
        assert [sample.record.person_id for path in sorted(out.glob("*.tar")) for sample in read_samples(path)] == [
            f"studio-0-{k}" for k in range(3)
        ]
        assert verify(out) == []
        with pytest.raises(PrepareError, match=r"studio\.frames 1, not 2"):
            studio.run(self.parse("--people", 3, "--frames", 2, *few[2:]))

    def test_other_peoples_folders_are_left_alone(self, tmp_path):
        (tmp_path / "theirs.tar").write_bytes(b"theirs")
        with pytest.raises(PrepareError, match="holds no plan"):
            studio.run(self.parse("--people", 1, "--size", 16, "--out", tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["theirs.tar"]

    def test_a_gpus_batches_make_the_same_samples(self, room, tmp_path, monkeypatch):
        """People of a unit are photographed together, as a GPU wants them; here it is a CPU by another name."""
        monkeypatch.setitem(studio_units.studios, "cuda", room)
        made, batches = {}, []
        monkeypatch.setattr(studio_units, "make_batch", lambda *a: batches.append(len(a[2])) or make_batch(*a))
        job = PersonJob(1, 2, 16, "clips")
        for device in ("cpu", "cuda"):
            photograph = studio_units.make(studio_units.StudioSettings(job, device))
            names = [found.name for found in studio_units.find_people(job, range(3))]
            for k, name in enumerate(names):
                task = Task(tmp_path, name, name, tmp_path / device, tmp_path / "sheets", tuple(names[k + 1 :]))
                photograph(task)
            made[device] = [(tmp_path / device / name / "clip-000000.tar").read_bytes() for name in names]
        assert made["cpu"] == made["cuda"]
        assert batches == [1, 1, 1, 3]

    @pytest.mark.slow
    def test_workers_change_no_bytes(self, tmp_path):
        tars = []
        for workers in (1, 2):
            out = tmp_path / str(workers)
            studio.run(self.parse("--people", 3, "--frames", 1, "--size", 16, "--workers", workers, "--out", out))
            tars.append({path.name: path.read_bytes() for path in out.glob("*.tar")})
        assert tars[0] == tars[1]

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *(("--people", 0), ("--frames", 0), ("--size", 8), ("--seed", -1), ("--first", 10**6)),
            *(("--depth-step-mm", -1), ("--depth-step-mm", 11), ("--depth-step-mm", "nan"), ("--depth-step-mm", 0.25)),
        ],
    )
    def test_arguments_out_of_range_are_one_line(self, tmp_path, option, value):
        given = {"--people": 1, "--out": tmp_path / "x", option: value}
        args = self.parse(*(part for pair in given.items() for part in pair))
        with pytest.raises(StudioError) as error:
            studio.run(args)
        assert option in str(error.value)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "x").exists()
