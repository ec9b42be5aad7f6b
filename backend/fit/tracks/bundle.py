"""Bundle adjustment of a head that moves almost rigidly: points, poses and one focal length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from backend.geometry.cameras import NEAR

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Where P points were seen in F frames."""

    position: Array
    """(F,P,2) pixels; anything where `weight` is 0."""
    weight: Array
    """(F,P) one over the squared deviation, pixels; 0 where a point was not seen."""
    displacement: Array
    """(F,P,3) what the expression adds to each point, head frame, metres."""
    modes: Array
    """(K,P,3) what the fitted expression may be wrong by at each point, one deviation each, head
    frame, metres."""
    centre: Array
    """(2,) principal point, pixels."""


@dataclass(frozen=True)
class Prior:
    """What is known of the points and the focal length before."""

    points: Array
    """(P,3) on the fitted surface, head frame, metres."""
    normals: Array
    """(P,3) unit normals there."""
    normal_sd: float
    """Deviation along the normal, metres."""
    tangent_sd: float
    """Deviation across it, metres: where on the surface a point lies is not known."""
    log_focal: float
    log_focal_sd: float


@dataclass(frozen=True)
class Scene:
    """The unknowns."""

    rotmat: Array
    """(F,3,3) head frame to camera."""
    translation: Array
    """(F,3) metres."""
    points: Array
    """(P,3) head frame, metres."""
    log_focal: float
    modes: Array
    """(F,K) coefficients."""


@dataclass(frozen=True)
class BundleSettings:
    """How to minimise."""

    robust_sigmas: float = 2.5
    """Deviations beyond which an observation counts less and less (Cauchy)."""
    iterations: int = 40
    """Most Levenberg-Marquardt steps."""
    tolerance: float = 1e-5
    """A step that lowers the cost by less than this share is the last."""


@dataclass(frozen=True)
class Solved:
    """The minimum and what it says of the focal length."""

    scene: Scene
    costs: tuple[float, ...]
    """After every accepted step."""
    residual: Array
    """(F,P,2) pixels; 0 where a point was not seen."""
    robust: Array = field(repr=False)
    """(F,P) weight that the robust loss leaves each observation, 0 to 1."""
    log_focal_sd: float = 0.0
    """Deviation of the focal length's logarithm where `Observed.weight` is true."""
    influence: Array = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """(F,P) what each observation's residual adds to the logarithm of the focal length."""


def predict(scene: Scene, observed: Observed) -> tuple[Array, Array]:
    """Pixels (F,P,2) and camera points (F,P,3): x = f X / Z + c with X = R (p + d) + t."""
    local = scene.points + observed.displacement
    local = local + np.tensordot(scene.modes, observed.modes, 1)
    camera = np.einsum("fab,fpb->fpa", scene.rotmat, local) + scene.translation[:, None]
    depth = np.maximum(camera[..., 2:], NEAR)
    return np.exp(scene.log_focal) * camera[..., :2] / depth + observed.centre, camera


def minimise_bundle(
    start: Scene, observed: Observed, prior: Prior, settings: BundleSettings | None = None
) -> Solved:
    """Levenberg-Marquardt over all unknowns, the frames eliminated by Schur complement.

    A step that raises the cost is rejected. Time grows with F (6 + K) (3 P)^2.
    """
    settings = settings or BundleSettings()
    scene, damping = start, 1e-4
    cost = _cost(scene, observed, prior, settings)
    costs = [cost]
    normal = _normal_equations(scene, observed, prior, settings)
    for _ in range(settings.iterations):
        trial = _moved(
            scene, *_solve(normal, damping, -normal.frame_gradient, -normal.border_gradient)
        )
        trial_cost = _cost(trial, observed, prior, settings)
        if not trial_cost < cost:
            damping *= 8.0
            if damping > 1e6:
                break
            continue
        gained = (cost - trial_cost) / max(cost, 1e-30)
        scene, cost, lightly = trial, trial_cost, damping <= 1e-2
        costs.append(cost)
        damping = max(damping / 6.0, 1e-9)
        normal = _normal_equations(scene, observed, prior, settings)
        if gained < settings.tolerance and lightly:
            break
    residual, _, loss = _residuals(scene, observed, settings)
    sd, influence = _focal_influence(normal, observed, residual, loss)
    return Solved(scene, tuple(costs), residual, loss, sd, influence)


