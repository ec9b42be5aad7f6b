"""Where the fit starts: a pose by PnP, which frames belong together, and which are keys."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from backend.errors import NoFaceError

Array = NDArray[np.float64]
# A jump of the landmarks by this share of the face from frame to frame is a cut, and so is a
# change of its size by this logarithm.
CUT_JUMP, CUT_GROWTH = 0.4, 0.25
# The face shape hardly constrains a pose by points that expressions move; these are enough.
MOST_PNP_POINTS = 160


def face_size(landmarks_2d: Array) -> Array:
    """(F,) size of the face in pixels: thrice its landmarks' spread; nan without any."""
    count = np.isfinite(landmarks_2d[..., 0]).sum(axis=1, keepdims=True)
    count = np.where(count > 0, count, np.nan)
    offset = landmarks_2d - np.nansum(landmarks_2d, axis=1, keepdims=True) / count[..., None]
    return 3.0 * np.sqrt(np.nansum(offset**2, axis=(1, 2)) / count[:, 0])


def solve_pose(points: Array, landmarks_2d: Array, sigma: Array, K: Array) -> tuple[Array, Array]:
    """Pose of the rigid points (L,3) that projects them on the landmarks (L,2).

    sigma (L,): the more certain half of the landmarks decides. Returns the rotation vector (3,) and
    translation (3,) of the head frame in the camera frame, in front of the camera.
    """
    best = np.argsort(sigma)[: max(len(sigma) // 2, 6)]
    best = best[:: max(1, len(best) // MOST_PNP_POINTS)]
    object_points = np.ascontiguousarray(points[best], np.float64)
    image_points = np.ascontiguousarray(landmarks_2d[best], np.float64)
    found, rotvec, translation = cv2.solvePnP(
        object_points, image_points, K, None, flags=cv2.SOLVEPNP_SQPNP
    )
    if not found or not np.isfinite(translation).all() or translation[2, 0] < 0.05:
        # A face-on start at the distance at which the spreads agree.
        scale = image_points.std(axis=0).sum() / max(object_points[:, :2].std(axis=0).sum(), 1e-9)
        depth = K[0, 0] / max(scale, 1e-6)
        middle = (image_points.mean(axis=0) - K[:2, 2]) / K[0, 0] * depth
        rotvec, translation = np.zeros(3), np.array([*middle, depth]) - object_points.mean(axis=0)
    rotvec, translation = cv2.solvePnPRefineLM(
        object_points, image_points, K, None, np.asarray(rotvec, np.float64).reshape(3, 1),
        np.asarray(translation, np.float64).reshape(3, 1),
    )  # fmt: skip
    return rotvec[:, 0], translation[:, 0]


def link_frames(
    landmarks_2d: Array, found: NDArray[np.bool_], size: Array, largest_gap: int
) -> Array:
    """(F-1,) 1 where a frame and the next belong to one motion, 0 at cuts and long absences.

    A cut is a jump of the landmarks, or of the face's size, that no face makes in that time.
    """
    link = np.ones(max(len(found) - 1, 0))
    for a, b in pairwise(np.flatnonzero(found)):
        if b - a - 1 > largest_gap or _is_cut(landmarks_2d, size, a, b):
            link[a:b] = 0.0
    return link


def whiteness(landmarks_2d: Array, sigma: Array, link: Array) -> float:
    """How much of the landmarks' uncertainty changes from frame to frame: 1 all of it, 0 none.

    The variance of second differences over what independent errors of deviation sigma would give;
    its median over landmarks and frames, since heads hardly accelerate in most. landmarks_2d
    (F,L,2) and sigma (F,L) pixels, link (F-1,). A detector errs alike in neighbouring frames.
    """
    rows = np.flatnonzero(link[:-1] * link[1:] > 0) if len(link) > 1 else np.zeros(0, int)
    if len(rows) == 0:
        return 0.0
    second = landmarks_2d[rows] - 2 * landmarks_2d[rows + 1] + landmarks_2d[rows + 2]
    expected = sigma[rows] ** 2 + 4 * sigma[rows + 1] ** 2 + sigma[rows + 2] ** 2
    usable = np.isfinite(expected) & np.isfinite(second).all(-1)
    if not usable.any():
        return 0.0
    # Half the squared length of a normal vector in the plane has the median ln 2.
    ratio = np.median((second[usable] ** 2).sum(-1) / (2 * expected[usable])) / np.log(2.0)
    return float(min(ratio, 1.0))


def _is_cut(landmarks_2d: Array, size: Array, a: int, b: int) -> bool:
    jump = np.linalg.norm(np.median(landmarks_2d[b] - landmarks_2d[a], axis=0)) / (b - a)
    growth = abs(np.log(size[b] / size[a])) / (b - a)
    return bool(jump > CUT_JUMP * min(size[a], size[b]) or growth > CUT_GROWTH)


def carried_from(
    landmarks_2d: Array, found: NDArray[np.bool_], size: Array, link: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Where frames come from that no temporal term reaches: two sources (F,), share of the second.

    A long absence goes over from its last seen frame to the next one; at a cut each half holds the
    pose on its own side. Sources are -1 for frames with landmarks and for those that are linked.
    """
    frames = len(found)
    first, second = np.full(frames, -1), np.full(frames, -1)
    share = np.zeros(frames)
    for a, b in pairwise(np.flatnonzero(found)):
        if b - a > 1 and link[a] == 0:
            first[a + 1 : b], second[a + 1 : b] = a, b
            share[a + 1 : b] = np.arange(1, b - a) / (b - a)
            if _is_cut(landmarks_2d, size, a, b):
                share[a + 1 : b] = np.round(share[a + 1 : b])
    return first, second, share


def choose_keys(
    landmarks_2d: Array, sigma: Array, found: NDArray[np.bool_], count: int
) -> NDArray[np.int64]:
    """Up to `count` found frames that differ most in pose and expression, no uncertain ones."""
    seen = np.flatnonzero(found)
    if len(seen) <= count:
        return seen
    size = face_size(landmarks_2d)
    doubt = np.median(sigma[seen], axis=1) / size[seen]
    seen = seen[doubt <= np.quantile(doubt, 0.85)]
    shape = landmarks_2d[seen] - landmarks_2d[seen].mean(axis=1, keepdims=True)
    shape = (shape / size[seen][:, None, None]).reshape(len(seen), -1)
    chosen = [int(np.linalg.norm(shape - shape.mean(axis=0), axis=1).argmin())]
    distance = np.linalg.norm(shape - shape[chosen[0]], axis=1)
    while len(chosen) < min(count, len(seen)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(shape - shape[chosen[-1]], axis=1))
    return np.sort(seen[chosen])


def camera_poses(
    points: Array, landmarks_2d: Array, sigma: Array, found: NDArray[np.bool_], centres: Array,
    focal_px: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Pose of the rigid points (L,3) in every camera and frame by itself, with `solve_pose`.

    Args: landmarks_2d (F,C,L,2), sigma (F,C,L), found (F,C), centres (C,2), focal_px (C,). Returns
    rotation vectors and translations (F,C,3) of the head frame in the camera's, 0 where not found.
    """
    rotvec, translation = np.zeros((*found.shape, 3)), np.zeros((*found.shape, 3))
    for f, c in np.argwhere(found):
        (cx, cy), focal = centres[c], focal_px[c]
        K = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
        rotvec[f, c], translation[f, c] = solve_pose(points, landmarks_2d[f, c], sigma[f, c], K)
    return rotvec, translation


def camera_rig(poses: tuple[Array, Array], found: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Maps (C,3,3), (C,3) from the first camera to each, from poses (F,C,3) in all of them.

    Each is the median over the frames that both cameras see, linked by way of a third where two
    see none together. Raises: NoFaceError where a camera shares no frame with another.
    """
    rotvec, translation = poses
    cameras = found.shape[1]
    rotmat, offset = np.tile(np.eye(3), (cameras, 1, 1)), np.zeros((cameras, 3))
    known = [0]
    while len(known) < cameras:
        shared = {(a, c): int((found[:, a] & found[:, c]).sum())
                  for a in known for c in range(cameras) if c not in known}  # fmt: skip
        a, c = max(shared, key=lambda pair: shared[pair])
        rows = np.flatnonzero(found[:, a] & found[:, c])
        if len(rows) == 0:
            raise NoFaceError(f"camera {c + 1} sees the face in no frame in which another does")
        turn_a = Rotation.from_rotvec(rotvec[rows, a])
        turn_c = Rotation.from_rotvec(rotvec[rows, c])
        between = turn_c * turn_a.inv()
        moved = translation[rows, c] - between.apply(translation[rows, a])
        # The frame whose map is nearest to all others': a mean would follow mistaken poses.
        angles = [np.median((between * one.inv()).magnitude()) for one in between]
        best = between[int(np.argmin(angles))]
        near = (between * best.inv()).magnitude() <= np.median(angles) + 1e-9
        turn = between[np.flatnonzero(near)].mean()
        step = np.median(moved[near], axis=0)
        rotmat[c] = turn.as_matrix() @ rotmat[a]
        offset[c] = turn.apply(offset[a]) + step
        known.append(c)
    return rotmat, offset


def world_poses(
    poses: tuple[Array, Array], found: NDArray[np.bool_], rotmat: Array, offset: Array
) -> tuple[Array, Array]:
    """Poses (F,3), (F,3) in the first camera's frame, by the first camera that sees the face."""
    rotvec, translation = poses
    which = found.argmax(1)
    rows = np.arange(len(found))
    inverse = Rotation.from_matrix(rotmat[which]).inv()
    turn = (inverse * Rotation.from_rotvec(rotvec[rows, which])).as_rotvec()
    moved = inverse.apply(translation[rows, which] - offset[which])
    return fill_poses(turn, moved, found.any(1))


def fill_poses(rotvec: Array, translation: Array, found: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Poses (F,3), (F,3) with frames not found interpolated between their neighbours."""
    seen = np.flatnonzero(found)
    every = np.arange(len(found))
    inside = np.clip(every, seen[0], seen[-1])
    filled = np.stack([np.interp(inside, seen, translation[seen, k]) for k in range(3)], axis=1)
    if len(seen) == 1:
        return np.repeat(rotvec[seen], len(found), axis=0), filled
    return Slerp(seen, Rotation.from_rotvec(rotvec[seen]))(inside).as_rotvec(), filled
