"""The identity prior: a Gaussian mixture over the coefficients (Wood et al., E_identity)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """Mixture of G Gaussians over K coefficients; precision = precision_chol @ precision_chol.T."""

    weights: Tensor
    """(G,) mixture weights, summing to 1."""
    means: Tensor
    """(G,K) means."""
    precision_chol: Tensor
    """(G,K,K) upper-triangular factors of the precisions."""

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) of coefficients (...,K), shape (...)."""
        assert x.shape[-1] == self.means.shape[-1]
        whitened = torch.einsum(
            "...gk,gkl->...gl", x[..., None, :] - self.means, self.precision_chol
        )
        log_det = self.precision_chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_joint = (
            self.weights.log()
            + log_det
            - 0.5 * (whitened**2).sum(-1)
            - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        )
        return torch.logsumexp(log_joint, dim=-1)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count,K) random coefficients."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(
            count, self.means.shape[1], generator=generator, dtype=self.means.dtype
        ).to(self.means)
        # x = mean + chol^-T z has precision chol chol^T.
        offset = torch.linalg.solve_triangular(
            self.precision_chol[component].transpose(-1, -2), noise[..., None], upper=False
        )[..., 0]
        return self.means[component] + offset