@dataclass(frozen=True)
class _Normal:
    """Blocks of J'WJ and J'Wr. A frame has 6 + K unknowns; the border is 1 + 3 P."""

    by_frame: Array
    """(F,P,2,6+K) pixels by rotation about the head's origin, translation, and the modes."""
    by_focal: Array
    """(F,P,2)"""
    by_point: Array
    """(F,P,2,3)"""
    frames: Array
    """(F,6+K,6+K)"""
    crossed: Array
    """(F,6+K,1+3P)"""
    border: Array
    """(1+3P,1+3P)"""
    frame_gradient: Array
    """(F,6+K)"""
    border_gradient: Array
    """(1+3P,)"""


def _residuals(
    scene: Scene, observed: Observed, settings: BundleSettings
) -> tuple[Array, Array, Array]:
    """Residuals (F,P,2), camera points (F,P,3) and Cauchy weights (F,P) = 1 / (1 + s / c^2)."""
    pixels, camera = predict(scene, observed)
    seen = observed.weight > 0
    residual = np.where(seen[..., None], pixels - observed.position, 0.0)
    squared = observed.weight * (residual**2).sum(-1)
    return residual, camera, 1.0 / (1.0 + squared / settings.robust_sigmas**2)


def _cost(scene: Scene, observed: Observed, prior: Prior, settings: BundleSettings) -> float:
    """Half the robust squared deviations, and the priors'."""
    residual, _, _ = _residuals(scene, observed, settings)
    c2 = settings.robust_sigmas**2
    data = c2 * np.log1p(observed.weight * (residual**2).sum(-1) / c2).sum()
    gap = scene.points - prior.points
    along = (gap * prior.normals).sum(-1)
    across = (gap**2).sum(-1) - along**2
    points = (along**2).sum() / prior.normal_sd**2 + across.sum() / prior.tangent_sd**2
    focal = ((scene.log_focal - prior.log_focal) / prior.log_focal_sd) ** 2
    return 0.5 * float(data + points + focal + (scene.modes**2).sum())


def _normal_equations(
    scene: Scene, observed: Observed, prior: Prior, settings: BundleSettings
) -> _Normal:
    residual, camera, loss = _residuals(scene, observed, settings)
    (frames, points), modes = observed.weight.shape, len(observed.modes)
    depth = np.maximum(camera[..., 2], NEAR)
    ray = camera[..., :2] / depth[..., None]
    focal = np.exp(scene.log_focal)
    by_camera = np.zeros((frames, points, 2, 3))
    by_camera[..., 0, 0] = by_camera[..., 1, 1] = focal / depth
    by_camera[..., 2] = -(focal / depth)[..., None] * ray
    # A left increment turns R p about the head's origin: d(camera) = delta x (R p).
    arm = camera - scene.translation[:, None]
    by_point = by_camera @ scene.rotmat[:, None]
    by_mode = np.einsum("fpia,kpa->fpik", by_point, observed.modes, optimize=True)
    by_frame = np.concatenate([np.cross(arm[:, :, None], by_camera), by_camera, by_mode], -1)
    # The head recedes as the focal length grows, so that it keeps its size in the image.
    by_focal = focal * ray + (by_camera @ scene.translation[:, None, :, None])[..., 0]

    root = np.sqrt(observed.weight * loss)[..., None, None]
    size = 6 + modes
    a = (by_frame * root).transpose(0, 3, 1, 2).reshape(frames, size, 2 * points)
    b, g = by_point * root, by_focal * root[..., 0]
    r = residual * root[..., 0]
    own = a @ a.transpose(0, 2, 1)
    at = np.arange(size)
    own[:, at[6:], at[6:]] += 1.0
    crossed = np.empty((frames, size, 1 + 3 * points))
    crossed[..., 0] = (a @ g.reshape(frames, -1, 1))[..., 0]
    split = a.reshape(frames, size, points, 2).transpose(0, 2, 1, 3)
    crossed[..., 1:] = (split @ b).transpose(0, 2, 1, 3).reshape(frames, size, -1)
    outer = prior.normals[:, :, None] * prior.normals[:, None, :]
    precision = outer / prior.normal_sd**2 + (np.eye(3) - outer) / prior.tangent_sd**2
    border = np.zeros((1 + 3 * points, 1 + 3 * points))
    blocks = border[1:, 1:].reshape(points, 3, points, 3)
    row = np.arange(points)
    blocks[row, :, row] = np.einsum("fpia,fpib->pab", b, b, optimize=True) + precision
    border[0, 0] = (g**2).sum() + 1.0 / prior.log_focal_sd**2
    border[0, 1:] = border[1:, 0] = np.einsum("fpi,fpib->pb", g, b).ravel()
    frame_gradient = (a @ r.reshape(frames, -1, 1))[..., 0]
    frame_gradient[:, 6:] += scene.modes
    from_points = np.einsum("fpia,fpi->pa", b, r)
    from_points += np.einsum("pab,pb->pa", precision, scene.points - prior.points)
    from_focal = (g * r).sum() + (scene.log_focal - prior.log_focal) / prior.log_focal_sd**2
    return _Normal(
        by_frame, by_focal, by_point, own, crossed, border, frame_gradient,
        np.append(from_focal, from_points.ravel()),
    )  # fmt: skip


