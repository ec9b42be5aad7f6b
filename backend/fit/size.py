"""A person's size apart from their shape, so that no prior on the shape bears on the size.

One camera cannot tell a small head from a large one far away: the prior decides. Coefficients of a
linear head are differences in metres, and those of a small head are smaller: under `-log p(beta)`
every peculiarity of a face that landmarks make certain draws the head towards none at all, by a
fifth where they are exact. So the prior is asked about the shape as it would be on a head of mean
size. What does not belong to the head's own coefficients (`correction.py`, offsets) grows with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.head import Head
from backend.head.prior import GaussianMixture

# Sizes below this share of the mean's are no heads; it keeps far-off steps finite.
LEAST_SIZE = 0.3


@dataclass(frozen=True)
class SizeSplit:
    """The coefficients of a head in its size and what else is particular about it."""

    growth: Tensor
    """(K,) change of the head's size, a share of the mean's, by its coefficients."""
    direction: Tensor
    """(K,) what people have on average who are larger by one: growth @ direction = 1."""

    @classmethod
    def of(cls, head: Head) -> SizeSplit:
        """From a head and its prior: larger people are also otherwise unlike smaller ones."""
        growth, prior = size_gradient(head), head.identity_prior
        spread = _covariance(prior) @ growth
        return cls(growth, spread / (growth @ spread))

    def size(self, identity: Tensor) -> Tensor:
        """() of coefficients (K,), over the mean's."""
        return size_of(self.growth, identity)

    def at_mean_size(self, identity: Tensor) -> Tensor:
        """(K,) coefficients whose peculiarities are those of a head of mean size."""
        larger = self.growth @ identity
        apart = identity - larger * self.direction
        return larger * self.direction + apart / self.size(identity)

    def derivative(self, identity: Tensor) -> Tensor:
        """(K,K) of `at_mean_size`."""
        size = self.size(identity)
        apart = identity - (self.growth @ identity) * self.direction
        by_size = (1.0 - 1.0 / size) * self.direction - apart / size.square()
        eye = torch.eye(len(identity)).to(identity)
        return eye / size + by_size[:, None] * self.growth


def size_of(growth: Tensor, identity: Tensor) -> Tensor:
    """() size of a head with coefficients (K,), over the mean's; growth (K,): `size_gradient`."""
    return (1.0 + growth @ identity).clamp_min(LEAST_SIZE)


def size_gradient(head: Head) -> Tensor:
    """(K,) derivative of the logarithm of the face's root-mean-square radius, at the mean."""
    face = torch.from_numpy(head.regions["face"]).to(head.template.device)
    centred = head.template[face] - head.template[face].mean(0)
    return torch.einsum("kvc,vc->k", head.identity_basis[:, face], centred) / centred.square().sum()


def _covariance(prior: GaussianMixture) -> Tensor:
    """(K,K) of a mixture."""
    mean = prior.weights @ prior.means
    offset = prior.means - mean
    total = torch.zeros_like(prior.precision_chol[0])
    for weight, factor, off in zip(prior.weights, prior.precision_chol, offset, strict=True):
        total += weight * (torch.linalg.inv(factor @ factor.T) + off[:, None] * off)
    return total
