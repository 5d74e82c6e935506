"""The camera of the studio: a person, a take and scenes in; pictures, exact depth and skin masks out.

Triangles are rasterised once, on a grid of samples half a pixel apart that has the final pixels' centres among its
samples (:mod:`data_prep.looks.picture`): colour is filtered from the whole grid, depth and skin are read at the
centres.

Shapes: F frames, S x S pixels, G = 2 S + 1 samples a side, V vertices, T triangles, D lamps, N samples on the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep import takes
from data_prep.bust import Bust, make_bust
from data_prep.looks import light, picture, shadow, surface
from data_prep.looks.person import PersonLook
from data_prep.morphable import HEAD_TO_VIEWER, head_to_camera, load_ict
from data_prep.render import Fragments, interpolate, rasterise
from jdap.geometry import axis_angle_to_matrix, project, vertex_normals

#: A pixel counts as skin where hair and clothes cover less than this.
MAX_COVER = 0.5
#: Automatic exposure brings a head of this mean luminance there, and others part of the way.
TARGET_LUMINANCE, ADAPTATION = 0.24, 0.65


@dataclass(frozen=True, eq=False)
class Person:
    """Who is photographed: ``person_id``, ``identity_K`` in standard deviations, and the look."""

    person_id: str
    identity_K: np.ndarray
    look: PersonLook


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about one frame but the person and its take."""

    lighting: light.Lighting
    background: picture.Background
    sensor: picture.Sensor


def draw_scene(rng: np.random.Generator) -> Scene:
    """Random light, background and sensor."""
    return Scene(light.draw_lighting(rng), picture.draw_background(rng), picture.draw_sensor(rng))


