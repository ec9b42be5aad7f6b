"""Fit the head to the 2D points of many portraits at once: batched Levenberg-Marquardt on points.

Only the points' own rows of the bases are used, with analytic Jacobians, so that hundreds of
portraits take minutes on one core. portraits_projection.py lists the 163 parameters of one.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head

from .portraits_projection import (
    PointBasis,
    PortraitFits,
    SurfacePoints,
    project_points,
    restrict,
)

_GAZE_FULL = math.radians(28.0)
# Hardly seen in 2D points, or only meaningful together with others: held still or held back.
_FROZEN = ("tongueOut", "mouthClose", "cheekPuff", "jawForward")
_SPREAD = {"cheekSquintLeft": 0.2, "cheekSquintRight": 0.2, "noseSneerLeft": 0.25,
           "noseSneerRight": 0.25, "mouthShrugUpper": 0.25, "mouthRollUpper": 0.3,
           "jawLeft": 0.2, "jawRight": 0.2, "eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8,
           "jawOpen": 0.8}  # fmt: skip


@dataclass(frozen=True)
class FitSettings:
    """Weights of the fit's terms."""

    point_sigma: float = 0.012
    """Standard deviation of a point's position, in inter-ocular distances."""
    robust: float = 3.0
    """Residuals beyond so many standard deviations count less (pseudo-Huber)."""
    identity_weight: float = 1.0
    """Weight of the identity prior."""
    expression_sigma: float = 0.4
    """Standard deviation of an expression coefficient about zero."""
    expression_sparsity: float = 0.6
    """Linear cost of an expression coefficient: none is used without need."""
    gaze_sigma: float = 0.06
    """Standard deviation of the lids' following of the gaze and of the eyes' difference, rad."""
    distance: float = 1.6
    """Median distance of a portrait's camera, metres."""
    distance_sigma: float = 0.15
    """Standard deviation of the logarithm of that distance."""
    iterations: int = 30
    """Steps of Levenberg-Marquardt."""


@dataclass(frozen=True)
class _Points:
    """Observations of a batch."""

    target: Tensor  # (B,L,2) px from the principal point
    weight: Tensor  # (B,L) 1/sigma in px, zero where there is none


def fit_portraits(
    head: Head,
    points: SurfacePoints,
    observed: Tensor,
    image_size: Tensor,
    settings: FitSettings,
    start: PortraitFits | None = None,
    chunk: int = 96,
) -> PortraitFits:
    """Fit identity, expression, gaze, pose and focal length to 2D points.

    Args: points: L points of the surface; observed (B,L,2) pixels, centres at integers, NaN where
    there is none; image_size (B,2) width and height. Starts from `start`, or from the mean head
    facing the camera. Returns fits in float64.
    """
    head = copy.deepcopy(head).double()  # normal equations in single precision lose the weak modes
    points = replace(points, barycentric=points.barycentric.double())
    basis = restrict(head, points)
    out = []
    for begin in range(0, len(observed), chunk):
        part = slice(begin, begin + chunk)
        seen = observed[part].double() - (image_size[part, None].double() - 1) / 2
        usable = torch.isfinite(seen).all(-1)
        seen = torch.where(usable[..., None], seen, torch.zeros_like(seen))
        first = (
            start.select(part) if start is not None else _start(head, basis, seen, usable, settings)
        )
        size = _interocular(first, head) * settings.point_sigma
        weight = usable * points.weight.double() / size[:, None]
        out.append(_minimise(head, basis, _Points(seen, weight), first, settings))
    return PortraitFits(**{k: torch.cat([vars(f)[k] for f in out]) for k in vars(out[0])})


def _interocular(fits: PortraitFits, head: Head) -> Tensor:
    """Outer eye corners' distance in pixels as the scale has it, whatever the turn (93 mm)."""
    return 0.093 * fits.focal_px / fits.translation[:, 2]


