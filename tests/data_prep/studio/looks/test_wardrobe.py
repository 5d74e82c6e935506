"""What people wear: closed, outward meshes, no skin under it, nothing through the face; looks by their seed alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_fill_holes

from data_prep.head.model import PART_NAMES, head_to_camera
from data_prep.studio.looks import backdrop, camera_response, mesh, person, surface
from data_prep.studio.looks.beard import NO_BEARD, BeardLook
from data_prep.studio.looks.bust import turn_to
from data_prep.studio.looks.hair import STYLES, draw_hair
from data_prep.studio.looks.hats import HAT_KINDS, draw_hat
from data_prep.studio.looks.trim import COLLARS
from jdap.geometry import axis_angle_to_matrix
from jdap.shape.rasterise import rasterise

SIZE = 96
CAMERA = torch.tensor([[260.0, 48.0, 48.0]])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def bust(room):
    return room.bust


@pytest.fixture(scope="module")
def bare():
    """Somebody who wears nothing, whatever is drawn."""
    look = next(look for look in (person.draw_look(rng(i)) for i in range(99)) if not look.glasses.dark)
    hair = replace(draw_hair(rng()), style="bald", length_mm=0.0, bun_mm=0.0, bald_mm=0.0)
    return replace(
        look,
        hair=hair,
        hair_cover=0.0,
        hat=replace(look.hat, kind="none"),
        beard=NO_BEARD,
        glasses=replace(look.glasses, worn=False),
        trim=replace(look.trim, collar="none", earring_mm=0.0),
    )


def hair_of(style):
    return next(hair for hair in (draw_hair(rng(i)) for i in range(999)) if hair.style == style)


def seen(bust, look, *, turn=(0.0, 0.0, 0.0), identity=0, expression=None):
    """Depth, part names' indices and skin of one picture, from in front unless turned."""
    modes = torch.from_numpy(rng(identity).standard_normal(100).astype(np.float32)) * (identity > 0)
    neutral = bust.neutral(modes, look)
    weights = torch.zeros(1, len(bust.model.expression_names)) if expression is None else expression
    ahead = torch.tensor([[[0.0, 0, 1], [0, 0, 1]]])
    posed = bust.pose(neutral, weights, ahead)
    vertices = head_to_camera(posed, torch.tensor([turn]), torch.tensor([[0.0, 20.0, 800.0]]))
    faces = bust.dress(look).nonzero()[:, 0]
    fragments = rasterise(vertices, bust.faces_T3[faces], CAMERA, SIZE, SIZE, cull_back_faces=True)
    face = fragments.face[0]
    part = torch.where(face >= 0, bust.part_T[faces[face.clamp_min(0)]], -1)
    return fragments.depth_mm[0], part, (face >= 0) & bust.skin_T[faces[face.clamp_min(0)]]


def index(name):
    return (*PART_NAMES, "hair", "beard", "hat", "frame", "lens", "cloth", "jewel").index(name)


