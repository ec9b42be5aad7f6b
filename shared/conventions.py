"""The only place that converts between the OpenCV camera convention and Blender's.

Everything outside Blender lives in the OpenCV camera frame (cv): x right, y down, z forward,
metres, pixels with pixel centres at integers, K = [[f, 0, cx], [0, f, cy], [0, 0, 1]].

Blender's world has z up, and Mien's camera stands at its origin looking along +y. A Blender
camera object looks along its own -z with its own y up. `T_a_b` maps b to a.

The head frame (x the subject's left, y down, z into the head) becomes, by the same change of
axes, a mesh that stands upright in Blender and faces -y, Blender's front view.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

T_BLENDER_CV: Array = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
"""(4,4) maps the OpenCV camera frame to Blender's world: (x, y, z) becomes (x, z, -y)."""

T_CV_BLENDER: Array = T_BLENDER_CV.T.copy()
"""(4,4) maps Blender's world to the OpenCV camera frame; the inverse of T_BLENDER_CV."""

T_CAMERAOBJECT_CV: Array = np.diag([1.0, -1.0, -1.0, 1.0])
"""(4,4) maps the OpenCV camera frame to the local frame of a Blender camera object."""

T_BLENDER_CAMERAOBJECT: Array = T_BLENDER_CV @ T_CAMERAOBJECT_CV
"""(4,4) `matrix_world` of Mien's Blender camera: at the origin, looking along +y, z up."""

SensorFit = Literal["AUTO", "HORIZONTAL", "VERTICAL"]


def _checked(values: ArrayLike, trailing: tuple[int, ...], name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.shape[array.ndim - len(trailing) :] != trailing:
        raise ValueError(f"{name} must have shape (..., {trailing}), got {array.shape}")
    return array


def points_to_blender(points_cv: ArrayLike) -> NDArray[Any]:
    """Convert points or directions from cv axes to Blender's.

    points_cv (..., 3) in metres, camera or head frame. Returns (..., 3), same float type.
    """
    points = _checked(points_cv, (3,), "points_cv")
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def points_from_blender(points_blender: ArrayLike) -> NDArray[Any]:
    """Convert points or directions from Blender's axes to cv; inverse of points_to_blender."""
    points = _checked(points_blender, (3,), "points_blender")
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def transform_to_blender(T_cv: ArrayLike) -> NDArray[Any]:
    """Express a transform between two cv frames as the same motion between Blender frames.

    T_cv (..., 4, 4), for example T_camera_head. Returns (..., 4, 4) with
    points_to_blender(T_cv p) = T_blender points_to_blender(p), so it is the `matrix_world` of
    an object whose vertices went through points_to_blender.
    """
    matrix = _checked(T_cv, (4, 4), "T_cv")
    converted: NDArray[Any] = T_BLENDER_CV @ matrix @ T_CV_BLENDER
    return converted.astype(matrix.dtype)


def transform_from_blender(T_blender: ArrayLike) -> NDArray[Any]:
    """Inverse of transform_to_blender. T_blender (..., 4, 4). Returns (..., 4, 4)."""
    matrix = _checked(T_blender, (4, 4), "T_blender")
    converted: NDArray[Any] = T_CV_BLENDER @ matrix @ T_BLENDER_CV
    return converted.astype(matrix.dtype)


def rotvec_to_blender(rotvec_cv: ArrayLike) -> NDArray[Any]:
    """Express a rotation vector in Blender's axes.

    rotvec_cv (..., 3) radians. The change of axes is itself a rotation, so the axis turns with
    it and the angle stays.
    """
    return points_to_blender(rotvec_cv)


def rotvec_to_rotmat(rotvec: ArrayLike) -> Array:
    """Rotation matrices of rotation vectors (Rodrigues). rotvec (..., 3). Returns (..., 3, 3)."""
    vector = _checked(rotvec, (3,), "rotvec").astype(np.float64)
    square = np.sum(vector**2, axis=-1)[..., None, None]
    angle = np.sqrt(square)
    small = square < 1e-8
    safe = np.where(small, 1.0, angle)
    # Taylor series below 1e-4 rad, where sin(a)/a and (1-cos(a))/a^2 lose their digits.
    sinc = np.where(small, 1.0 - square / 6.0, np.sin(safe) / safe)
    versine = np.where(small, 0.5 - square / 24.0, (1.0 - np.cos(safe)) / safe**2)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*vector.shape[:-1], 3, 3)
    rotmat: Array = np.eye(3) + sinc * cross + versine * (cross @ cross)
    return rotmat


