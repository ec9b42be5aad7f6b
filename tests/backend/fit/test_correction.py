"""The free-form correction: smooth, told by landmarks, and never a motion or growth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.evaluate.truth import align
from backend.fit.correction import CorrectionBasis, corrected_head, correction_basis
from backend.head import Head
from backend.head.landmarks import layout


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


@pytest.fixture(scope="module")
def basis(head: Head) -> CorrectionBasis:
    return correction_basis(head, layout("dense320"), 0.001)


def drawn(basis: CorrectionBasis, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(basis.size, generator=generator, dtype=torch.float64)


def test_its_spread_is_the_one_asked_for(head: Head, basis: CorrectionBasis) -> None:
    face = head.regions["face"]
    moved = torch.stack([basis.displacement(drawn(basis, s))[0][face] for s in range(20)])
    assert 0.0005 < float(moved.square().mean().sqrt()) < 0.0011


def test_it_is_smooth(head: Head, basis: CorrectionBasis) -> None:
    """Along an edge it changes far less than it moves: neighbours go together."""
    moved, _ = basis.displacement(drawn(basis, 1))
    face = torch.zeros(head.n_vertices, dtype=torch.bool)
    face[torch.as_tensor(head.regions["face"])] = True
    edges = head.faces[face[head.faces].all(1)][:, :2]
    change = (moved[edges[:, 0]] - moved[edges[:, 1]]).norm(dim=-1)
    assert float(change.mean()) < 0.3 * float(moved[face].norm(dim=-1).mean())


def test_the_face_keeps_its_place_and_size(head: Head, basis: CorrectionBasis) -> None:
    face = head.regions["face"]
    moved, _ = basis.displacement(drawn(basis, 2))
    before = head.template[face].numpy()
    after = before + moved[face].numpy()
    fitted = align(before, after, with_scale=True)
    assert np.linalg.norm(fitted - before, axis=1).max() < 2e-5


def test_points_and_head_move_alike(head: Head, basis: CorrectionBasis) -> None:
    coefficients = drawn(basis, 3)
    moved, joints = basis.displacement(coefficients)
    lay = layout("dense703")
    corners, weights = torch.from_numpy(lay.vertices), torch.from_numpy(lay.barycentric)
    other = corrected_head(head, moved, joints)
    expected = other.landmarks(other.template, lay) - head.landmarks(head.template, lay)
    torch.testing.assert_close(basis.at(corners, weights) @ coefficients, expected)
    torch.testing.assert_close(basis.at_joints() @ coefficients, joints)
    torch.testing.assert_close(basis.coefficients(moved), coefficients, rtol=1e-5, atol=1e-6)
    assert float((head.template - Head.load(dtype=torch.float64).template).abs().max()) == 0.0
    eye = head.regions["eye.L"]
    torch.testing.assert_close(moved[eye], joints[2].expand(len(eye), 3))
