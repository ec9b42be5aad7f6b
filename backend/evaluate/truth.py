"""How far a track is from a known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from backend.head import Head
from backend.track import Track
from shared.conventions import intrinsics


@dataclass(frozen=True)
class TrackError:
    """Errors of a track, as the median over frames where not said otherwise."""

    mesh_mm: float
    """Mean distance of the face's vertices after a rigid alignment, millimetres. It holds the size
    of the head, which one camera cannot see: a larger head farther away looks the same."""
    shape_mm: float
    """The same after an alignment with scale: the shape alone, millimetres."""
    rotation_deg: float
    """Angle between the head's rotation and the true one, degrees."""
    depth_percent: float
    """Error of the distance to the camera, of the true one, percent."""
    reprojection_px: float
    """Mean distance of the face's vertices in the image, pixels."""
    focal_percent: float
    """Error of the focal length, of the true one, percent, signed."""


@dataclass(frozen=True)
class Truth:
    """What was rendered, for the clip's frames from 0 on."""

    vertices: NDArray[np.floating]
    """(F, N, 3) metres, camera frame."""
    head_pose: NDArray[np.floating]
    """(F, 4, 4) T_camera_head."""
    expression: NDArray[np.floating]
    """(F, 52) weights."""
    K: NDArray[np.floating]
    """(3, 3) pixels."""


def read_truth(path: Path, head: Head) -> Truth:
    """Read the coefficients of a rendered performance and pose the head with them."""
    with np.load(path) as file:
        coefficients = {
            name: torch.from_numpy(file[name]).to(head.template)
            for name in ("identity", "expression", "rotations", "translation")
        }
        width, height = (int(side) for side in file["image_size"])
        K = intrinsics(float(file["focal_px"]), (width, height))
    identity, rotations = coefficients["identity"], coefficients["rotations"]
    with torch.no_grad():
        vertices = head(
            identity, coefficients["expression"], rotations, coefficients["translation"]
        )
        pose = head.joint_transforms(identity, rotations, coefficients["translation"])[:, 1]
    return Truth(
        vertices.cpu().numpy(), pose.cpu().numpy(), coefficients["expression"].cpu().numpy(), K
    )


def track_error(track: Track, truth: Truth, face: NDArray[np.int64]) -> TrackError:
    """Compare a track with what was rendered.

    face: (n,) vertices that count. Only frames where the face was found count.
    """
    frames = np.flatnonzero(track.found)
    rows = track.frame_index[frames]
    true_vertices = truth.vertices[rows][:, face].astype(np.float64)
    true_pose = truth.head_pose[rows].astype(np.float64)
    true_K = np.broadcast_to(truth.K, (len(rows), 3, 3))
    vertices = track.vertices[frames][:, face].astype(np.float64)
    pose = track.head_pose[frames].astype(np.float64)
    mesh, shape = (
        [
            np.linalg.norm(align(a, b, with_scale) - b, axis=-1).mean()
            for a, b in zip(vertices, true_vertices, strict=True)
        ]
        for with_scale in (False, True)
    )
    turn = Rotation.from_matrix(
        pose[:, :3, :3] @ true_pose[:, :3, :3].transpose(0, 2, 1)
    ).magnitude()
    depth, true_depth = (v.mean(1)[:, 2] for v in (vertices, true_vertices))
    pixels = _project(vertices, track.K[frames]) - _project(true_vertices, true_K)
    focal = track.focal_px[frames] / true_K[:, 0, 0] - 1
    return TrackError(
        mesh_mm=1000 * float(np.median(mesh)),
        shape_mm=1000 * float(np.median(shape)),
        rotation_deg=float(np.degrees(np.median(turn))),
        depth_percent=100 * float(np.median(np.abs(depth / true_depth - 1))),
        reprojection_px=float(np.median(np.linalg.norm(pixels, axis=-1).mean(1))),
        focal_percent=100 * float(np.median(focal)),
    )


def align(
    points: NDArray[np.float64], target: NDArray[np.float64], with_scale: bool = False
) -> NDArray[np.float64]:
    """Move points (n, 3) onto target (n, 3) in the least-squares sense (Umeyama 1991).

    with_scale: a similarity in place of a rigid motion.
    """
    centre, target_centre = points.mean(0), target.mean(0)
    offset, target_offset = points - centre, target - target_centre
    u, singular, vt = np.linalg.svd(offset.T @ target_offset)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (singular @ flip) / np.square(offset).sum() if with_scale else 1.0
    return scale * offset @ (u * flip @ vt) + target_centre


def _project(vertices: NDArray[np.float64], K: NDArray[np.float64]) -> NDArray[np.float64]:
    points = vertices @ K.transpose(0, 2, 1)
    return points[..., :2] / points[..., 2:]
