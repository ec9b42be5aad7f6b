"""Errors of a fit against scanned people: geometry in millimetres, pose, camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from backend.evaluate.scans import RecordedShot
from backend.evaluate.truth import align
from backend.fit import ShotFit, fitted_head
from backend.geometry.barycentric import closest_on_triangle
from backend.head import Head

Array = NDArray[np.float64]
# Rigid alignments to the closest points, after one to the corresponding ones.
ALIGNMENTS = 3
# Of the face's vertices, every so many are measured.
STRIDE = 3
# Triangles among which the closest one is looked for: the face's are of much the same size.
NEAREST = 24
# Frames of which the posed mesh is measured, spread over the shot: the search takes long.
POSED_FRAMES = 3


@dataclass(frozen=True)
class ScanError:
    """Errors of a fit, millimetres in the face region, degrees and per cent."""

    mm: float
    """Truth's neutral face to the fitted surface, rigidly aligned: no scale, as both are metric."""
    mm_scaled: float
    """The same after an alignment with scale, as NoW's protocol has it: size is not seen by one
    camera."""
    mm_posed: float
    """Truth's face in every frame to that frame's surface, rigidly aligned."""
    mm_camera: float
    """Distance of corresponding points in the first camera's space, not aligned."""
    wcpa: float
    """Equation 7 of the WCPA challenge, millimetres: (V1,V2) + (V1,V3) + 10 (V1,V4)."""
    focal_percent: float
    """Signed."""
    rotation_deg: float
    translation_mm: float
    """Distance of the head joint's frame origin."""
    reprojection_px: float


@torch.no_grad()
def scan_error(head: Head, shot: RecordedShot, fit: ShotFit) -> ScanError:
    """Compare a fit with the truth over all frames of the first camera."""
    face = head.regions["face"]
    to = head.template.new_tensor
    own = fitted_head(head, fit)
    identity = to(fit.identity)
    neutral = own.shape(identity, to(np.zeros(own.n_expression))).double().cpu().numpy()
    true_neutral = shot.head.template.double().cpu().numpy()
    rotations, translation = to(fit.rotations), to(fit.translation)
    posed = own(identity, to(fit.expression), rotations, translation).double().cpu().numpy()
    pose = own.joint_transforms(identity, rotations, translation)[:, 1].double().cpu().numpy()
    true = shot.vertices.astype(np.float64)
    triangles = _around(head, face)
    rows = np.unique(np.linspace(0, len(true) - 1, POSED_FRAMES).astype(int))
    some = face[::STRIDE]
    at_rest = [surface_distance(neutral, true_neutral, some, triangles, s) for s in (False, True)]
    acting = [surface_distance(posed[f], true[f], some, triangles, False) for f in rows]
    turn = Rotation.from_matrix(pose[:, :3, :3] @ shot.pose[:, :3, :3].transpose(0, 2, 1))
    # The size of the head moves its joints: the face's middle says where the head is.
    moved = posed[:, face].mean(1) - true[:, face].mean(1)
    pixels = fit.focal_px * posed[:, face, :2] / posed[:, face, 2:] - (
        shot.focal_px * true[:, face, :2] / true[:, face, 2:]
    )
    return ScanError(
        mm=at_rest[0],
        mm_scaled=at_rest[1],
        mm_posed=float(np.mean(acting)),
        mm_camera=1000 * _distance(posed[:, face], true[:, face]),
        wcpa=_wcpa(posed[:, face], pose, true[:, face], shot.pose),
        focal_percent=100 * (fit.focal_px / shot.focal_px - 1),
        rotation_deg=float(np.degrees(turn.magnitude().mean())),
        translation_mm=1000 * float(np.linalg.norm(moved, axis=-1).mean()),
        reprojection_px=float(np.linalg.norm(pixels, axis=-1).mean()),
    )


def surface_distance(
    own: Array, true: Array, face: NDArray[np.int64], triangles: torch.Tensor, with_scale: bool
) -> float:
    """Mean distance of the truth's face to a fitted surface, millimetres, after an alignment.

    own, true: (N,3) metres, corresponding; triangles: (T,3) of the surface.
    """
    points = align(true[face], own[face], with_scale)
    scale, corners = 1.0, own[triangles.numpy()]
    centres = cKDTree(corners.mean(1))
    for _ in range(ALIGNMENTS):
        closest = _closest(points, corners, centres)
        points = align(true[face], closest, with_scale)
    if with_scale:
        # In the truth's millimetres.
        scale = float(np.ptp(true[face], axis=0).sum() / np.ptp(points, axis=0).sum())
    closest = _closest(points, corners, centres)
    return 1000 * scale * _distance(points, closest)


def _closest(points: Array, corners: Array, centres: cKDTree) -> Array:
    """Closest points (n,3) to points (n,3) on the triangles (T,3,3) whose centres are nearest."""
    _, near = centres.query(points, k=min(NEAREST, len(corners)))
    candidates, _ = closest_on_triangle(
        torch.as_tensor(points)[:, None].expand(-1, near.shape[1], -1),
        torch.as_tensor(corners[near]),
    )
    found = candidates.numpy()
    best = np.linalg.norm(found - points[:, None], axis=-1).argmin(1)
    return found[np.arange(len(points)), best]


def _around(head: Head, face: NDArray[np.int64]) -> torch.Tensor:
    """Triangles of the skin that touch the face, and those next to them."""
    faces = head.faces.cpu()
    near = torch.zeros(head.n_vertices, dtype=torch.bool)
    near[torch.as_tensor(face)] = True
    for _ in range(2):
        near[faces[near[faces].any(1)]] = True
    skin = torch.zeros(head.n_vertices, dtype=torch.bool)
    skin[torch.as_tensor(head.regions["skin"])] = True
    return faces[(near & skin)[faces].all(1)]


def _wcpa(own: Array, own_pose: Array, true: Array, true_pose: Array) -> float:
    """Equation 7 over frames: own and true (F,n,3) in the camera, poses (F,4,4)."""

    def local(points: Array, pose: Array) -> Array:
        return (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]

    def posed(points: Array, pose: Array) -> Array:
        return points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]

    crossed = posed(local(true, true_pose), own_pose), posed(local(own, own_pose), true_pose)
    both = _distance(true, own) + _distance(true, crossed[0]) + 10 * _distance(true, crossed[1])
    return 1000 * both


def _distance(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())
