"""The shipped head as a differentiable, batched function of its coefficients (Wood et al., 3.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backend.errors import BadInputError
from backend.geometry.rotations import rotvec_to_rotmat
from shared.arkit import EXPRESSION_NAMES

from .landmarks import HEAD_FILE, LandmarkLayout
from .prior import GaussianMixture

JOINT_NAMES = ("neck", "head", "eye.L", "eye.R")
JOINT_PARENTS = (-1, 0, 1, 1)


class Head(nn.Module):
    """Identity, expression and joint rotations to vertices.

    Head frame: OpenCV axes (x image-right when the face looks at the camera, y down, z away from
    it), metres, origin midway between the eyeballs of the mean head. Build with ``Head.load``.
    """

    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    joints_template: Tensor
    joints_identity_basis: Tensor
    skin_weights: Tensor
    faces: Tensor
    uv: Tensor
    face_uv: Tensor
    mirror: Tensor
    _prior_weights: Tensor
    _prior_means: Tensor
    _prior_precision_chol: Tensor

    def __init__(self, arrays: dict[str, np.ndarray], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        for name in (
            "template", "identity_basis", "expression_basis", "joints_template",
            "joints_identity_basis", "skin_weights", "uv",
        ):  # fmt: skip
            value = torch.from_numpy(arrays[name].astype(np.float64)).to(dtype)
            self.register_buffer(name, value)
        # Rounding to half precision leaves sums a little off one: vertices would drift with depth.
        self.skin_weights /= self.skin_weights.sum(dim=-1, keepdim=True)
        for name in ("faces", "face_uv", "mirror"):
            self.register_buffer(name, torch.from_numpy(arrays[name].astype(np.int64)))
        for name in ("weights", "means", "precision_chol"):
            value = torch.from_numpy(arrays[f"prior_{name}"].astype(np.float64)).to(dtype)
            self.register_buffer(f"_prior_{name}", value)
        self.expression_names = EXPRESSION_NAMES
        self.regions = {
            key.removeprefix("region/"): value.astype(np.int64)
            for key, value in arrays.items()
            if key.startswith("region/")
        }

    @classmethod
    def load(
        cls,
        path: Path = HEAD_FILE,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Head:
        """Load the shipped head, or another file of the same format.

        Raises: BadInputError when the file is missing or is not a head.
        """
        try:
            with np.load(path) as data:
                return cls(dict(data), dtype).to(device)
        except (OSError, KeyError, ValueError) as error:
            raise BadInputError(f"{path}: not a head model ({error}); reinstall mien") from error

    @property
    def n_vertices(self) -> int:
        return self.template.shape[0]

    @property
    def n_identity(self) -> int:
        return self.identity_basis.shape[0]

    @property
    def n_expression(self) -> int:
        return self.expression_basis.shape[0]

    @property
    def identity_prior(self) -> GaussianMixture:
        """The mixture over identity coefficients, on the head's device."""
        return GaussianMixture(self._prior_weights, self._prior_means, self._prior_precision_chol)

    def shape(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Unposed vertices (...,N,3) in the head frame: T(beta, psi).

        Args: identity (...,100); expression (...,52), 0 to 1.
        """
        assert identity.shape[-1] == self.n_identity and expression.shape[-1] == self.n_expression
        n = self.n_vertices
        offset = identity @ self.identity_basis.reshape(self.n_identity, -1)
        offset = offset + expression @ self.expression_basis.reshape(self.n_expression, -1)
        return self.template + offset.reshape(*offset.shape[:-1], n, 3)

    def joints(self, identity: Tensor) -> Tensor:
        """Joint centres (...,4,3) of an identity (...,100), head frame: J(beta)."""
        offset = identity @ self.joints_identity_basis.reshape(self.n_identity, -1)
        return self.joints_template + offset.reshape(*offset.shape[:-1], 4, 3)

    def joint_transforms(self, identity: Tensor, rotations: Tensor, translation: Tensor) -> Tensor:
        """T_camera_bind of each joint, (...,4,4,4).

        Args: identity (...,100); rotations (...,4,3) rotation vectors, the root's in the camera
        frame about the neck joint, the others local; translation (...,3) metres.
        """
        assert rotations.shape[-2:] == (4, 3) and translation.shape[-1] == 3
        centres = self.joints(identity)
        rotmat = rotvec_to_rotmat(rotations)
        batch = torch.broadcast_shapes(
            centres.shape[:-2], rotmat.shape[:-3], translation.shape[:-1]
        )
        centres = centres.expand(*batch, 4, 3)
        rotmat = rotmat.expand(*batch, 4, 3, 3)
        world_r: list[Tensor] = []
        world_t: list[Tensor] = []
        for joint, parent in enumerate(JOINT_PARENTS):
            local_r = rotmat[..., joint, :, :]
            local_t = centres[..., joint, :] - _apply(local_r, centres[..., joint, :])
            if parent < 0:
                world_r.append(local_r)
                world_t.append(local_t + translation)
            else:
                world_r.append(world_r[parent] @ local_r)
                world_t.append(_apply(world_r[parent], local_t) + world_t[parent])
        top = torch.cat([torch.stack(world_r, -3), torch.stack(world_t, -2)[..., None]], dim=-1)
        last = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*batch, 4, 1, 4)
        return torch.cat([top, last], dim=-2)

    def forward(
        self,
        identity: Tensor,
        expression: Tensor,
        rotations: Tensor,
        translation: Tensor,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Posed vertices (...,N,3) in the camera frame, metres: linear blend skinning.

        Args: identity (...,100), expression (...,52), rotations (...,4,3), translation (...,3);
        offset (...,N,3): what the unposed vertices have beside the coefficients. Leading dimensions
        broadcast.
        """
        bind = self.shape(identity, expression)
        if offset is not None:
            bind = bind + offset
        transforms = self.joint_transforms(identity, rotations, translation)
        blended = torch.einsum("nj,...jab->...nab", self.skin_weights, transforms[..., :3, :])
        return _apply(blended[..., :3], bind) + blended[..., 3]

    def landmarks(self, vertices: Tensor, layout: LandmarkLayout) -> Tensor:
        """Points (...,L,3) of a layout on vertices (...,N,3)."""
        assert vertices.shape[-2] == self.n_vertices
        corners = torch.from_numpy(layout.vertices).to(vertices.device)
        weights = torch.from_numpy(layout.barycentric).to(vertices)
        return (vertices[..., corners, :] * weights[..., None]).sum(-2)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
