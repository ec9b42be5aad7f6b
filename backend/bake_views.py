"""A shot as a further camera filmed it, so that the texture is merged from all of them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from backend.bake.shot import PosedShot
from backend.bake.visibility import soft_vertex_visibility
from backend.footage import Footage
from backend.head import Head
from shared.messages import CameraResult

Array = NDArray[np.float64]


def shot_of_camera(
    first: PosedShot, camera: CameraResult, footage: Footage, rate: Fraction, head: Head
) -> PosedShot | None:
    """The posed head in the frames of a further camera; None where it has none of the shot.

    first: the shot of the first camera; rate: its frames per second. Poses between its frames are
    interpolated, so that each picture of the other is taken at its own moment.
    """
    times = first.frame_index.astype(np.float64)
    own_rate = float(rate / footage.frame_rate)
    index = np.arange(
        int(np.ceil((times[0] + camera.offset) / own_rate - 1e-6)),
        int(np.floor((times[-1] + camera.offset) / own_rate + 1e-6)) + 1,
    )
    index = index[index >= 0]
    if not len(index):
        return None
    at = np.clip(index * own_rate - camera.offset, times[0], times[-1])
    after = np.clip(np.searchsorted(times, at), min(1, len(times) - 1), len(times) - 1)
    before = np.maximum(after - 1, 0)
    share = (at - times[before]) / np.maximum(times[after] - times[before], 1e-9)
    seen = np.isfinite(camera.landmarks_2d).all((1, 2))
    found = (seen[before] | (share > 0.99)) & (seen[after] | (share < 0.01))
    if not found.any():
        return None

    def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
        w = share.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
        mixed = (1 - w) * values[before] + w * values[after]
        # A neighbour that does not count must not spoil the one that does.
        mixed = np.where(w < 0.01, values[before], np.where(w > 0.99, values[after], mixed))
        return mixed.astype(np.float32)

    R, T = camera.rotation, camera.translation
    vertices = (between(first.vertices) @ R.T + T).astype(np.float32)
    nearest = np.where(share < 0.5, before, after)
    T_camera_first = np.eye(4)
    T_camera_first[:3, :3], T_camera_first[:3, 3] = R, T
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    faces = head.faces.cpu()
    sigma = np.where(np.isinf(camera.landmark_sigma), np.float32(np.nan), camera.landmark_sigma)
    return PosedShot(
        frame_index=index.astype(np.int64),
        vertices=vertices,
        visibility=soft_vertex_visibility(
            vertices, faces, camera.K, camera.image_size, occluders=~lashes[faces].all(1)
        ),
        K=np.repeat(camera.K[None], len(index), axis=0),
        head_pose=(T_camera_first @ first.head_pose[nearest]).astype(np.float32),
        expression=between(first.expression),
        found=found,
        rest_vertices=first.rest_vertices,
        landmarks_2d=between(camera.landmarks_2d),
        landmark_sigma=between(sigma),
    )