def _solve(normal: _Normal, damping: float, frames: Array, border: Array) -> tuple[Array, Array]:
    """H^-1 (frames, border) of the damped equations: (F,6+K), (1+3P,)."""
    at = np.arange(normal.frames.shape[1])
    own = normal.frames.copy()
    # A frame without points has nothing to hold its pose.
    own[:, at, at] += damping * own[:, at, at] + 1e-9
    lower = np.linalg.cholesky(own)
    carried = np.linalg.solve(lower, normal.crossed)
    sides = np.linalg.solve(lower, frames[..., None])[..., 0]
    flat = carried.reshape(-1, carried.shape[-1])
    reduced = normal.border - flat.T @ flat
    diagonal = np.arange(len(reduced))
    reduced[diagonal, diagonal] += damping * normal.border[diagonal, diagonal]
    rest = cho_solve(cho_factor(reduced), border - flat.T @ sides.ravel())
    own_part = np.linalg.solve(
        lower.transpose(0, 2, 1), (sides - carried @ rest)[..., None]
    )[..., 0]  # fmt: skip
    return own_part, rest


def _moved(scene: Scene, frames: Array, border: Array) -> Scene:
    step = float(np.clip(border[0], -0.5, 0.5))
    return Scene(
        _exponential(frames[:, :3]) @ scene.rotmat,
        (scene.translation + frames[:, 3:6]) * np.exp(step),
        scene.points + border[1:].reshape(-1, 3),
        scene.log_focal + step,
        scene.modes + frames[:, 6:],
    )


def _focal_influence(
    normal: _Normal, observed: Observed, residual: Array, loss: Array
) -> tuple[float, Array]:
    """Deviation of the log focal length, and each observation's part in it (F,P).

    With v = H^-1 e_focal, an observation moves the estimate by -v' J' w r; v's own focal entry is
    the variance if the weights are true.
    """
    unit = np.zeros(len(normal.border))
    unit[0] = 1.0
    frames, border = _solve(normal, 0.0, np.zeros_like(normal.frame_gradient), unit)
    along = np.einsum("fpia,fa->fpi", normal.by_frame, frames, optimize=True)
    along += np.einsum("fpia,pa->fpi", normal.by_point, border[1:].reshape(-1, 3), optimize=True)
    along += normal.by_focal * border[0]
    influence = -(along * residual).sum(-1) * observed.weight * loss
    return float(np.sqrt(max(border[0], 0.0))), influence


def _exponential(rotvec: Array) -> Array:
    """Rotation matrices (F,3,3) of rotation vectors (F,3): Rodrigues' formula."""
    angle = np.linalg.norm(rotvec, axis=-1)[:, None, None]
    x, y, z = rotvec.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return (
        np.eye(3)
        + np.sinc(angle / np.pi) * cross
        + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)
    )
