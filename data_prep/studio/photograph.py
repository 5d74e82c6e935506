"""The camera of the studio: people, performances and scenes in; pictures, exact depth, skin and all other truth out.

Triangles are rasterised once, on a grid of samples half a pixel apart that has the final pixels' centres among its
samples (:mod:`data_prep.studio.looks.picture`): colour is filtered from the whole grid, depth, skin and truth are read
at the centres. Frames are drawn in batches, of several people where they fit; what comes out does not depend on the
batch.

Shapes: F frames of a person, B frames of a batch, S x S pixels, G = 2 S + 1 samples a side, V vertices, T triangles,
D lamps, N samples on heads, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.head.model import head_to_camera, load_ict
from data_prep.head.normals import VertexNormals
from data_prep.studio.labels import MAX_COVER, label_samples
from data_prep.studio.looks import light, picture, shadow, surface
from data_prep.studio.looks.bust import Bust, make_bust
from data_prep.studio.motion import performance
from data_prep.studio.scene import ScenePictures, Shoot
from data_prep.studio.truth import MAX_LAMPS, Truth
from jdap.geometry import head_rotation
from jdap.shape.rasterise import Fragments, Samples, rasterise

#: Automatic exposure brings a head of this mean luminance there, and others part of the way.
TARGET_LUMINANCE, ADAPTATION = 0.24, 0.65
LUMINANCE = (0.2126, 0.7152, 0.0722)
#: Samples of the grid that are drawn at a time, by the kind of device: a CPU's caches are small, a GPU wants work.
BATCH_SAMPLES = {"cpu": 1 << 18, "cuda": 1 << 24}


class Studio:
    """Photographs random people. ``device`` is where it renders."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.bust: Bust = make_bust(load_ict(device=self.device))
        head = self.bust.head_T
        self._mouth_T = self.bust.part("teeth", "gums_tongue", "mouth_socket")
        rest, faces = self.bust.rest_V3[: len(self.bust.source_H)], self.bust.faces_T3[head]
        self._transfer = shadow.measure_transfer(rest, faces, self.bust.part("face", "head_neck")[head])
        self._normals = VertexNormals(self.bust.faces_T3, len(self.bust.rest_V3))

    def photograph(
        self,
        shoots: Sequence[Shoot],
        size: int,
        *,
        shadows: bool = True,
        truth: bool = False,
        batch: int | None = None,
    ) -> list[ScenePictures]:
        """Pictures of ``size`` pixels a side of each shoot, in order.

        ``shadows`` False leaves out what parts of the head take of each other's light; ``truth`` adds all that is known
        of each pixel. ``batch``: frames drawn at a time (default: by :data:`BATCH_SAMPLES`); the pictures do not depend
        on it.
        """
        most = batch or max(BATCH_SAMPLES[self.device.type] // picture.grid_size(size) ** 2, 1)
        sitters = [_Sitter(self.bust, shoot, self.device) for shoot in shoots]
        frames = [(i, j) for i, sitter in enumerate(sitters) for j in range(len(sitter.shoot.scenes))]
        for start in range(0, len(frames), most):
            self._render([(sitters[i], j) for i, j in frames[start : start + most]], size, shadows, truth)
        return [sitter.pictures() for sitter in sitters]

    def _render(self, frames: list[tuple[_Sitter, int]], size: int, shadows: bool, truth: bool) -> None:
        """Draw some frames, and hand the pictures to whom they show."""
        batch = self._geometry(frames, size)
        depth_mm = picture.centres(batch.fragments.depth_mm).cpu().numpy()
        bare = self.bust.skin_T[batch.samples.face_N] & (batch.surface.cover_N < MAX_COVER)
        skin = picture.centres(batch.spread(bare)).cpu().numpy()
        rgb, known = self._light(batch, [sitter.shoot.scenes[j].lighting for sitter, j in frames], shadows, truth, 0)
        relit, relit_known = None, None
        if frames[0][0].shoot.relit:
            again = [sitter.shoot.relit[j] for sitter, j in frames]
            relit, relit_known = self._light(batch, again, shadows, truth, 1)
        for k, (sitter, _) in enumerate(frames):
            one = slice(k, k + 1)
            sitter.done.append(
                ScenePictures(
                    rgb[one],
                    depth_mm[one],
                    skin[one],
                    known and known[one],
                    None if relit is None else relit[one],
                    relit_known and relit_known[one],
                )
            )

    def _geometry(self, frames: list[tuple[_Sitter, int]], size: int) -> _Batch:
        bust, grid = self.bust, picture.grid_size(size)
        runs = _runs(frames)
        rotation, translation, camera = (
            torch.cat([getattr(sitter, name)[which] for sitter, which in runs])
            for name in ("rotation_F3", "translation_mm_F3", "camera_px_F3")
        )
        heads = [bust.pose(s.neutral_V3, s.expression_FE[which], s.gaze_F23[which]) for s, which in runs]
        # In double precision: the matrix exponential rounds by the number of matrices.
        turn = head_rotation(rotation.double()).float()
        vertices = torch.cat(heads) @ turn.mT + translation[:, None]
        worn = torch.stack([sitter.worn_T for sitter, _ in frames])
        camera = picture.grid_camera(camera)
        fragments = rasterise(vertices, bust.faces_T3, camera, grid, grid, drawn_BT=worn, cull_back_faces=True)
        samples = fragments.samples()
        surfaces, end = [], 0
        counts = samples.picture_N.bincount(minlength=len(frames)).tolist()
        for (sitter, which), head in zip(runs, heads, strict=True):
            many = which.stop - which.start
            count, counts = sum(counts[:many]), counts[many:]
            start, end = end, end + count
            some = samples.select(slice(start, end))
            values = some.interpolate(bust.faces_T3, sitter.channels_VC[None])
            # Samples are in the order of the frames.
            own = surface.frame_values(bust, head)[some.picture_N - (len(frames) - len(counts) - many)]
            surfaces.append(
                surface.material(
                    bust, sitter.shoot.person.look, values[:, :3], values[:, 3:], bust.part_T[some.face_N], own
                )
            )
        looks = surface.concatenate(surfaces)
        normal = F.normalize(samples.interpolate(bust.faces_T3, self._normals(vertices)), dim=1)
        normal = F.normalize(normal + _turned(turn, samples.picture_N, looks.tilt_N3), dim=1)
        return _Batch(frames, fragments, samples, looks, normal, _to_eye(samples, camera, grid), turn)

    def _light(
        self, batch: _Batch, lightings: list[light.Lighting], shadows: bool, truth: bool, version: int
    ) -> tuple[np.ndarray, Truth | None]:
        """RGB (B, S, S, 3) uint8 under these lights, and what is known of it; ``version`` of the exposure."""
        samples, looks = batch.samples, batch.surface
        lights = light.Lights.of(lightings, self.device)
        lamps = lights.lamps_FD3.shape[1]
        if shadows:
            opened = samples.interpolate(self.bust.faces_T3, self._shadows(lights, batch.turn_B33)).clamp_max(1)
            # Inside of the mouth it is dark for its own reasons, and the mean head's is shut.
            mouth = self._mouth_T[samples.face_N, None]
            opened = torch.where(mouth, torch.ones_like(opened), opened) * looks.open_N[:, None]
        else:
            opened = looks.open_N[:, None].expand(-1, 1 + lamps)
        colour = light.shade(
            lights,
            samples.picture_N,
            looks.albedo_N3,
            batch.normal_N3,
            batch.to_eye_N3,
            looks.gloss_N,
            looks.sharpness_N,
            looks.wrap_N,
            opened[:, 0],
            opened[:, 1:],
        )
        gains = batch.gains(colour, version)
        grid = batch.fragments.face.shape[1]
        scenes = [sitter.shoot.scenes[j] for sitter, j in batch.frames]
        # Exposure is set by the head; the background is drawn for the picture, not for the scene.
        backgrounds = {id(scene): scene.background.render(grid, self.device) for scene in scenes}
        rgb = torch.stack([backgrounds[id(scene)] / gain for scene, gain in zip(scenes, gains, strict=True)])
        rgb.flatten(0, 2)[samples.pixel_N] = colour
        sensors, numbers = [scene.sensor for scene in scenes], [j for _, j in batch.frames]
        exposed = picture.expose(picture.downsample(rgb), sensors, gains, numbers)
        if not truth:
            return exposed, None
        stops = torch.tensor([gain * 2**sensor.stops for gain, sensor in zip(gains, sensors, strict=True)])
        values = {
            "normal": batch.normal_N3,
            "albedo": looks.albedo_N3,
            "part": 1 + self.bust.part_T[samples.face_N].to(torch.uint8),
            "gloss": looks.gloss_N,
            "sharpness": looks.sharpness_N,
            "wrap": looks.wrap_N,
            "opened": F.pad(opened, (0, MAX_LAMPS - lamps)),
            "to_eye": batch.to_eye_N3,
            "linear": colour,
            "label": label_samples(self.bust.part_T[samples.face_N], looks),
        }
        centres = {name: picture.centres(batch.spread(value)) for name, value in values.items()}
        return exposed, Truth.of(centres, lights, stops)

    def _shadows(self, lights: light.Lights, turn_B33: Tensor) -> Tensor:
        """(B, V, 1 + D): the share that arrives of each frame's ambient light and of each lamp."""
        transfer, many = self._transfer, len(turn_B33)
        towards = (transfer.directions_D3[None] @ turn_B33.transpose(1, 2)).flatten(0, 1)
        frame = torch.arange(many, device=self.device).repeat_interleave(len(transfer.directions_D3))
        # Radiance is taken to vary over directions as irradiance does, only less smooth: both are of low order.
        ambient = light.ambient_irradiance(lights, frame, towards).mean(1).view(many, -1)
        lamps = (lights.lamps_FD3 @ turn_B33).flatten(0, 1)
        radiance = torch.cat([ambient.T, transfer.lobes(_padded(lamps))[:, : len(lamps)]], 1)
        # Matrix products round by their width: in multiples of 16 columns a frame's do not depend on the others.
        opened = transfer.shadow(_padded(radiance.T).T)[self.bust.anchor_V].T
        return torch.cat([opened[:many, None], opened[many : many + len(lamps)].view(many, -1, opened.shape[1])], 1).mT

    def mean_head(self, take: performance.Take, size: int) -> np.ndarray:
        """(F, S, S) float32 mm: the depth of the mean head with each frame's pose and camera."""
        arrays = (take.rotation_F3, take.translation_mm_F3, take.camera_px_F3)
        rotation, translation, camera = (torch.from_numpy(a).to(self.device) for a in arrays)
        most, out = max(BATCH_SAMPLES[self.device.type] // size**2, 1), []
        for which in torch.arange(len(camera)).split(most):
            vertices = head_to_camera(self.bust.rest_V3[None], rotation[which], translation[which])
            drawn = self.bust.head_T[None]
            fragments = rasterise(
                vertices, self.bust.faces_T3, camera[which], size, size, drawn_BT=drawn, cull_back_faces=True
            )
            out.append(fragments.depth_mm.cpu().numpy())
        return np.concatenate(out)


class _Sitter:
    """A person before the camera, and what has been drawn of them so far."""

    def __init__(self, bust: Bust, shoot: Shoot, device: torch.device) -> None:
        take, look = shoot.take, shoot.person.look
        self.shoot = shoot
        painted = bust.paint(look)
        self.neutral_V3 = bust.neutral(torch.from_numpy(shoot.person.identity_K).to(device), look, painted)
        self.worn_T = bust.dress(look)
        self.channels_VC = torch.cat([bust.rest_V3, surface.vertex_channels(bust, look, painted)], 1)
        gaze = performance.gaze_direction(bust.model.expression_names, take.expression_FE)
        self.gaze_F23 = torch.from_numpy(gaze).to(self.neutral_V3)
        self.expression_FE, self.rotation_F3, self.translation_mm_F3, self.camera_px_F3 = (
            torch.from_numpy(a).to(device)
            for a in (take.expression_FE, take.rotation_F3, take.translation_mm_F3, take.camera_px_F3)
        )
        self.gain: dict[tuple[int, int], float] = {}
        self.done: list[ScenePictures] = []

    def pictures(self) -> ScenePictures:
        """All that was drawn, as one."""

        def whole(name: str) -> Any:
            parts = [getattr(pictures, name) for pictures in self.done]
            if parts[0] is None:
                return None
            return Truth.join(parts) if isinstance(parts[0], Truth) else np.concatenate(parts)

        return ScenePictures(*(whole(name) for name in ScenePictures.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class _Batch:
    """Frames whose geometry and material are known: ``turn_B33`` takes head axes to the camera's."""

    frames: list[tuple[_Sitter, int]]
    fragments: Fragments
    samples: Samples
    surface: surface.Surface
    normal_N3: Tensor
    to_eye_N3: Tensor
    turn_B33: Tensor

    def spread(self, values_N: Tensor) -> Tensor:
        """(B, G, G, …): values of samples at their places, 0 elsewhere."""
        face = self.fragments.face
        grid = values_N.new_zeros(face.numel(), *values_N.shape[1:])
        grid[self.samples.pixel_N] = values_N
        return grid.unflatten(0, face.shape)

    def gains(self, colour_N3: Tensor, version: int) -> list[float]:
        """Automatic exposure of each frame: the first frame of a scene sets that of all."""
        luminance = (colour_N3 * colour_N3.new_tensor(LUMINANCE)).sum(1).double()
        seen = self.fragments.mask.flatten(1).sum(1).clamp_min(1)
        found = ((TARGET_LUMINANCE * seen / self.spread(luminance).flatten(1).sum(1)) ** ADAPTATION).tolist()
        return [
            sitter.gain.setdefault((id(sitter.shoot.scenes[j]), version), gain)
            for (sitter, j), gain in zip(self.frames, found, strict=True)
        ]


def _runs(frames: list[tuple[_Sitter, int]]) -> list[tuple[_Sitter, slice]]:
    """Consecutive frames of one person."""
    runs: list[tuple[_Sitter, slice]] = []
    for sitter, j in frames:
        if runs and runs[-1][0] is sitter:
            runs[-1] = (sitter, slice(runs[-1][1].start, j + 1))
        else:
            runs.append((sitter, slice(j, j + 1)))
    return runs


def _to_eye(samples: Samples, camera_B3: Tensor, grid: int) -> Tensor:
    """(N, 3) unit vectors from what samples see to the camera."""
    at = samples.pixel_N % (grid * grid)
    f, cx, cy = camera_B3[samples.picture_N].unbind(1)
    u, v = at % grid + 0.5, torch.div(at, grid, rounding_mode="floor") + 0.5
    return F.normalize(torch.stack([(cx - u) / f, (cy - v) / f, -torch.ones_like(f)], 1), dim=1)


def _turned(turn_B33: Tensor, picture_N: Tensor, vectors_N3: Tensor) -> Tensor:
    """Vectors (N, 3), each turned by its picture's matrix."""
    columns = picture_N[:, None] * 3 + torch.arange(3, device=picture_N.device)
    return F.embedding_bag(columns, turn_B33.mT.reshape(-1, 3), mode="sum", per_sample_weights=vectors_N3)


def _padded(rows: Tensor) -> Tensor:
    """Rows of zeros added up to a multiple of 16."""
    return F.pad(rows, (0, 0, 0, -len(rows) % 16))