class Studio:
    """Photographs random people. ``device`` is where it renders."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.bust: Bust = make_bust(load_ict(device=self.device))
        head = self.bust.head_T
        self._mouth = self.bust.part("teeth", "gums_tongue", "mouth_socket")
        rest, faces = self.bust.rest_V3[: len(self.bust.source_H)], self.bust.faces_T3[head]
        self._transfer = shadow.measure_transfer(rest, faces, self.bust.part("face", "head_neck")[head])

    def photograph(
        self, person: Person, take: takes.Take, scenes: list[Scene], size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """RGB (F, S, S, 3) uint8, z-depth (F, S, S) float32 mm, 0 = nothing, and skin (F, S, S) bool.

        ``take`` has F frames and ``scenes`` F entries; frames that share one scene object share its exposure.
        """
        bust = self.bust
        neutral = bust.neutral(torch.from_numpy(person.identity_K).to(self.device), person.look)
        worn = bust.dress(person.look).nonzero()[:, 0]
        channels = surface.vertex_channels(bust, person.look)
        gaze = torch.from_numpy(takes.gaze_direction(bust.model.expression_names, take.expression_FE)).to(neutral)
        expression = torch.from_numpy(take.expression_FE).to(self.device)
        rgb, depth_mm, skin = [], [], []
        gain = 0.0
        for i, scene in enumerate(scenes):
            head = bust.pose(neutral, expression[i : i + 1], gaze[i : i + 1])
            vertices, camera = self._to_camera(head[0], take, i)
            grid = picture.grid_size(size)
            visible = worn[facing(vertices, bust.faces_T3[worn], picture.grid_camera(camera), grid)]
            fragments = rasterise(vertices, bust.faces_T3[visible], picture.grid_camera(camera), grid, grid)
            shot = self._shade(person, channels, head, vertices, visible, fragments, scene, take.rotation_F3[i])
            if i == 0 or scene is not scenes[i - 1]:
                gain = shot.gain
            linear = picture.downsample(shot.rgb_GG3[None])[0]
            rgb.append(picture.expose(linear, scene.sensor, gain, i).cpu().numpy())
            depth_mm.append(picture.centres(fragments.depth_mm)[0].cpu().numpy())
            skin.append(picture.centres(shot.skin_GG[None])[0].cpu().numpy())
        return np.stack(rgb), np.stack(depth_mm), np.stack(skin)

    def _to_camera(self, head_V3: Tensor, take: takes.Take, i: int) -> tuple[Tensor, Tensor]:
        rotation, translation, camera = (
            torch.from_numpy(a[i : i + 1]).to(self.device)
            for a in (take.rotation_F3, take.translation_mm_F3, take.camera_px_F3)
        )
        return head_to_camera(head_V3[None], rotation, translation), camera

    def _shade(
        self,
        person: Person,
        channels_VC: Tensor,
        head_1V3: Tensor,
        vertices_1V3: Tensor,
        visible_T: Tensor,
        fragments: Fragments,
        scene: Scene,
        rotation_3: np.ndarray,
    ) -> _Shot:
        bust, look = self.bust, person.look
        faces = bust.faces_T3[visible_T]
        normals = vertex_normals(vertices_1V3, _around(faces, bust.faces_T3, len(bust.rest_V3)))[0]
        lighting = scene.lighting.to(self.device)
        opened = self._shadows(lighting, torch.from_numpy(rotation_3))
        attributes = [vertices_1V3[0], normals, bust.rest_V3, channels_VC, opened]
        seen = fragments.mask[0]
        values = interpolate(fragments, faces, torch.cat(attributes, 1)[None])[0][seen]
        position, normal, rest, channels, opened = values.split([a.shape[1] for a in attributes], 1)
        face = visible_T[fragments.face[0][seen]]
        mouth = self._mouth[face]
        frame = surface.frame_values(bust, head_1V3).expand(len(rest), -1)
        looks = surface.material(bust, look, rest, channels, bust.part_T[face], frame)
        tilt = head_to_camera(looks.tilt_N3[None], torch.from_numpy(rotation_3)[None].to(rest), rest.new_zeros(1, 3))[0]
        normal = F.normalize(F.normalize(normal, dim=1) + tilt, dim=1)
        to_eye = F.normalize(-position, dim=1)
        # Inside of the mouth it is dark for its own reasons, and the mean head's is shut.
        opened = torch.where(mouth[:, None], torch.ones_like(opened), opened) * looks.open_N[:, None]
        colour = light.shade(
            lighting,
            looks.albedo_N3,
            normal,
            to_eye,
            looks.gloss_N,
            looks.sharpness_N,
            looks.wrap_N,
            opened[:, 0],
            opened[:, 1:],
        )
        luminance = float((colour @ colour.new_tensor([0.2126, 0.7152, 0.0722])).mean())
        gain = (TARGET_LUMINANCE / luminance) ** ADAPTATION
        # Exposure is set by the head; the background is drawn for the picture, not for the scene.
        rgb = scene.background.draw(seen.shape[0], self.device) / gain
        rgb[seen] = colour
        skin_seen = torch.zeros_like(seen)
        skin_seen[seen] = bust.skin_T[face] & (looks.cover_N < MAX_COVER)
        return _Shot(rgb, skin_seen, gain)

    def _shadows(self, lighting: light.Lighting, rotation_3: Tensor) -> Tensor:
        """(V, 1 + D): the share that arrives of the ambient light and of each lamp."""
        turn = axis_angle_to_matrix(rotation_3).to(self.device) * torch.tensor(HEAD_TO_VIEWER, device=self.device)
        transfer = self._transfer
        # Radiance is taken to vary over directions as irradiance does, only less smooth: both are of low order.
        ambient = light.ambient_irradiance(lighting, transfer.directions_D3 @ turn.T).mean(1, keepdim=True)
        opened = transfer.shadow(torch.cat([ambient, transfer.lobes(lighting.lamps_D3 @ turn)], 1))
        return opened[self.bust.anchor_V]

    def mean_head(self, take: takes.Take, size: int) -> np.ndarray:
        """(F, S, S) float32 mm: the depth of the mean head with each frame's pose and camera."""
        out = []
        for i in range(len(take.rotation_F3)):
            vertices, camera = self._to_camera(self.bust.rest_V3, take, i)
            faces = self.bust.faces_T3[self.bust.head_T]
            fragments = rasterise(vertices, faces[facing(vertices, faces, camera, size)], camera, size, size)
            out.append(fragments.depth_mm[0].cpu().numpy())
        return np.stack(out)


@dataclass(frozen=True, eq=False)
class _Shot:
    """Linear ``rgb_GG3`` before exposure, ``skin_GG`` bool, and the automatic exposure's ``gain``."""

    rgb_GG3: Tensor
    skin_GG: Tensor
    gain: float


def facing(vertices_1V3: Tensor, faces_T3: Tensor, camera_13: Tensor, grid: int) -> Tensor:
    """Indices of the triangles that can be seen: front to the camera, with a sample centre in their bounding box.

    It only spares the rasteriser work: a head is closed, so what turns its back is hidden.
    """
    corners = project(vertices_1V3, camera_13)[0][faces_T3]
    across, down = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0
    # A hair wider than the rasteriser's own test, which is in double precision.
    low, high = (corners.amin(1) - 0.501).ceil().clamp_min(0), (corners.amax(1) - 0.499).floor().clamp_max(grid - 1)
    return (front & (low <= high).all(1)).nonzero()[:, 0]


def _around(seen_S3: Tensor, faces_T3: Tensor, vertices: int) -> Tensor:
    """All triangles that touch a vertex of those seen: hidden ones count for the normals along the silhouette."""
    touched = torch.zeros(vertices, dtype=torch.bool, device=faces_T3.device)
    touched[seen_S3.flatten()] = True
    return faces_T3[touched[faces_T3].any(1)]
