"""The energy of Wood et al., section 3.2: each term a residual with its Jacobian, a pure function.

Costs are sums of squared residuals. Columns of a frame: expression (52), rotations (12),
translation (3); of the shot: identity (100), log focal (1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.geometry.rotations import left_jacobian_inverse, rotmat_to_rotvec
from backend.head.prior import GaussianMixture


@dataclass(frozen=True)
class Target:
    """Observed landmarks of F frames."""

    landmarks_2d: Tensor
    """(F,L,2) pixels."""
    precision: Tensor
    """(F,L) 1 / sigma in 1/pixel, 0 where there is no observation."""


def robust_weight(error_sigmas: Tensor, scale: float) -> Tensor:
    """Geman-McClure's weight of errors in deviations: 1 at 0, falling beyond `scale`."""
    return (scale**2 / (scale**2 + error_sigmas.square())).square()


def landmark_cost(pixels: Tensor, target: Target, weight: float, robust: float) -> Tensor:
    """E_landmarks, equation 2, made robust: (F,) of weight * sum rho(|x - mu| / sigma) / 2.

    pixels: (F,L,2). rho(e) = c^2 e^2 / (c^2 + e^2) is Geman-McClure's, c = robust: e^2 for small e.
    """
    error = (pixels - target.landmarks_2d) * target.precision[..., None]
    square = error.square().sum(-1)
    return 0.5 * weight * (robust**2 * square / (robust**2 + square)).sum(-1)


def landmark_residual(
    pixels: Tensor, target: Target, weight: float, robust: float
) -> tuple[Tensor, Tensor]:
    """Reweighted residual (F,2L) with the gradient of `landmark_cost`, and its factor (F,L,1).

    The factor turns the pixels' Jacobian into the residual's (iteratively reweighted least
    squares: the weights are held while the step is found).
    """
    error = (pixels - target.landmarks_2d) * target.precision[..., None]
    gain = (0.5 * weight * robust_weight(error.norm(dim=-1, keepdim=True), robust)).sqrt()
    return (gain * error).flatten(-2), gain * target.precision[..., None]


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


def range_residual(expression: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """ARKit coefficients mean 0 to 1: residual (F,52) of the excess, diagonal Jacobian (F,52)."""
    gain = weight**0.5
    excess = (expression - 1).clamp_min(0) + expression.clamp_max(0)
    outside = ((expression > 1) | (expression < 0)).to(expression)
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


def temporal_residual(pixels: Tensor, gain: Tensor) -> Tensor:
    """E_temporal = |x_i - x_(i-1)|^2: residual (F-1,2L) of projections (F,L,2); gain (F-1,)."""
    return (gain[:, None, None] * (pixels[1:] - pixels[:-1])).flatten(-2)


def change_residual(expression: Tensor, gain: Tensor) -> Tensor:
    """Change of expression between frames: residual (F-1,52) of (F,52); gain (F-1,)."""
    return gain[:, None] * expression.diff(dim=0)
