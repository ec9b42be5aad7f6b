"""The energy of Wood et al., section 3.2: each term a residual with its Jacobian, a pure function.

Costs are sums of squared residuals, apart from the identity's, which is a logarithm, and the
landmarks', which is robust.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.geometry.rotations import left_jacobian_inverse, rotmat_to_rotvec
from backend.head.prior import GaussianMixture


@dataclass(frozen=True)
class Target:
    """Observed landmarks of F frames in C cameras."""

    landmarks_2d: Tensor
    """(F,C,L,2) pixels."""
    precision: Tensor
    """(F,C,L) 1 / sigma in 1/pixel, 0 where there is no observation; or (F,C,L,2,2) matrices W
    whose W (x - mu) has unit covariance, for uncertainty that has a direction."""
    robust: Tensor
    """(L,) deviations beyond which a landmark counts less."""

    def frames(self, rows: Tensor | slice) -> Target:
        """Some of the frames."""
        return Target(self.landmarks_2d[rows], self.precision[rows], self.robust)

    def errors(self, pixels: Tensor) -> Tensor:
        """(F,C,L,2) errors of pixels, in deviations."""
        error = pixels - self.landmarks_2d
        if self.precision.ndim == 5:
            return (self.precision * error[..., None, :]).sum(-1)
        return error * self.precision[..., None]

    def seen(self) -> Tensor:
        """(F,C,L) where there is an observation."""
        return self.precision.flatten(3).any(-1) if self.precision.ndim == 5 else self.precision > 0


def robust_weight(error_sigmas: Tensor, scale: Tensor | float) -> Tensor:
    """Geman-McClure's weight of errors in deviations: 1 at 0, falling beyond `scale`."""
    return _robust_weight(error_sigmas.square(), scale)


def _robust_weight(square: Tensor, scale: Tensor | float) -> Tensor:
    limit = scale * scale
    return (limit / (limit + square)).square()


def landmark_cost(pixels: Tensor, target: Target, weight: float) -> Tensor:
    """E_landmarks, equation 2, made robust: (F,) of weight * sum rho(|x - mu| / sigma) / 2.

    pixels: (F,C,L,2). rho(e) = c^2 e^2 / (c^2 + e^2) is Geman-McClure's, c = robust: e^2 for
    small e.
    """
    square = target.errors(pixels).square().sum(-1)
    limit = target.robust.square()
    return 0.5 * weight * (limit * square / (limit + square)).sum((1, 2))


def landmark_derivatives(pixels: Tensor, target: Target, weight: float) -> tuple[Tensor, Tensor]:
    """Half the gradient of `landmark_cost` (F,C,L,2), and a positive stand-in for half its Hessian.

    The second is (F,C,L), or (F,C,L,2,2) where sigma has a direction: iteratively reweighted least
    squares, the weights being held while the step is found.
    """
    error = target.errors(pixels)
    gain = 0.5 * weight * _robust_weight(error.square().sum(-1), target.robust)
    precision = target.precision
    if precision.ndim == 5:
        turned = gain[..., None, None] * precision.transpose(-1, -2)
        return (turned @ error[..., None])[..., 0], turned @ precision
    return (gain * precision)[..., None] * error, gain * precision.square()


def identity_cost(identity: Tensor, prior: GaussianMixture) -> Tensor:
    """E_identity = -log p(beta): cost () of coefficients (K,)."""
    return -torch.logsumexp(_log_joint(identity, prior)[0], 0)


