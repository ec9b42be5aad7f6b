"""The prior on a person, as often as an update needs it: the same as `terms` and `SizeSplit`.

Precisions are multiplied out once, and what turns coefficients into those of a head of mean size
differs from a multiple of the identity by one rank: no product of matrices is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.fit.size import LEAST_SIZE, SizeSplit
from backend.head import Head

Array = NDArray[np.float64]


class PersonPrior:
    """`-log p(beta)` under a head's Gaussian mixture, asked of a head of mean size."""

    def __init__(self, head: Head) -> None:
        prior, split = head.identity_prior, SizeSplit.of(head)
        chol = prior.precision_chol.double().cpu().numpy()
        self._means = prior.means.double().cpu().numpy()
        self._precision = chol @ chol.transpose(0, 2, 1)
        spread = np.log(chol.diagonal(axis1=1, axis2=2)).sum(1)
        self._log_weight = prior.weights.double().log().cpu().numpy() + spread
        self._growth = split.growth.double().cpu().numpy()
        self._direction = split.direction.double().cpu().numpy()

    @property
    def size(self) -> int:
        """Coefficients of a person."""
        return int(self._means.shape[1])

    def derivatives(self, identity: Array) -> tuple[Array, Array]:
        """Gradient (K,) at coefficients (K,), and Gauss-Newton's Hessian (K,K)."""
        growth, direction = self._growth, self._direction
        larger = float(growth @ identity)
        scale = 1.0 / max(1.0 + larger, LEAST_SIZE)
        apart = identity - larger * direction
        offset = larger * direction + scale * apart - self._means
        pull = np.einsum("gkl,gl->gk", self._precision, offset)
        log_joint = self._log_weight - 0.5 * np.einsum("gk,gk->g", pull, offset)
        share = np.exp(log_joint - log_joint.max())
        share /= share.sum()
        gradient = share @ pull
        hessian = np.tensordot(share, self._precision, 1)
        # The derivative by the coefficients is scale I + by_size growth'.
        by_size = (1.0 - scale) * direction - scale * scale * apart
        bent = scale * (hessian @ by_size)
        turned = scale * scale * hessian + np.outer(growth, bent) + np.outer(bent, growth)
        turned += float(by_size @ hessian @ by_size) * np.outer(growth, growth)
        return scale * gradient + float(by_size @ gradient) * growth, turned
