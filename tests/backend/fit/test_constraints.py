"""Several cameras, what an artist knows of a shot, lenses, and starting from an earlier fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.errors import BadInputError, NoFaceError
from backend.evaluate.fit_recovery import LAYOUT, SimulatedShot, Simulation, simulate
from backend.evaluate.scans import RecordedShot, Recording, record
from backend.fit import Constraints, FitSettings, Pin, ShotFit, fit_shot, fit_views, start
from backend.fit.behind_lips import behind_lips
from backend.fit.observations import distort, undistort
from backend.head import Head
from backend.head.landmarks import layout

PLAIN = FitSettings(correction_mm=0.0)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="module")
def shot(head: Head) -> SimulatedShot:
    return simulate(head, Simulation(frames=8, seed=4, noise_px=0.5))


def fit(
    head: Head, shot: SimulatedShot, settings: FitSettings = PLAIN,
    constraints: Constraints | None = None, before: ShotFit | None = None,
) -> ShotFit:  # fmt: skip
    return fit_shot(
        head, LAYOUT, shot.landmarks_2d, shot.landmark_sigma, shot.found, shot.image_size,
        settings, constraints=constraints, before=before,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(head: Head, shot: SimulatedShot) -> ShotFit:
    return fit(head, shot)


def landmark(head: Head, fitted: ShotFit, frame: int, index: int, centre: np.ndarray) -> np.ndarray:
    to = head.template.new_tensor
    with torch.no_grad():
        posed = head(
            to(fitted.identity), to(fitted.expression[frame]), to(fitted.rotations[frame]),
            to(fitted.translation[frame]),
        )  # fmt: skip
        point = head.landmarks(posed, layout(LAYOUT))[index].double().numpy()
    return fitted.focal_px * point[:2] / point[2] + centre


def test_a_pin_draws_its_point_to_where_it_was_set(
    head: Head, shot: SimulatedShot, plain: ShotFit
) -> None:
    centre = (np.array(shot.image_size) - 1) / 2
    before = landmark(head, plain, 3, 30, centre)
    wanted = before + [6.0, -4.0]
    pin = Pin(3, "ibug68/30", (float(wanted[0]), float(wanted[1])))
    after = fit(head, shot, constraints=Constraints(pins=(pin,)), before=plain)
    moved = landmark(head, after, 3, 30, centre)
    assert np.linalg.norm(moved - wanted) < 0.35 * np.linalg.norm(before - wanted)
    # The nose is one for all frames, but others follow by less than half.
    other = landmark(head, after, 7, 30, centre) - landmark(head, plain, 7, 30, centre)
    assert np.linalg.norm(other) < 0.5 * np.linalg.norm(moved - before)


def test_pins_name_points_and_frames_that_exist(head: Head, shot: SimulatedShot) -> None:
    for pin in (
        Pin(0, "nose", (0, 0)),
        Pin(99, "vertex/3", (0, 0)),
        Pin(0, "vertex/99999", (0, 0)),
    ):
        with pytest.raises(BadInputError):
            fit(head, shot, constraints=Constraints(pins=(pin,)))


def test_an_earlier_fit_is_where_a_solve_starts(
    head: Head, shot: SimulatedShot, plain: ShotFit
) -> None:
    again = fit(head, shot, before=plain)
    assert again.cost_history[0] == pytest.approx(plain.cost_history[-1], abs=0.5)
    assert again.cost_history[-1] == pytest.approx(plain.cost_history[-1], abs=0.5)
    np.testing.assert_allclose(again.translation, plain.translation, atol=3e-3)
    with pytest.raises(BadInputError):
        fit(head, simulate(head, Simulation(frames=2)), before=plain)


def test_a_lens_that_becomes_known_takes_the_place_of_the_solved_one(
    head: Head, shot: SimulatedShot, plain: ShotFit
) -> None:
    known = 1.3 * plain.focal_px
    again = fit(head, shot, settings=replace(PLAIN, focal_px=known), before=plain)
    assert again.focal_px == pytest.approx(known)
    # The head stands farther off, as large in the picture as it was.
    depth = again.translation[:, 2].mean() / plain.translation[:, 2].mean()
    assert depth == pytest.approx(1.3, rel=0.05)
    seen, was = (landmark(head, f, 3, 30, np.zeros(2)) for f in (again, plain))
    assert np.linalg.norm(seen - was) < 8.0


def test_a_motion_is_not_asked_of_teeth(head: Head, shot: SimulatedShot, plain: ShotFit) -> None:
    teeth = behind_lips(head, LAYOUT)
    assert 0 < teeth.sum() < 20
    guessed = shot.landmarks_2d.copy()
    guessed[:, teeth] += 15.0
    guess = replace(shot, landmarks_2d=guessed)
    again, first = (fit(head, s, before=plain) for s in (guess, shot))
    # They are part of the face's measured height alone.
    np.testing.assert_allclose(again.expression, first.expression, atol=3e-3)
    # Where the person is solved, too, they tell of that alone, and lips stay where they are seen.
    alone = fit(head, guess)
    for index in (62, 66):
        assert (
            np.linalg.norm(
                landmark(head, alone, 3, index, np.zeros(2))
                - landmark(head, plain, 3, index, np.zeros(2))
            )
            < 3.0
        )


def test_ranges_known_people_and_ignored_frames(
    head: Head, shot: SimulatedShot, plain: ShotFit
) -> None:
    most = int(plain.expression.max(0).argmax())
    name, limit = head.expression_names[most], 0.4 * float(plain.expression[:, most].max())
    wild = replace(shot, landmarks_2d=shot.landmarks_2d.copy())
    wild.landmarks_2d[5] += 300.0
    known = Constraints(
        identity=shot.identity, expression_ranges=((name, 0.0, limit),), ignored_frames=(5,)
    )
    result = fit(head, wild, constraints=known)
    np.testing.assert_allclose(result.identity, shot.identity, atol=1e-6)
    assert limit > 0.1 and result.expression[:, most].max() <= limit + 1e-6
    assert list(result.found) == [f != 5 for f in range(8)]
    assert np.abs(result.translation[5] - plain.translation[5]).max() < 0.05
    with pytest.raises(BadInputError):
        fit(head, shot, constraints=Constraints(expression_ranges=(("grin", 0.0, 1.0),)))


def test_lenses_bend_and_straighten(head: Head, shot: SimulatedShot, plain: ShotFit) -> None:
    lens, centre = (-0.12, 0.03, 0.0), (np.array(shot.image_size) - 1) / 2
    bent = distort(shot.landmarks_2d, centre, shot.focal_px, lens)
    assert np.abs(bent - shot.landmarks_2d).max() > 3.0
    straight = undistort(bent, centre, shot.focal_px, lens)
    np.testing.assert_allclose(straight, shot.landmarks_2d, atol=1e-6)
    known = replace(PLAIN, focal_px=shot.focal_px)
    own = fit(head, shot, known)
    through = fit(
        head, replace(shot, landmarks_2d=bent), replace(known, distortion=lens), before=own
    )
    np.testing.assert_allclose(through.translation, own.translation, atol=2e-3)


def test_an_uncertain_lens_says_so(head: Head, plain: ShotFit) -> None:
    """A single frame tells less of the focal length than eight of a turning head."""
    one = fit(head, simulate(head, Simulation(frames=1, seed=4, noise_px=0.5)))
    assert 0.0 < plain.focal_sd_percent < one.focal_sd_percent


@pytest.fixture(scope="module")
def recorded(head: Head) -> RecordedShot:
    return record(head, Recording(frames=6, cameras=3, seed=5, noise=0.001, occluders=0.0))


def test_cameras_are_found_about_one_another(head: Head, recorded: RecordedShot) -> None:
    shot = recorded
    result = fit_views(
        head, shot.layout_name, shot.landmarks_2d, shot.landmark_sigma, np.ones(6, bool),
        shot.image_size, PLAIN,
    )  # fmt: skip
    assert result.rig is not None and result.rig.focal_px is not None
    between = (
        Rotation.from_matrix(result.rig.rotmat) * Rotation.from_matrix(shot.camera_rotmat).inv()
    )
    assert np.degrees(between.magnitude()).max() < 1.5
    assert np.abs(result.rig.focal_px / shot.focal_px - 1).max() < 0.05
    assert np.linalg.norm(result.rig.translation - shot.camera_translation, axis=1).max() < 0.04


def test_poses_join_cameras_that_share_no_frame(recorded: RecordedShot) -> None:
    """The first and the third see the face in other frames: the second links them."""
    shot, count = recorded, len(layout("dense320"))
    head = shot.head
    points = head.landmarks(head.template, layout("dense320")).double().numpy()
    found = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1]], bool)
    centres = np.tile((np.array(shot.image_size) - 1) / 2, (3, 1))
    sigma = np.ones((6, 3, count))
    poses = start.camera_poses(
        points, shot.landmarks_2d, sigma, found, centres, np.full(3, shot.focal_px)
    )
    rotmat, offset = start.camera_rig(poses, found)
    between = Rotation.from_matrix(rotmat) * Rotation.from_matrix(shot.camera_rotmat).inv()
    assert np.degrees(between.magnitude()).max() < 12.0
    rotvec, moved = start.world_poses(poses, found, rotmat, offset)
    assert np.isfinite(rotvec).all() and np.abs(moved[:, 2] - 0.6).max() < 0.2
    found[:, 1] = False
    with pytest.raises(NoFaceError):
        start.camera_rig(poses, found)