def _start(
    head: Head, basis: PointBasis, seen: Tensor, usable: Tensor, settings: FitSettings
) -> PortraitFits:
    count = len(seen)
    weight = usable.double()[..., None]
    centre = (seen * weight).sum(1) / weight.sum(1).clamp(min=1)
    spread = (
        ((seen - centre[:, None]) ** 2 * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
    ).sqrt()
    model = basis.mean[:, :2]
    model_centre = model.mean(0)
    model_spread = ((model - model_centre) ** 2).sum(1).mean().sqrt()
    scale = (spread / model_spread).clamp(min=10.0)
    depth = torch.full((count,), settings.distance, dtype=torch.float64)
    xy = centre / scale[:, None] - model_centre
    prior = head.identity_prior
    best = int(
        (
            prior.weights.log() + prior.precision_chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        ).argmax()
    )
    return PortraitFits(
        identity=prior.means[best].expand(count, -1).clone(),
        expression=torch.full((count, 52), 0.02, dtype=torch.float64),
        rotation=torch.eye(3, dtype=torch.float64).expand(count, 3, 3).clone(),
        gaze=torch.zeros(count, 2, 2, dtype=torch.float64),
        translation=torch.cat([xy, depth[:, None]], 1),
        focal_px=scale * depth,
        cost=torch.full((count,), torch.inf, dtype=torch.float64),
    )


def _objective(
    head: Head, basis: PointBasis, data: _Points, fits: PortraitFits, settings: FitSettings,
    derivatives: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Cost (B,), gradient (B,163) and Gauss-Newton matrix (B,163,163)."""
    pixels, jacobian = project_points(fits, basis, derivatives)
    residual = (pixels - data.target) * data.weight[..., None]
    k2 = settings.robust**2
    root = (1 + (residual**2).sum(-1) / k2).sqrt()
    cost = k2 * (root - 1).sum(-1)
    n_id = fits.identity.shape[1]
    count = n_id + 52 + 11
    gradient = torch.zeros(len(fits), count, dtype=pixels.dtype)
    matrix = torch.zeros(len(fits), count, count, dtype=pixels.dtype)
    if derivatives:
        # Weighted with the robust function's derivative (iteratively reweighted least squares).
        scale = data.weight / root.sqrt()
        j = (jacobian * scale[..., None, None]).flatten(1, 2)  # type: ignore[operator]
        r = ((pixels - data.target) * scale[..., None]).flatten(1)
        gradient += torch.einsum("brk,br->bk", j, r)
        matrix += j.transpose(1, 2) @ j

    def add(rows: Tensor | slice, residual: Tensor, jac: Tensor) -> None:
        """A linear prior term: residual (B,m), its constant Jacobian (m, len(rows))."""
        nonlocal cost
        cost = cost + 0.5 * (residual**2).sum(-1)
        if derivatives:
            gradient[:, rows] += residual @ jac
            block = jac.T @ jac
            index = torch.arange(count)[rows]
            matrix[:, index[:, None], index[None]] += block

    prior = head.identity_prior
    whitened = torch.einsum(
        "bgk,gkl->bgl", fits.identity[:, None] - prior.means, prior.precision_chol
    )
    log_joint = (
        prior.weights.log() + prior.precision_chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        - 0.5 * (whitened**2).sum(-1)
    )  # fmt: skip
    # The log of the sum is bounded by its largest member, which is quadratic.
    best = log_joint.argmax(-1)
    cost = cost - settings.identity_weight * (log_joint.amax(-1) - 100.0)
    if derivatives:
        chol = prior.precision_chol[best]
        mine = whitened[torch.arange(len(best)), best]
        gradient[:, :n_id] += settings.identity_weight * (chol @ mine[..., None])[..., 0]
        matrix[:, :n_id, :n_id] += settings.identity_weight * chol @ chol.transpose(1, 2)

    names = head.expression_names
    sigma = torch.tensor([_SPREAD.get(n, settings.expression_sigma) for n in names]).to(pixels)
    e_rows = slice(n_id, n_id + 52)
    add(e_rows, fits.expression / sigma, torch.diag(1 / sigma))
    cost = cost + settings.expression_sparsity * fits.expression.sum(-1)
    gradient[:, e_rows] += settings.expression_sparsity
    # Lids and gaze go together, and both eyes look the same way.
    at = {n: n_id + i for i, n in enumerate(names)}
    gaze0 = n_id + 52 + 3
    g = 1 / settings.gaze_sigma
    for side, eye in ((0, "Left"), (1, "Right")):
        inward = 1.0 if side == 0 else -1.0  # yaw > 0 turns both eyes to the subject's right
        for axis, plus, minus, sign in ((0, "Down", "Up", 1.0), (1, "In", "Out", inward)):
            rows = torch.tensor(
                [gaze0 + 2 * side + axis, at[f"eyeLook{plus}{eye}"], at[f"eyeLook{minus}{eye}"]]
            )
            jac = g * torch.tensor([[1.0, -sign * _GAZE_FULL, sign * _GAZE_FULL]]).to(pixels)
            look = fits.expression[:, rows[1:] - n_id]
            value = torch.cat([fits.gaze[:, side, axis, None], look], 1) @ jac.T
            add(rows, value, jac)
    for axis in range(2):
        rows = torch.tensor([gaze0 + axis, gaze0 + 2 + axis])
        jac = g * torch.tensor([[1.0, -1.0]]).to(pixels)
        add(rows, fits.gaze[:, :, axis] @ jac.T, jac)
    add(slice(gaze0, gaze0 + 4), fits.gaze.flatten(1) / 0.3, torch.eye(4).to(pixels) / 0.3)
    depth = (fits.translation[:, 2:].log() - math.log(settings.distance)) / settings.distance_sigma
    add(slice(count - 2, count - 1), depth, torch.eye(1).to(pixels) / settings.distance_sigma)
    return cost, gradient, matrix


def _minimise(
    head: Head, basis: PointBasis, data: _Points, fits: PortraitFits, settings: FitSettings
) -> PortraitFits:
    """Projected Levenberg-Marquardt, one damping a portrait; a step must lower the cost."""
    frozen = torch.tensor([name in _FROZEN for name in head.expression_names])
    fits = replace(fits, expression=torch.where(frozen, 0.0, fits.expression))
    n_id = fits.identity.shape[1]
    e_rows = slice(n_id, n_id + 52)
    damping = torch.full((len(fits),), 1e-2, dtype=torch.float64)
    for _ in range(settings.iterations):
        cost, gradient, matrix = _objective(head, basis, data, fits, settings, True)
        held = torch.zeros_like(gradient, dtype=torch.bool)
        e, ge = fits.expression, gradient[:, e_rows]
        held[:, e_rows] = frozen | ((e <= 0) & (ge > 0)) | ((e >= 1) & (ge < 0))
        free = (~held).double()
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        system = matrix * free[:, :, None] * free[:, None, :]
        system = system + torch.diag_embed(damping[:, None] * diagonal * free + (1 - free) + 1e-9)
        factor, _ = torch.linalg.cholesky_ex(system)
        step = -torch.cholesky_solve((gradient * free)[..., None], factor)[..., 0]
        trial = _apply_step(fits, step)
        new_cost, _, _ = _objective(head, basis, data, trial, settings, False)
        better = new_cost < cost
        merged = {}
        for name, value in vars(fits).items():
            shape = (-1,) + (1,) * (value.ndim - 1)
            merged[name] = torch.where(better.reshape(shape), vars(trial)[name], value)
        fits = PortraitFits(**{**merged, "cost": torch.where(better, new_cost, cost)})
        damping = torch.where(better, damping / 3, damping * 5).clamp(1e-7, 1e6)
    return fits


def _apply_step(fits: PortraitFits, step: Tensor) -> PortraitFits:
    n = fits.identity.shape[1]
    identity, expression, turn, gaze, xy, depth, scale = step.split([n, 52, 3, 4, 2, 1, 1], dim=1)
    turn = turn * (0.5 / turn.norm(dim=1, keepdim=True).clamp(min=0.5))
    z = fits.translation[:, 2:] * depth.clamp(-0.5, 0.5).exp()
    focal = fits.focal_px[:, None] * (depth.clamp(-0.5, 0.5) + scale.clamp(-0.5, 0.5)).exp()
    rotation = rotvec_to_rotmat(turn) @ fits.rotation
    return replace(
        fits,
        identity=fits.identity + identity,
        expression=(fits.expression + expression).clamp(0, 1),
        rotation=rotation,
        gaze=(fits.gaze + gaze.unflatten(1, (2, 2))).clamp(-0.7, 0.7),
        translation=torch.cat([fits.translation[:, :2] + xy, z], dim=1),
        focal_px=focal[:, 0],
    )
