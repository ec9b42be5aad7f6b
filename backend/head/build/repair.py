"""Repairs of the source's faults: what drags along wrongly, lids through eyes, blinks that gape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .source import Source

# Lids stay this far (metres) outside the eyeball.
LID_CLEARANCE = 3e-4
# A closed blink overlaps by this much, so that interpolation leaves no slit.
BLINK_OVERLAP = 4e-4
# How far (metres) from the margin the closing of a blink is felt.
BLINK_FALLOFF = 5e-3


@dataclass(frozen=True)
class Eye:
    """One eye of the cut head, by vertex indices of the cut mesh."""

    ball: np.ndarray
    lids: np.ndarray
    upper_margin: np.ndarray
    lower_margin: np.ndarray


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares sphere through points (n,3): centre (3,), radius."""
    a = np.column_stack([2 * points, np.ones(len(points))])
    solution, *_ = np.linalg.lstsq(a, (points**2).sum(axis=1), rcond=None)
    centre = solution[:3]
    return centre, float(np.sqrt(solution[3] + centre @ centre))


def repair_source_shapes(source: Source) -> np.ndarray:
    """(B,19158,3) blend shapes in which each part follows only what carries it.

    Known faults: ``chin-height`` drags the tongue by 20 mm, ``eye-bag`` moves the left eye,
    ``nose-trans`` the upper teeth; the ``eyeLook`` expressions rotate and distort the eyeballs,
    which rotate by skinning here.
    """
    shapes = source.shapes.copy()
    eyes = source.group_vertices("helper-l-eye", "helper-r-eye")
    upper = source.group_vertices("helper-upper-teeth")
    lower = source.group_vertices("helper-lower-teeth")
    tongue = source.group_vertices("helper-tongue")
    for i, label in enumerate(source.labels):
        kind, name = label.split(":", 1)
        if kind == "facial_action" or "eye-bag" in name:
            shapes[i, eyes] = 0
        if kind == "local_change" and name.startswith("nose"):
            shapes[i, np.concatenate([upper, lower, tongue])] = 0
        if kind == "local_change" and name.startswith("chin"):
            shapes[i, tongue] = shapes[i, lower].mean(axis=0)
    return shapes


def find_eye(vertices: np.ndarray, ball: np.ndarray, margin: np.ndarray, skin: np.ndarray) -> Eye:
    """Split a lid margin loop into its upper and its lower half and gather the lids around it."""
    centre, radius = fit_sphere(vertices[ball])
    loop = vertices[margin]
    left, right = loop[loop[:, 0].argmin()], loop[loop[:, 0].argmax()]
    share = (loop[:, 0] - left[0]) / (right[0] - left[0])
    chord = left[1] + share * (right[1] - left[1])
    upper, lower = margin[loop[:, 1] < chord - 2e-4], margin[loop[:, 1] > chord + 2e-4]
    distance = np.linalg.norm(vertices[skin] - centre, axis=1)
    near = (distance < radius + 6e-3) & (vertices[skin][:, 2] < centre[2] - 0.1 * radius)
    return Eye(ball, np.union1d(skin[near], margin), upper, lower)


def push_lids_out(vertices: np.ndarray, eyes: list[Eye], reference: np.ndarray) -> np.ndarray:
    """Move lid vertices of heads (S,n,3) that are inside an eyeball to just outside of it.

    The ball is the sphere of the reference head (n,3) carried along by the eyeball's own mean
    displacement and scale.
    """
    out = vertices.copy()
    for eye in eyes:
        centre0, radius0 = fit_sphere(reference[eye.ball])
        ball = out[:, eye.ball]
        mean0 = reference[eye.ball].mean(axis=0)
        spread0 = np.linalg.norm(reference[eye.ball] - mean0, axis=1).mean()
        mean = ball.mean(axis=1)
        scale = np.linalg.norm(ball - mean[:, None], axis=2).mean(axis=1) / spread0
        centre = mean + (centre0 - mean0) * scale[:, None]
        limit = (radius0 * scale + LID_CLEARANCE)[:, None]
        ray = out[:, eye.lids] - centre[:, None]
        length = np.linalg.norm(ray, axis=2)
        factor = np.maximum(limit / length, 1.0)
        out[:, eye.lids] = centre[:, None] + ray * factor[..., None]
    return out


def close_blink(template: np.ndarray, delta: np.ndarray, eye: Eye, strength: np.ndarray) -> np.ndarray:
    """Correct a blink (n,3) so that at coefficient 1 the upper margin meets the lower.

    ``strength`` (n,) selects the vertices that may move (the lids). The upper lid is lowered by the
    gap that is left above the lower margin at the same x, spread over the lid with a Gaussian.
    """
    posed = template + delta
    lower = posed[eye.lower_margin]
    order = np.argsort(lower[:, 0])
    target_y = np.interp(posed[eye.upper_margin, 0], lower[order, 0], lower[order, 1])
    target_z = np.interp(posed[eye.upper_margin, 0], lower[order, 0], lower[order, 2])
    gap = target_y + BLINK_OVERLAP - posed[eye.upper_margin, 1]
    forward = np.minimum(target_z - posed[eye.upper_margin, 2], 0.0)
    # At the corners both margins meet already: the gap fades there by itself.
    out = delta.copy()
    rows = np.flatnonzero(strength > 0)
    distance = np.linalg.norm(
        template[rows, None] - template[None, eye.upper_margin], axis=2
    )
    weight = np.exp(-0.5 * (distance / (0.4 * BLINK_FALLOFF)) ** 2)
    nearest = distance.min(axis=1)
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    fade = np.exp(-0.5 * (nearest / BLINK_FALLOFF) ** 2) * strength[rows]
    exact = nearest < 1e-9
    # On the margin itself the correction is exact, not a blend of its neighbours.
    share[exact] = (distance[exact] < 1e-9).astype(float)
    below = np.isin(rows, eye.lower_margin)
    fade[below] = 0.0
    out[rows, 1] += (share @ gap) * fade
    out[rows, 2] += (share @ forward) * fade
    return out