def volume(points, faces):
    a, b, c = points[faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


class TestMeshes:
    def test_sphere_and_tube_face_outwards(self):
        ball, faces = mesh.sphere(24, 16)
        assert volume(ball, faces) == pytest.approx(4 / 3 * np.pi, rel=0.05)
        turn = torch.arange(40) * (2 * torch.pi / 40)
        ring = 20 * torch.stack([turn.cos(), turn.sin(), torch.zeros(40)], 1)
        tube = mesh.tube_points(ring, 2.0, 12, (0.0, 0.0, 1.0))
        expected = 2 * np.pi**2 * 20 * 2**2
        assert volume(tube, mesh.tube_faces(40, 12, closed=True)) == pytest.approx(expected, rel=0.06)


class TestDress:
    def test_only_what_is_worn_is_drawn(self, bust, bare):
        assert bust.dress(bare).sum() == bust.head_T.sum()
        bearded = replace(bare, beard=BeardLook(0.9, 6.0, 20.0, 4.0, False, 0.0))
        worn = bust.part_T[bust.dress(bearded) & ~bust.head_T]
        assert set(worn.tolist()) == {index("beard")}

    @pytest.mark.parametrize("style", STYLES)
    def test_heads_are_closed_and_hair_is_no_skin(self, bust, bare, style):
        look = replace(bare, hair=hair_of(style))
        for number, turn in enumerate([(0.0, 0.0, 0.0), (0.2, 0.6, 0.1)]):
            depth_mm, part, skin = seen(bust, look, turn=turn, identity=number)
            there = (depth_mm > 0).numpy()
            # Daylight between hair and neck is no hole in the head: the face itself is closed.
            face = binary_fill_holes((part == index("face")).numpy())
            assert there[face].all()
            assert not (skin & (part == index("hair"))).any()
            assert ((part == index("hair")).sum() > 60) == (style not in ("bald", "receding")) or style == "receding"

    def test_hair_leaves_the_face_free_and_long_hair_covers_the_ears(self, bust, bare):
        _, whole, skin = seen(bust, bare)
        for style in ("crop", "swept", "long"):
            hair = replace(hair_of(style), fringe_mm=0.0)
            _, _, left = seen(bust, replace(bare, hair=hair))
            middle = (slice(38, 70), slice(38, 58))
            assert (left[middle] == skin[middle]).float().mean() > 0.97
            if style == "long":
                assert left.sum() < 0.97 * skin.sum()
        assert (whole == index("hair")).sum() == 0

    @pytest.mark.parametrize("kind", HAT_KINDS[1:])
    def test_hats_stand_off_the_head(self, bust, bare, kind):
        hat = next(h for h in (draw_hat(rng(i), (0.1, 0.1, 0.1)) for i in range(999)) if h.kind == kind)
        _, part, skin = seen(bust, replace(bare, hat=hat, hair=hair_of("crop")), identity=2)
        assert (part == index("hat")).sum() > 250
        top = part[part.ne(-1).any(1)][:4]
        assert (top[top >= 0] == index("hat")).float().mean() > 0.9, "no hair through the crown"
        assert not (skin & (part == index("hat"))).any()

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_glasses_touch_no_face(self, bust, bare, number):
        """Before either eye the frame is drawn whole: what it covers is a ring round what is seen through it."""
        look = replace(bare, glasses=replace(bare.glasses, worn=True, dark=True, wire_mm=2.0))
        depth_mm, part, skin = seen(bust, look, identity=number)
        under, _, _ = seen(bust, bare, identity=number)
        lens, frame = part == index("lens"), part == index("frame")
        assert lens.sum() > 150
        assert frame.sum() > 80
        assert (depth_mm < under)[lens].all()
        assert not (skin & (lens | frame)).any()
        eyes = seen(bust, bare, identity=number)[1] == index("sclera")
        assert (lens | frame)[eyes].float().mean() > 0.95

    @pytest.mark.parametrize("collar", COLLARS[1:])
    def test_collars_are_below_the_chin(self, bust, bare, collar):
        look = replace(bare, trim=replace(bare.trim, collar=collar, height_mm=20.0, width_mm=5.0))
        _, part, _ = seen(bust, look)
        rows = (part == index("cloth")).any(1).nonzero()[:, 0]
        assert len(rows)
        assert rows.min() > 70

    def test_beards_move_with_the_jaw(self, bust, bare):
        look = replace(bare, beard=BeardLook(0.9, 6.0, 0.0, 4.0, False, 0.0))
        weights = torch.zeros(2, len(bust.model.expression_names))
        weights[1, bust.model.expression_names.index("jawOpen")] = 1
        ahead = torch.tensor([[[0.0, 0, 1], [0, 0, 1]]]).expand(2, -1, -1)
        posed = bust.pose(bust.neutral(torch.zeros(100), look), weights, ahead)
        moved = (posed[1] - posed[0]).norm(dim=1)
        beard = bust.faces_T3[bust.part("beard")].unique()
        torch.testing.assert_close(moved[beard], moved[bust.anchor_V[beard]], atol=1e-3, rtol=0)
        assert moved[beard].max() > 20
        assert moved[bust.faces_T3[bust.part("hair")].unique()].max() == 0


class TestMouthAndEyes:
    def test_no_teeth_before_closed_lips(self, bust, bare):
        names = bust.model.expression_names
        inside = [index(name) for name in ("teeth", "gums_tongue", "mouth_socket")]
        for identity in range(6):
            weights = torch.zeros(1, len(names))
            for name in rng(identity).choice([n for n in names if n.startswith("mouthSmile") or "brow" in n], 2):
                weights[0, names.index(name)] = 0.6
            _, part, _ = seen(bust, bare, identity=identity, expression=weights)
            assert sum(int((part == i).sum()) for i in inside) <= 6

    def test_gaze_turns_the_ball_by_the_known_angle(self, bust, bare):
        neutral = bust.neutral(torch.zeros(100), bare)
        gaze = torch.nn.functional.normalize(torch.tensor([[0.3, -0.2, 1.0], [0.25, -0.2, 1.0]]), dim=1)[None]
        posed = bust.pose(neutral, torch.zeros(1, len(bust.model.expression_names)), gaze)[0]
        for side, ball in enumerate(bust.eyes):
            centre = bust.regions.eyeball_mm[side]
            before, after = neutral[ball] - centre, posed[ball] - centre
            torch.testing.assert_close(before.norm(dim=1), after.norm(dim=1), atol=1e-3, rtol=1e-4)
            iris = before[:, 2] > 0.985 * before.norm(dim=1)
            towards = torch.nn.functional.normalize(after[iris].mean(0), dim=0)
            ahead = torch.nn.functional.normalize(before[iris].mean(0), dim=0)
            torch.testing.assert_close(towards, turn_to(gaze[:, side])[0] @ ahead, atol=1e-3, rtol=0)
            assert float(turn_to(gaze[:, side])[0, :, 2] @ gaze[0, side]) == pytest.approx(1, abs=1e-5)

    def test_turns_are_shortest_rotations(self):
        gaze = torch.nn.functional.normalize(torch.tensor([[0.5, 0.1, 1.0], [0.0, 0.0, 1.0], [-0.2, 0.7, 0.9]]), dim=1)
        ahead = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
        axis = torch.linalg.cross(ahead, gaze)
        angle = torch.atan2(axis.norm(dim=1), gaze[:, 2])
        expected = axis_angle_to_matrix(torch.nn.functional.normalize(axis, dim=1) * angle[:, None])
        torch.testing.assert_close(turn_to(gaze), expected, atol=1e-5, rtol=0)

    def test_no_eye_is_whiter_than_fair_skin(self, bust):
        """The ball's mean luminance, shaded by its lids, is not above the fairest skin's."""
        weights = torch.tensor([0.2126, 0.7152, 0.0722])
        fair = float(person.skin_reflectance(torch.tensor(0.0), torch.tensor(0.2)) @ weights)
        ball = bust.rest_V3[bust.eyes[1]]
        ball = ball[ball[:, 2] > 88]
        for seed in range(10):
            eye = surface.eye_surface(person.draw_look(rng(seed)), ball, bust.regions.eyeball_mm)
            assert float(((eye.albedo_N3 @ weights) * eye.open_N).mean()) < 0.7 * fair


class TestDraws:
    def test_a_look_is_a_function_of_its_seed_alone(self):
        a, b, c = (person.draw_look(rng(seed)) for seed in (5, 5, 6))
        assert repr(replace(a, lattice_LLL=0)) == repr(replace(b, lattice_LLL=0)) != repr(replace(c, lattice_LLL=0))
        assert (a.lattice_LLL == b.lattice_LLL).all()

    def test_everything_is_worn_by_about_as_many_as_documented(self):
        people = [person.draw_look(np.random.default_rng((1, i))) for i in range(600)]
        shares = {
            0.2: [p.hat.worn for p in people],
            0.22: [p.glasses.worn for p in people],
            0.18: [p.beard.volume for p in people],
            0.51: [p.trim.collar != "none" for p in people],
        }
        for share, worn in shares.items():
            assert np.mean(worn) == pytest.approx(share, abs=0.06)
        styles = [p.hair.style for p in people]
        assert min(styles.count(style) for style in STYLES) > 12
        melanin = np.histogram([p.melanin for p in people], 5, (0, 1))[0]
        assert melanin.min() > 85


class TestBackdrops:
    def test_are_of_any_kind_and_never_negative(self):
        for seed in range(40):
            picture = backdrop.draw_background(rng(seed)).render(65, "cpu")
            assert picture.isfinite().all()
            assert picture.min() >= 0
            assert picture.max() < 12

    def test_own_pictures_are_cropped_at_random(self, tmp_path):
        Image.new("RGB", (200, 100), (255, 0, 0)).save(tmp_path / "a.png")
        Image.new("RGB", (60, 90), (0, 0, 255)).save(tmp_path / "b.jpg")
        paths = backdrop.find_pictures(tmp_path)
        assert [p.name for p in paths] == ["a.png", "b.jpg"]
        colours = [backdrop.draw_background(rng(i), paths).coarse_3HW.mean((1, 2)) for i in range(60)]
        red = sum(bool(c[0] > 0.3 and c[1:].max() < 0.01) for c in colours)
        blue = sum(bool(c[2] > 0.3 and c[:2].max() < 0.01) for c in colours)
        assert 5 < red < 28
        assert 5 < blue < 28

    def test_a_bad_folder_is_one_line(self, tmp_path):
        with pytest.raises(backdrop.BackdropError, match="holds no pictures"):
            backdrop.find_pictures(tmp_path)
        (tmp_path / "broken.jpg").write_bytes(b"no picture")
        with pytest.raises(backdrop.BackdropError, match=r"broken\.jpg"):
            backdrop.find_pictures(tmp_path)
        with pytest.raises(backdrop.BackdropError, match="cannot be read"):
            backdrop.find_pictures(tmp_path / "none")


class TestDevelop:
    def test_nothing_asked_is_nothing_done_and_each_step_does_its_own(self):
        noisy = rng().integers(0, 255, (48, 48, 3), dtype=np.uint8)
        assert (camera_response.develop(noisy, camera_response.AS_IT_IS) == noisy).all()
        soft = camera_response.develop(noisy, camera_response.Process(scale=0.5))
        assert soft.astype(float).std() < 0.7 * noisy.astype(float).std()
        packed = camera_response.develop(noisy, camera_response.Process(quality=40, subsampled=True)).astype(float)
        assert packed.shape == noisy.shape
        assert 5 < np.abs(packed - noisy).mean() < 90
        edge = np.full((32, 32, 3), 90, np.uint8)
        edge[:, 16:] = 160
        sharp = camera_response.develop(edge, camera_response.Process(sharpen=1.0))
        assert sharp.max() > 160
        assert sharp.min() < 90
