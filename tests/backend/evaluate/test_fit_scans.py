"""Scanned people as truth: the measure has no error of its own, and the landmarks are theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.evaluate.scan_errors import scan_error, surface_distance
from backend.evaluate.scans import FILE_NAME, RecordedShot, Recording, ScannedPeople, record
from backend.fit import ShotFit
from backend.head import Head
from backend.head.landmarks import HEAD_FILE, layout


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="module")
def scans(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as ICT's is: this head's own mean, in millimetres and y up, and random modes."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    with np.load(HEAD_FILE) as data:
        vertices, order = data["template"].astype(np.float64), data["makehuman_vertex"]
    shuffle = rng.permutation(len(order))
    flip = np.array([1e3, -1e3, -1e3])
    modes = rng.normal(0, 0.3, (100, 1, 3)) * vertices * flip * 0.1
    np.savez(
        folder / FILE_NAME, makehuman_vertex=order[shuffle], mean=(vertices * flip)[shuffle],
        identity=modes[:, shuffle],
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def shot(head: Head, scans: Path) -> RecordedShot:
    person = ScannedPeople(scans, head).person(3)
    return record(person, Recording(frames=4, cameras=3, seed=3))


def truth(shot: RecordedShot, head: Head) -> ShotFit:
    """The recording's own parameters as a fit: what the mean head lacks is its correction."""
    acted, f4 = shot.performance, np.float32
    return ShotFit(
        np.zeros(100, f4), acted.expression.astype(f4), acted.rotations.astype(f4),
        acted.translation.astype(f4), shot.focal_px, np.ones(4, bool), (),
        (shot.head.template - head.template).numpy(),
        (shot.head.joints_template - head.joints_template).numpy(),
    )  # fmt: skip


def test_the_truth_has_no_error(head: Head, shot: RecordedShot) -> None:
    error = scan_error(head, shot, truth(shot, head))
    # The angle between two rotations in single precision is good to a hundredth of a degree.
    assert max(abs(value) for value in vars(error).values()) < 2e-2


def test_known_errors_are_measured(head: Head, shot: RecordedShot) -> None:
    fit = truth(shot, head)
    moved = scan_error(head, shot, replace(fit, translation=fit.translation + np.float32(0.002)))
    assert moved.translation_mm == pytest.approx(2 * 3**0.5, rel=1e-3)
    # Once in each of the equation's first two distances, and not in the third.
    assert moved.wcpa == pytest.approx(2 * moved.mm_camera, rel=1e-3)
    assert moved.mm < 2e-2 and moved.mm_posed < 2e-2
    assert fit.correction is not None
    larger = replace(fit, correction=fit.correction + 0.05 * shot.head.template.numpy())
    grown = scan_error(head, shot, larger)
    assert grown.mm > 0.9 and grown.mm_scaled < 0.05
    longer = scan_error(head, shot, replace(fit, focal_px=1.1 * shot.focal_px))
    assert longer.focal_percent == pytest.approx(10.0) and longer.mm < 2e-2


def test_surface_distance_of_a_bump(head: Head) -> None:
    own = head.template.double().numpy()
    face = head.regions["face"]
    true = own.copy()
    nose = face[own[face][:, 2].argmin()]
    true[nose, 2] -= 0.01
    triangles = head.faces
    # One vertex is 10 mm off; the alignment gives a little of that to all the others.
    share = 10.0 / len(face)
    assert share < surface_distance(own, true, face, triangles, False) < 3 * share


def test_cameras_look_at_the_same_head(head: Head, shot: RecordedShot) -> None:
    """What each camera saw is the truth's projection, but for errors as large as sigma says."""
    lay = layout(shot.layout_name)
    points = shot.head.landmarks(torch.as_tensor(shot.vertices), lay).double().numpy()
    width, height = shot.image_size
    for c in range(3):
        local = points @ shot.camera_rotmat[c].T + shot.camera_translation[c]
        assert local[..., 2].min() > 0.3
        pixels = local[..., :2] / local[..., 2:] * shot.focal_px
        error = shot.landmarks_2d[:, c] - pixels - [(width - 1) / 2, (height - 1) / 2]
        whitened = error / shot.landmark_sigma[:, c, :, None]
        assert whitened.std() == pytest.approx(1.0, rel=0.1)
    assert np.ptp(shot.landmark_sigma) > 2 * np.median(shot.landmark_sigma)


def test_people_differ_and_files_are_checked(head: Head, scans: Path, tmp_path: Path) -> None:
    people = ScannedPeople(scans, head)
    a, b = people.person(1), people.person(2)
    assert float((a.template - b.template).abs().max()) > 1e-3
    torch.testing.assert_close(people.person(1).template, a.template)
    with pytest.raises(BadInputError):
        ScannedPeople(tmp_path, head)
