"""The head at the points of a portrait: their projection, with the analytic Jacobian beside it.

Parameters of one portrait, in this order: identity (100), expression (52), rotation (3, left
increment), gaze (2 x pitch and yaw: left, right eye), x and y of the head's origin, logarithm of
its depth, logarithm of the scale focal length over depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.geometry.rotations import rotvec_to_rotmat, skew
from backend.head import Head


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the head's surface that have a 2D observation."""

    corners: Tensor
    """(L,3) int64 vertex indices."""
    barycentric: Tensor
    """(L,3) weights."""
    weight: Tensor
    """(L,) relative weight of a point's observation (inverse standard deviation)."""

    def __len__(self) -> int:
        return len(self.corners)


@dataclass(frozen=True)
class PortraitFits:
    """Fitted heads of B portraits."""

    identity: Tensor
    """(B,100)."""
    expression: Tensor
    """(B,52), 0 to 1."""
    rotation: Tensor
    """(B,3,3) of the whole head about the head frame's origin, camera frame."""
    gaze: Tensor
    """(B,2,2) pitch and yaw of the left and the right eye, radians, in the head."""
    translation: Tensor
    """(B,3) of the head frame's origin, camera frame, metres."""
    focal_px: Tensor
    """(B,)."""
    cost: Tensor
    """(B,) value of the objective."""

    def __len__(self) -> int:
        return len(self.identity)

    def select(self, index: Tensor | slice) -> PortraitFits:
        """The portraits of an index."""
        return replace(self, **{name: value[index] for name, value in vars(self).items()})

    def vertices(self, head: Head) -> Tensor:
        """All vertices (B,N,3) in the camera frame, metres."""
        shape = head.shape(self.identity, self.expression)
        centres = head.joints(self.identity)[:, 2:]
        eye = gaze_rotmat(self.gaze)
        turned = shape.clone()
        for side in range(2):
            about = shape - centres[:, side, None]
            moved = about @ eye[:, side].transpose(-1, -2) + centres[:, side, None]
            turned += head.skin_weights[:, 2 + side, None] * (moved - shape)
        return turned @ self.rotation.transpose(-1, -2) + self.translation[:, None]

    def intrinsics(self, image_size: Tensor) -> Tensor:
        """(B,3,3) for images (B,2) of width and height, principal point in the middle."""
        K = torch.zeros(len(self), 3, 3, dtype=self.focal_px.dtype)
        K[:, 0, 0] = K[:, 1, 1] = self.focal_px
        K[:, :2, 2] = (image_size.to(K) - 1) / 2
        K[:, 2, 2] = 1
        return K


def gaze_rotmat(gaze: Tensor) -> Tensor:
    """Rotations (...,3,3) of pitch and yaw (...,2)."""
    return rotvec_to_rotmat(torch.cat([gaze, torch.zeros_like(gaze[..., :1])], dim=-1))


@dataclass(frozen=True)
class PointBasis:
    """The head restricted to L points."""

    mean: Tensor  # (L,3)
    basis: Tensor  # (152,L,3)
    eye_weight: Tensor  # (L,2)
    centre: Tensor  # (2,3)
    centre_basis: Tensor  # (100,2,3)


def restrict(head: Head, points: SurfacePoints) -> PointBasis:
    """Take the rows of the head's bases that the points need."""

    def take(values: Tensor) -> Tensor:
        return (values[..., points.corners, :] * points.barycentric[..., None]).sum(-2)

    both = torch.cat([head.identity_basis, head.expression_basis])
    return PointBasis(
        take(head.template), take(both), take(head.skin_weights)[:, 2:],
        head.joints_template[2:], head.joints_identity_basis[:, 2:],
    )  # fmt: skip


def project_points(
    fits: PortraitFits, basis: PointBasis, jacobian: bool
) -> tuple[Tensor, Tensor | None]:
    """Pixels (B,L,2) from the principal point and their Jacobian (B,L,2,163)."""
    n_identity = fits.identity.shape[1]
    coefficients = torch.cat([fits.identity, fits.expression], dim=1)
    flat = basis.basis.flatten(1)
    shape = basis.mean + (coefficients @ flat).unflatten(1, basis.mean.shape)
    centre = basis.centre + torch.einsum("bk,kec->bec", fits.identity, basis.centre_basis)
    eye = gaze_rotmat(fits.gaze)
    local = shape.clone()
    for side in range(2):
        arm = shape - centre[:, side, None]
        moved = arm @ eye[:, side].transpose(-1, -2) + centre[:, side, None]
        local += basis.eye_weight[:, side, None] * (moved - shape)
    arm = local @ fits.rotation.transpose(-1, -2)
    point = arm + fits.translation[:, None]
    f, z = fits.focal_px[:, None], point[..., 2]
    pixels = f[..., None] * point[..., :2] / z[..., None]
    if not jacobian:
        return pixels, None
    a = torch.zeros(*pixels.shape, 3, dtype=pixels.dtype)
    a[..., 0, 0] = a[..., 1, 1] = f / z
    a[..., 2] = -pixels / z[..., None]
    m = a @ fits.rotation[:, None]  # (B,L,2,3): pixels by a movement in the head frame
    parts = [torch.einsum("blij,klj->blik", m, basis.basis)]
    gaze_part = torch.zeros(*pixels.shape, 4, dtype=pixels.dtype)
    for side in range(2):
        rows = (basis.eye_weight[:, side] > 1e-4).nonzero()[:, 0]
        w = basis.eye_weight[rows, side][:, None]
        turn = eye[:, side] - torch.eye(3, dtype=eye.dtype)
        relative = basis.basis[:, rows].clone().unsqueeze(0)  # (1,K,l,3)
        centre_move = torch.zeros_like(relative)
        centre_move[0, :n_identity] = basis.centre_basis[:, side, None]
        extra = w * torch.einsum(
            "bij,bklj->bkli", turn, (relative - centre_move).expand(len(f), -1, -1, -1)
        )
        parts[0][:, rows] += torch.einsum("blij,bklj->blik", m[:, rows], extra)
        arm_eye = shape[:, rows] - centre[:, side, None]
        for axis in range(2):
            step = torch.zeros_like(fits.gaze)
            step[:, side, axis] = 1e-4
            numeric = (
                gaze_rotmat(fits.gaze + step)[:, side] - gaze_rotmat(fits.gaze - step)[:, side]
            ) / 2e-4
            moved = w * (arm_eye @ numeric.transpose(-1, -2))
            gaze_part[:, rows, :, 2 * side + axis] = torch.einsum(
                "blij,blj->bli", m[:, rows], moved
            )
    parts.append(-(a @ skew(arm)))  # d(exp(w) arm) = -skew(arm) w
    parts.append(gaze_part)
    parts.append(a[..., :2])
    along = a[..., 2] * fits.translation[:, None, 2:3] + pixels
    parts.append(torch.stack([along, pixels], dim=-1))
    return pixels, torch.cat(parts, dim=-1)
