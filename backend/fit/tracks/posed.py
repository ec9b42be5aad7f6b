"""A fitted shot's mesh in the frames that are looked at again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from backend.fit.correction import fitted_head
from backend.fit.settings import ShotFit
from backend.head import Head

Array = NDArray[np.float64]
# The skull's joint; what other joints carry along by more than this share is not on the skull.
SKULL, FOREIGN = 1, 0.05


@dataclass(frozen=True)
class PosedShot:
    """The head of a fit in F frames."""

    vertices: Array
    """(F,N,3) camera frame, metres."""
    rotmat: Array
    """(F,3,3) and `translation` (F,3): skull frame (the head joint's) to camera."""
    translation: Array
    neutral: Array
    """(N,3) without expression, skull frame."""
    faces: NDArray[np.int64]
    """(T,3)"""
    trackable: NDArray[np.bool_]
    """(T,) skin of the skull that neither opens nor turns on its own: no lips, lids or eyes."""
    expression_basis: Array
    """(E,N,3) metres for a coefficient of one."""
    focal_px: float
    centre: Array
    """(2,) principal point, pixels."""

    @property
    def local(self) -> Array:
        """(F,N,3) vertices in the skull's frame, where only the expression moves them."""
        return (self.vertices - self.translation[:, None]) @ self.rotmat

    @property
    def pixels(self) -> Array:
        """(F,N,2)"""
        return self.focal_px * self.vertices[..., :2] / self.vertices[..., 2:] + self.centre


@torch.no_grad()
def pose_shot(
    head: Head, fit: ShotFit, rows: NDArray[np.int64], centre: tuple[float, float]
) -> PosedShot:
    """The head of a fit in some of its frames; `head` is that which the fit was made with."""
    to = head.template.new_tensor
    own = fitted_head(head, fit)
    identity, rotations = to(fit.identity), to(fit.rotations[rows])
    translation = to(fit.translation[rows])
    vertices = own(identity, to(fit.expression[rows]), rotations, translation)
    pose = _f8(own.joint_transforms(identity, rotations, translation)[:, SKULL])
    rest = own.shape(identity, identity.new_zeros(own.n_expression))
    faces = head.faces.cpu().numpy()
    return PosedShot(
        vertices=_f8(vertices),
        rotmat=pose[:, :3, :3],
        translation=pose[:, :3, 3],
        neutral=_f8(rest),
        faces=faces,
        trackable=_trackable(head)[faces].all(1),
        expression_basis=_f8(head.expression_basis),
        focal_px=float(fit.focal_px),
        centre=np.asarray(centre, np.float64),
    )


def _trackable(head: Head) -> NDArray[np.bool_]:
    """(N,) vertices of the skull's skin."""
    inside = np.zeros(head.n_vertices, bool)
    inside[head.regions["skin"]] = True
    for name in ("lips", "mouth", "eye.L", "eye.R", "lids.L", "lids.R", "lashes"):
        inside[head.regions[name]] = False
    inside &= head.skin_weights[:, SKULL].cpu().numpy() > 1.0 - FOREIGN
    return inside


def _f8(x: torch.Tensor) -> Array:
    return x.double().cpu().numpy()
