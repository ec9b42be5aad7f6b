"""Axes, focal lengths and rotations between OpenCV and Blender."""

from __future__ import annotations

import numpy as np
import pytest

from shared import conventions as c

RNG = np.random.default_rng(7)


def random_transform(*batch: int) -> np.ndarray:
    T = np.broadcast_to(np.eye(4), (*batch, 4, 4)).copy()
    T[..., :3, :3] = c.rotvec_to_rotmat(RNG.normal(size=(*batch, 3)))
    T[..., :3, 3] = RNG.normal(size=(*batch, 3))
    return T


def test_axes_are_where_a_person_expects_them() -> None:
    right, down, forward = np.eye(3)
    np.testing.assert_array_equal(c.points_to_blender(right), [1, 0, 0])
    np.testing.assert_array_equal(c.points_to_blender(down), [0, 0, -1])
    np.testing.assert_array_equal(c.points_to_blender(forward), [0, 1, 0])


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_points_round_trip_keeps_handedness_and_type(batch: tuple[int, ...]) -> None:
    points = RNG.normal(size=(*batch, 3)).astype(np.float32)
    converted = c.points_to_blender(points)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(c.points_from_blender(converted), points)
    assert np.linalg.det(c.T_BLENDER_CV) == pytest.approx(1.0)
    homogeneous = np.concatenate([points, np.ones((*batch, 1))], -1)
    np.testing.assert_allclose(
        converted, (homogeneous @ c.T_BLENDER_CV.T)[..., :3], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_transforms_commute_with_the_change_of_axes(batch: tuple[int, ...]) -> None:
    T_cv = random_transform(*batch)
    T_blender = c.transform_to_blender(T_cv)
    points = RNG.normal(size=(*batch, 3))

    def apply(T: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.einsum("...ij,...j->...i", T[..., :3, :3], p) + T[..., :3, 3]

    np.testing.assert_allclose(
        c.points_to_blender(apply(T_cv, points)),
        apply(T_blender, c.points_to_blender(points)),
        atol=1e-12,
    )
    np.testing.assert_allclose(c.transform_from_blender(T_blender), T_cv, atol=1e-12)
    other = random_transform(*batch)
    np.testing.assert_allclose(
        c.transform_to_blender(T_cv @ other),
        T_blender @ c.transform_to_blender(other),
        atol=1e-12,
    )


def test_rotation_vectors_turn_with_the_axes() -> None:
    rotvec = RNG.normal(size=(20, 3))
    T_cv = np.broadcast_to(np.eye(4), (20, 4, 4)).copy()
    T_cv[:, :3, :3] = c.rotvec_to_rotmat(rotvec)
    np.testing.assert_allclose(
        c.rotvec_to_rotmat(c.rotvec_to_blender(rotvec)),
        c.transform_to_blender(T_cv)[:, :3, :3],
        atol=1e-12,
    )


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 0.3, np.pi - 1e-6, np.pi, 6.0])
def test_rotations_by_any_angle(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    rotmat = c.rotvec_to_rotmat(angle * axis)
    np.testing.assert_allclose(rotmat @ rotmat.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotmat @ axis, axis, atol=1e-12)
    assert np.trace(rotmat) == pytest.approx(1 + 2 * np.cos(angle), abs=1e-12)
    w, x, y, z = c.rotvec_to_quaternion(angle * axis)
    assert w * w + x * x + y * y + z * z == pytest.approx(1.0)
    from_quaternion = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(from_quaternion, rotmat, atol=1e-9)


def blender_project(
    point_world: np.ndarray,
    lens: float,
    shift: tuple[float, float],
    size: tuple[int, int],
    sensor: float,
    fit: str,
) -> np.ndarray:
    """Blender's own camera model: view space, lens and shift, then pixel edges at integers."""
    x, y, z, _ = np.linalg.inv(c.T_BLENDER_CAMERAOBJECT) @ np.append(point_world, 1.0)
    pixels = {"AUTO": max(size), "HORIZONTAL": size[0], "VERTICAL": size[1]}[fit]
    u = (x / -z * lens / sensor - shift[0]) * pixels + size[0] / 2
    v = (y / -z * lens / sensor - shift[1]) * pixels + size[1] / 2
    return np.array([u - 0.5, size[1] - v - 0.5])


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (640, 640)])
@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
def test_blender_camera_sees_what_the_opencv_camera_sees(
    size: tuple[int, int], fit: c.SensorFit
) -> None:
    focal_px, principal, sensor = 1234.5, (size[0] * 0.47, size[1] * 0.56), 23.7
    point = np.array([0.11, -0.07, 0.8])
    K = c.intrinsics(focal_px, size, principal)
    expected = (K @ point)[:2] / point[2]
    lens = c.focal_px_to_mm(focal_px, size, sensor, fit)
    shift = c.principal_point_to_shift(principal, size, fit)
    seen = blender_project(c.points_to_blender(point), lens, shift, size, sensor, fit)
    np.testing.assert_allclose(seen, expected, atol=1e-9)
    assert c.focal_mm_to_px(lens, size, sensor, fit) == pytest.approx(focal_px)
    assert c.shift_to_principal_point(shift, size, fit) == pytest.approx(principal)


def test_principal_point_defaults_to_the_centre_without_shift() -> None:
    K = c.intrinsics(1000.0, (1920, 1080))
    assert c.principal_point_to_shift((K[0, 2], K[1, 2]), (1920, 1080)) == (0.0, 0.0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        c.points_to_blender(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="positive"):
        c.focal_px_to_mm(0.0, (10, 10))
    with pytest.raises(ValueError, match="positive"):
        c.focal_mm_to_px(float("nan"), (10, 10))
    with pytest.raises(ValueError, match="image_size"):
        c.focal_px_to_mm(10.0, (0, 10))
