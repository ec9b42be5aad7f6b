"""The head: its shape, its joints, its skinning, and that it is what its source says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from shared.arkit import EXPRESSION_NAMES


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


def random_coefficients(head: Head, *batch: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, generator=generator, dtype=torch.float64)

    return (
        0.7 * draw(head.n_identity),
        torch.rand(*batch, head.n_expression, generator=generator, dtype=torch.float64),
        0.3 * draw(4, 3),
        0.1 * draw(3) + torch.tensor([0, 0, 0.6], dtype=torch.float64),
    )


def test_sizes(head: Head) -> None:
    assert 5000 < head.n_vertices < 5200
    assert head.n_identity == 100
    assert head.expression_names == EXPRESSION_NAMES
    assert head.faces.max() == head.n_vertices - 1
    assert set(head.regions) >= {
        "skin",
        "eye.L",
        "eye.R",
        "teeth_upper",
        "tongue",
        "lashes",
        "face",
    }


def test_any_leading_batch_dimensions(head: Head) -> None:
    single = random_coefficients(head)
    vertices = head(*single)
    batched = head(*(x.expand(2, 3, *x.shape) for x in single))
    assert batched.shape == (2, 3, head.n_vertices, 3)
    assert torch.allclose(batched[1, 2], vertices)


def test_neutral_head_is_symmetric_and_faces_the_camera(head: Head) -> None:
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert (head.template[head.mirror] * flip - head.template).abs().max() < 1e-5
    skin = head.template[head.regions["face"]]
    nose = skin[skin[:, 2].argmin()]
    assert nose[0].abs() < 2e-3 and 0.02 < nose[1] < 0.07
    assert torch.allclose(head.joints_template[2:].mean(0), torch.zeros(3).double(), atol=1e-4)
    # Interpupillary distance of adults.
    assert 0.055 < float(head.joints_template[2, 0] - head.joints_template[3, 0]) < 0.070


def test_rotating_the_root_moves_the_head_rigidly(head: Head) -> None:
    identity, expression, rotations, translation = random_coefficients(head)
    rotations = rotations.clone()
    rotations[1:] = 0
    posed = head(identity, expression, rotations, translation)
    bind = head.shape(identity, expression)
    neck = head.joints(identity)[0]
    expected = (bind - neck) @ rotvec_to_rotmat(rotations[0]).T + neck + translation
    assert torch.allclose(posed, expected, atol=1e-12)


def test_an_eye_turns_about_its_centre_and_moves_nothing_else(head: Head) -> None:
    identity, expression, rotations, translation = random_coefficients(head)
    turned = rotations.clone()
    turned[2] += torch.tensor([0.1, 0.3, 0.0])
    before, after = (head(identity, expression, r, translation) for r in (rotations, turned))
    moved = (before - after).norm(dim=-1) > 1e-9
    assert set(np.flatnonzero(moved.numpy())) <= set(head.regions["eye.L"])
    centre = head.joint_transforms(identity, rotations, translation)[1] @ torch.cat(
        [head.joints(identity)[2], torch.ones(1, dtype=torch.float64)]
    )
    ball = torch.as_tensor(head.regions["eye.L"])
    radius = (before[ball] - centre[:3]).norm(dim=-1)
    assert torch.allclose(radius, (after[ball] - centre[:3]).norm(dim=-1), atol=1e-9)
    assert 0.011 < float(radius.median()) < 0.018


def test_a_blink_closes_and_stays_outside_the_eye(head: Head) -> None:
    expression = torch.zeros(52, dtype=torch.float64)
    for side in ("Left", "Right"):
        expression[EXPRESSION_NAMES.index(f"eyeBlink{side}")] = 1.0
    shape = head.shape(torch.zeros(100, dtype=torch.float64), expression).numpy()
    for joint, letter in ((2, "L"), (3, "R")):
        upper = shape[head.regions[f"lid_margin_upper.{letter}"]]
        lower = shape[head.regions[f"lid_margin_lower.{letter}"]]
        order = lower[:, 0].argsort()
        gap = np.interp(upper[:, 0], lower[order, 0], lower[order, 1]) - upper[:, 1]
        assert gap.max() < 7e-4, "the lids must meet"
        centre = head.joints_template[joint].numpy()
        ball = head.template[head.regions[f"eye.{letter}"]].numpy()
        radius = np.median(np.linalg.norm(ball - centre, axis=1))
        lids = np.linalg.norm(np.concatenate([upper, lower]) - centre, axis=1)
        assert lids.min() > radius - 5e-4


def test_gradients_flow_to_every_coefficient(head: Head) -> None:
    inputs = [x.requires_grad_() for x in random_coefficients(head)]
    head(*inputs).square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in inputs)


def test_prior_samples_look_like_the_prior(head: Head) -> None:
    prior = head.identity_prior
    samples = prior.sample(4000, torch.Generator().manual_seed(1))
    mean = (prior.weights[:, None] * prior.means).sum(0)
    assert (samples.mean(0) - mean).abs().max() < 0.15
    typical, strange = prior.log_density(samples), prior.log_density(samples * 4)
    assert typical.median() > strange.median() + 100


def test_a_file_that_is_no_head_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "other.npz"
    np.savez(path, a=1)
    with pytest.raises(BadInputError, match=r"other\.npz"):
        Head.load(path)