def rotvec_to_quaternion(rotvec: ArrayLike) -> Array:
    """Unit quaternions (w, x, y, z), Blender's order. rotvec (..., 3). Returns (..., 4).

    Neighbouring frames of a smooth motion below pi stay on the same half of the sphere.
    """
    vector = _checked(rotvec, (3,), "rotvec").astype(np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    # np.sinc(x) = sin(pi x) / (pi x), defined at zero.
    imaginary = 0.5 * np.sinc(angle / (2.0 * np.pi)) * vector
    return np.concatenate([np.cos(angle / 2.0), imaginary], axis=-1)


def _fit_pixels(image_size: tuple[int, int], sensor_fit: SensorFit) -> int:
    width, height = image_size
    if width <= 0 or height <= 0:
        raise ValueError(f"image_size must be positive, got {image_size}")
    if sensor_fit == "AUTO":
        return max(width, height)
    return width if sensor_fit == "HORIZONTAL" else height


def focal_px_to_mm(
    focal_px: float,
    image_size: tuple[int, int],
    sensor_mm: float = 36.0,
    sensor_fit: SensorFit = "AUTO",
) -> float:
    """Blender's `lens` in millimetres for a focal length in pixels.

    image_size (width, height) px; square pixels. sensor_mm is the camera data's `sensor_width`
    for AUTO and HORIZONTAL, its `sensor_height` for VERTICAL. Raises ValueError for a focal
    length, sensor or image that is not positive.
    """
    if not focal_px > 0 or not sensor_mm > 0:
        raise ValueError(f"focal_px and sensor_mm must be positive: {focal_px}, {sensor_mm}")
    return focal_px * sensor_mm / _fit_pixels(image_size, sensor_fit)


def focal_mm_to_px(
    focal_mm: float,
    image_size: tuple[int, int],
    sensor_mm: float = 36.0,
    sensor_fit: SensorFit = "AUTO",
) -> float:
    """Focal length in pixels for Blender's `lens`; inverse of focal_px_to_mm."""
    if not focal_mm > 0 or not sensor_mm > 0:
        raise ValueError(f"focal_mm and sensor_mm must be positive: {focal_mm}, {sensor_mm}")
    return focal_mm * _fit_pixels(image_size, sensor_fit) / sensor_mm


def principal_point_to_shift(
    principal_point: tuple[float, float],
    image_size: tuple[int, int],
    sensor_fit: SensorFit = "AUTO",
) -> tuple[float, float]:
    """Blender's `shift_x`, `shift_y` for a principal point (cx, cy) in pixels.

    Pixel centres are at integers, so the centre of the image is ((W - 1) / 2, (H - 1) / 2). A
    positive shift moves the frame right and up, and the principal point left and down in it.
    """
    width, height = image_size
    pixels = _fit_pixels(image_size, sensor_fit)
    return (
        ((width - 1) / 2.0 - principal_point[0]) / pixels,
        (principal_point[1] - (height - 1) / 2.0) / pixels,
    )


def shift_to_principal_point(
    shift: tuple[float, float],
    image_size: tuple[int, int],
    sensor_fit: SensorFit = "AUTO",
) -> tuple[float, float]:
    """Principal point (cx, cy) in pixels for Blender's shift; inverse of the above."""
    width, height = image_size
    pixels = _fit_pixels(image_size, sensor_fit)
    return ((width - 1) / 2.0 - shift[0] * pixels, (height - 1) / 2.0 + shift[1] * pixels)


def intrinsics(
    focal_px: float, image_size: tuple[int, int], principal_point: tuple[float, float] | None = None
) -> Array:
    """K (3,3) of a camera; the principal point defaults to the centre of the image."""
    width, height = image_size
    cx, cy = principal_point or ((width - 1) / 2.0, (height - 1) / 2.0)
    return np.array([[focal_px, 0.0, cx], [0.0, focal_px, cy], [0.0, 0.0, 1.0]])