def identity_derivatives(identity: Tensor, prior: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Gradient (K,) of `identity_cost` and a positive definite stand-in for its Hessian (K,K).

    The responsibility-weighted mean of the components' precisions: the exact Hessian less its
    negative part (the covariance of the components' pulls), which is what keeps steps downhill.
    """
    log_joint, whitened = _log_joint(identity, prior)
    share = log_joint.softmax(0)
    pull = torch.einsum("gkl,gl->gk", prior.precision_chol, whitened)
    root = (share.sqrt()[:, None, None] * prior.precision_chol).permute(1, 0, 2).flatten(1)
    return share @ pull, root @ root.T


def _log_joint(identity: Tensor, prior: GaussianMixture) -> tuple[Tensor, Tensor]:
    """log of weight times density (G,), less a constant, and whitened offsets (G,K)."""
    offset = identity - prior.means
    whitened = torch.einsum("gk,gkl->gl", offset, prior.precision_chol)
    log_det = prior.precision_chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return prior.weights.log() + log_det - 0.5 * whitened.square().sum(-1), whitened


def expression_residual(expression: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """E_expression = |psi|^2: residual (F,52) and its diagonal Jacobian (F,52); weight (F,)."""
    gain = weight.sqrt()[:, None].expand_as(expression)
    return gain * expression, gain


def range_residual(
    expression: Tensor, weight: float, low: Tensor | float = 0.0, high: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Excess of coefficients over their range: residual (F,52), diagonal Jacobian (F,52).

    ARKit coefficients mean 0 to 1; low and high (52,) give other ranges.
    """
    gain = weight**0.5
    excess = (expression - high).clamp_min(0) + (expression - low).clamp_max(0)
    outside = ((expression > high) | (expression < low)).to(expression)
    return gain * excess, gain * outside


def joint_residual(rotmat: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """E_joints = |theta_i|^2 without the root: residual (F,9) and Jacobian (F,9,9).

    Args: rotmat (F,3,3,3) of head, left and right eye; weights (F,3,3) by joint and axis. The
    Jacobian is by the joints' left increments.
    """
    rotvec = rotmat_to_rotvec(rotmat)
    gain = weights.sqrt()
    jacobian = left_jacobian_inverse(rotvec) * gain[..., None]
    blocks = rotvec.new_zeros(len(rotvec), 3, 3, 3, 3)
    for k in range(3):
        blocks[:, k, :, k, :] = jacobian[:, k]
    return (gain * rotvec).flatten(-2), blocks.reshape(len(rotvec), 9, 9)


@dataclass(frozen=True)
class Temporal:
    """E_temporal = |x_i - x_(i-1)|^2 over n points, of what they do beyond the face's own motion.

    Robust, as the landmarks' term is: a lid that shuts within a frame is no tremble.
    """

    gain: Tensor
    """(F-1,) 1/pixel, 0 where frames do not belong together."""
    motion: Tensor
    """(F-1,C,n,2) pixels: see `bulk_motion.py`."""
    limit: Tensor
    """() pixels beyond which motion counts less."""

    def frames(self, rows: slice) -> Temporal:
        """Some of the steps from frame to frame."""
        return Temporal(self.gain[rows], self.motion[rows], self.limit)

    def cost(self, pixels: Tensor) -> Tensor:
        """(F-1,) of pixels (F,C,n,2)."""
        square = self._off(pixels).square().sum(-1)
        return self.gain.square() * (square / (1.0 + square / self.limit**2)).sum((1, 2))

    def derivatives(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Half the gradient by the later pixels (F-1,C,n,2), and the curvature (F-1,C,n)."""
        off = self._off(pixels)
        share = (1.0 + off.square().sum(-1) / self.limit**2).square().reciprocal()
        weight = self.gain.square()[:, None, None] * share
        return weight[..., None] * off, weight

    def _off(self, pixels: Tensor) -> Tensor:
        return pixels[1:] - pixels[:-1] - self.motion


@dataclass(frozen=True)
class Change:
    """Change between frames, of expression or zoom, robust like the temporal term."""

    weight: Tensor
    """(F-1,) 0 where frames do not belong together."""
    limit: float
    """Change beyond which more counts less."""

    def cost(self, values: Tensor) -> Tensor:
        """() of values (F,n)."""
        square = values.diff(dim=0).square()
        return (self.weight[:, None] * (square / (1.0 + square / self.limit**2))).sum()

    def derivatives(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Half the gradient by the later values (F-1,n), and the curvature (F-1,n)."""
        change = values.diff(dim=0)
        share = (1.0 + change.square() / self.limit**2).square().reciprocal()
        curvature = self.weight[:, None] * share
        return curvature * change, curvature
