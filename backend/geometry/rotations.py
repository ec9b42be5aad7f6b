"""Rotations as vectors and matrices, any leading batch dimensions, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def skew(v: Tensor) -> Tensor:
    """Cross-product matrices (...,3,3) of vectors (...,3)."""
    assert v.shape[-1] == 3
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*v.shape[:-1], 3, 3)


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Rotation matrices (...,3,3) of rotation vectors (...,3), radians (Rodrigues' formula)."""
    square = (rotvec**2).sum(-1)[..., None, None]
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1 - square / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle**2)
    k = skew(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + sine * k + cosine * (k @ k)


def rotmat_to_rotvec(rotmat: Tensor) -> Tensor:
    """Rotation vectors (...,3) of rotation matrices (...,3,3), angles 0 to pi.

    By way of quaternions, whose largest component divides: exact near 0 and near pi alike.
    """
    m = rotmat
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    candidates = torch.stack(
        [
            torch.stack([1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0],
                         m[..., 1, 0] - m[..., 0, 1]], -1),
            torch.stack([m[..., 2, 1] - m[..., 1, 2], 1 + 2 * m[..., 0, 0] - trace,
                         m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]], -1),
            torch.stack([m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0],
                         1 + 2 * m[..., 1, 1] - trace, m[..., 1, 2] + m[..., 2, 1]], -1),
            torch.stack([m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0],
                         m[..., 1, 2] + m[..., 2, 1], 1 + 2 * m[..., 2, 2] - trace], -1),
        ], -2,
    )  # fmt: skip
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = candidates.gather(-2, index)[..., 0, :]
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., 0], quaternion[..., 1:]
    sine = imaginary.norm(dim=-1)
    angle = 2 * torch.atan2(sine, real)
    small = sine < 1e-7
    scale = torch.where(small, 2.0 * torch.ones_like(sine), angle / sine.clamp_min(1e-12))
    return scale[..., None] * imaginary


def left_jacobian_inverse(rotvec: Tensor) -> Tensor:
    """(...,3,3): d log(exp(delta) R) / d delta at delta = 0, for R = exp(rotvec) (...,3).

    Solà et al., A micro Lie theory, equation 146.
    """
    square = (rotvec**2).sum(-1)[..., None, None]
    small = square < 1e-4
    half = 0.5 * torch.where(small, torch.ones_like(square), square).sqrt()
    # The equation's (1 + cos) / sin is cot of the half angle, which also holds at pi.
    exact = (1 - half / half.tan()) / (4 * half**2)
    factor = torch.where(small, 1 / 12 + square / 720, exact)
    k = skew(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) - 0.5 * k + factor * (k @ k)
