"""Choose the landmark layouts on the finished template: 68 by hand and by geometry, then 320 and 703.

The 68 follow the iBUG mark-up as annotators read it: upper edge of the brows, lid margins, tip and
base of the nose, the vermilion border, the line where the lips meet; the jaw is the silhouette of
the mean head seen from the front.
"""

from __future__ import annotations

import numpy as np
import torch

from backend.geometry.barycentric import closest_on_mesh

from .assemble import HeadArrays
from .repair import fit_sphere

# Subject's right side (image left) on the template of the cut; mirrored for the other side. Each
# point is a mean of vertices, picked on a textured close-up of the mesh.
NOSE_BRIDGE = (132, 1488, 201)
NOSE_BASE_RIGHT = ((288, 358, 358), (359, 314))
NOSE_BASE_MIDDLE = (343,)
MOUTH_CORNER = (422, 407)
LIP_UPPER_RIGHT = ((447, 1777), (460,))
LIP_UPPER_MIDDLE = (466,)
LIP_LOWER_RIGHT = ((480, 406), (486,))
LIP_LOWER_MIDDLE = (492,)
INNER_CORNER = (415, 439)
INNER_UPPER_RIGHT = (471, 1787)
INNER_UPPER_MIDDLE = (474,)
INNER_LOWER_RIGHT = (481,)
INNER_LOWER_MIDDLE = (493,)
# (x, y) in the head frame, metres: the mean upper edge of twelve MakeHuman eyebrows.
BROW_RIGHT = (
    (-0.0535, -0.0085), (-0.0455, -0.0135), (-0.0350, -0.0147), (-0.0240, -0.0128),
    (-0.0120, -0.0088),
)  # fmt: skip
# Rays of the jaw in the frontal plane from this centre, degrees below the horizontal.
JAW_CENTRE_Y = 0.028
JAW_ANGLES_RIGHT = (-22.0, -8.5, 5.0, 18.0, 30.5, 43.0, 57.0, 73.0, 90.0)

DENSE320 = 320
DENSE703 = 703
# Pupil, and eight points of the limbus, 5.9 mm from it.
IRIS_RING = 8
LIMBUS_RADIUS = 0.0059


def _mean(a: HeadArrays, indices: tuple[int, ...]) -> np.ndarray:
    return a.template[list(indices)].mean(axis=0)


def _front_point(a: HeadArrays, x: float, y: float) -> np.ndarray:
    """The frontmost point of the skin on the ray along z through (x, y)."""
    tri = a.template[a.faces[a.face_island == "head"]]
    p, q, r = tri[:, 0, :2], tri[:, 1, :2], tri[:, 2, :2]
    target = np.array([x, y])

    def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

    area = cross(q - p, r - p)
    with np.errstate(divide="ignore", invalid="ignore"):
        w1 = cross(target - p, r - p) / area
        w2 = cross(q - p, target - p) / area
    inside = (w1 >= -1e-9) & (w2 >= -1e-9) & (w1 + w2 <= 1 + 1e-9)
    if not inside.any():
        raise ValueError(f"no skin at ({x:.4f}, {y:.4f})")
    w = np.stack([1 - w1 - w2, w1, w2], axis=1)[inside]
    points = (tri[inside] * w[..., None]).sum(axis=1)
    return points[points[:, 2].argmin()]


def _jaw_right(a: HeadArrays) -> np.ndarray:
    """(9,3) points of the silhouette seen from the front, from ear to chin."""
    faces = a.faces[a.face_island == "head"]
    v = a.template
    normal = np.zeros_like(v)
    tri = v[faces]
    n = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    for k in range(3):
        np.add.at(normal, faces[:, k], n)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]]), axis=1), axis=0)
    i, j = edges.T
    keep = (v[i, 2] < 0.074) & (v[i, 1] > -0.02) & ((v[i, 0] <= 1e-6) | (v[j, 0] <= 1e-6))
    i, j = i[keep], j[keep]
    out = []
    for wanted in JAW_ANGLES_RIGHT:
        # The line where the surface turns away. Seen in perspective that is a little before the
        # silhouette, and under the chin, where the turn is soft, the line lies further in front.
        facing = normal[:, 2] + 0.12 + 0.2 * np.clip((wanted - 18.0) / 50.0, 0.0, 1.0)
        turn = facing[i] * facing[j] < 0
        t = (facing[i[turn]] / (facing[i[turn]] - facing[j[turn]]))[:, None]
        points = v[i[turn]] + t * (v[j[turn]] - v[i[turn]])
        angle = np.degrees(np.arctan2(points[:, 1] - JAW_CENTRE_Y, -points[:, 0]))
        radius = np.hypot(points[:, 0], points[:, 1] - JAW_CENTRE_Y)
        near = np.flatnonzero((np.abs(angle - wanted) < 7.0) & (radius > 0.057))
        # Folds of the neck and the ear lie further out: the first edge from inside counts.
        first = near[radius[near] < radius[near].min() + 0.006]
        weight = np.exp(-0.5 * ((angle[first] - wanted) / 2.5) ** 2)
        out.append((points[first] * weight[:, None]).sum(axis=0) / weight.sum())
    out[-1][0] = 0.0
    return np.array(out)


def _eye_right(a: HeadArrays) -> np.ndarray:
    """(6,3): outer corner, two of the upper margin, inner corner, two of the lower (inner first)."""
    upper = a.template[a.regions["lid_margin_upper.R"]]
    lower = a.template[a.regions["lid_margin_lower.R"]]
    both = np.concatenate([upper, lower])
    outer, inner = both[both[:, 0].argmin()], both[both[:, 0].argmax()]

    def at(margin: np.ndarray, share: float) -> np.ndarray:
        x = outer[0] + share * (inner[0] - outer[0])
        margin = margin[margin[:, 0].argsort()]
        return np.array([x, *(np.interp(x, margin[:, 0], margin[:, k]) for k in (1, 2))])

    return np.stack([outer, at(upper, 0.32), at(upper, 0.66), inner, at(lower, 0.66), at(lower, 0.34)])


def ibug68(a: HeadArrays) -> tuple[np.ndarray, np.ndarray]:
    """The 68 points (68,3) on the template and their mirror map (68,)."""
    flip = np.array([-1.0, 1.0, 1.0])
    points = np.zeros((68, 3))
    mirror = np.arange(68)

    def pair(right: int, left: int, point: np.ndarray) -> None:
        points[right], points[left] = point, point * flip
        mirror[right], mirror[left] = left, right

    for k, point in enumerate(_jaw_right(a)):
        pair(k, 16 - k, point)
    for k, (x, y) in enumerate(BROW_RIGHT):
        pair(17 + k, 26 - k, _front_point(a, x, y))
    top, _, tip = (a.template[i] for i in NOSE_BRIDGE)
    skin = a.template[a.regions["skin"]]
    middle = skin[np.abs(skin[:, 0]) < 1e-4]
    tip = middle[middle[:, 2].argmin()]
    for k in range(4):
        y = top[1] + (tip[1] - top[1]) * k / 3
        points[27 + k] = _front_point(a, 0.0, y)
    for k, vertices in enumerate(NOSE_BASE_RIGHT):
        pair(31 + k, 35 - k, _mean(a, vertices))
    points[33] = _mean(a, NOSE_BASE_MIDDLE)
    for (right, left), point in zip(
        ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)), _eye_right(a), strict=True
    ):
        pair(right, left, point)
    pair(48, 54, _mean(a, MOUTH_CORNER))
    pair(49, 53, _mean(a, LIP_UPPER_RIGHT[0]))
    pair(50, 52, _mean(a, LIP_UPPER_RIGHT[1]))
    points[51] = _mean(a, LIP_UPPER_MIDDLE)
    pair(59, 55, _mean(a, LIP_LOWER_RIGHT[0]))
    pair(58, 56, _mean(a, LIP_LOWER_RIGHT[1]))
    points[57] = _mean(a, LIP_LOWER_MIDDLE)
    pair(60, 64, _mean(a, INNER_CORNER))
    pair(61, 63, _mean(a, INNER_UPPER_RIGHT))
    points[62] = _mean(a, INNER_UPPER_MIDDLE)
    pair(67, 65, _mean(a, INNER_LOWER_RIGHT))
    points[66] = _mean(a, INNER_LOWER_MIDDLE)
    return points, mirror


def _irises(a: HeadArrays) -> tuple[np.ndarray, np.ndarray]:
    """(18,3) pupils and limbus rings of the right and the left eye at rest, and their mirror map."""
    angle = 2 * np.pi * np.arange(IRIS_RING) / IRIS_RING
    rows, mirror = [], []
    for number, side in enumerate("RL"):
        centre, radius = fit_sphere(a.template[a.regions[f"eye.{side}"]])
        depth = np.sqrt(radius**2 - LIMBUS_RADIUS**2)
        rows.append(centre - [0, 0, radius])
        # Counted from the outer side, so that twins share a number.
        outward = -1.0 if side == "R" else 1.0
        for t in angle:
            ring = LIMBUS_RADIUS * np.array([outward * np.cos(t), np.sin(t)])
            rows.append(centre + [*ring, -depth])
        other = (1 - number) * (IRIS_RING + 1)
        mirror += [other + k for k in range(IRIS_RING + 1)]
    return np.array(rows), np.array(mirror)


def _weights(a: HeadArrays) -> np.ndarray:
    """(N,) how densely the surface is sampled: distances are multiplied by this."""
    w = np.full(len(a.template), 0.45)
    w[a.regions["skin"]] = 0.55
    w[a.regions["face"]] = 1.3
    ears = a.regions["skin"][(np.abs(a.template[a.regions["skin"], 0]) > 0.070)
                             & (a.template[a.regions["skin"], 2] < 0.115)
                             & (a.template[a.regions["skin"], 1] < 0.06)
                             & (a.template[a.regions["skin"], 1] > -0.03)]  # fmt: skip
    w[ears] = 1.0
    w[a.regions["lips"]] = 2.4
    for side in "LR":
        w[a.regions[f"lids.{side}"]] = 2.2
        for edge in ("upper", "lower"):
            w[a.regions[f"lid_margin_{edge}.{side}"]] = 4.0
    for part in ("teeth_upper", "teeth_lower"):
        w[a.regions[part]] = 1.0
    return w


def _spread(a: HeadArrays, start: np.ndarray, count: int, allowed: np.ndarray, room: np.ndarray) -> list[int]:
    """Vertices (with their mirror twins) farthest from all chosen points, weighted, until count."""
    weight = _weights(a)
    distance = np.min(
        [np.linalg.norm(a.template - p, axis=1) for p in start], axis=0
    )
    chosen: list[int] = []
    value = np.where(allowed, weight, 0.0)
    blocked = ~allowed | room
    while len(chosen) < count:
        score = distance * value
        score[blocked] = -1.0
        if count - len(chosen) == 1:
            score[a.mirror != np.arange(len(score))] = -1.0
        pick = int(score.argmax())
        for v in dict.fromkeys((pick, int(a.mirror[pick]))):
            chosen.append(v)
            blocked[v] = True
            distance = np.minimum(distance, np.linalg.norm(a.template - a.template[v], axis=1))
    return chosen


def build_layouts(a: HeadArrays) -> dict[str, np.ndarray]:
    """Triangles (703,), barycentrics (703,3) and mirror (703,) of dense703; the others are its head.

    The first 68 are iBUG's, then pupils and rings of the irises, teeth, and points spread over the
    face up to 320; then the rest of the head up to 703.
    """
    points, mirror68 = ibug68(a)
    triangles = torch.as_tensor(a.faces)
    vertices = torch.as_tensor(a.template)
    on_skin = np.isin(a.face_island, ["head", "socket.L", "socket.R", "mouth"])
    _, tri, bary = closest_on_mesh(torch.as_tensor(points), vertices, triangles[torch.as_tensor(on_skin)])
    triangle = np.flatnonzero(on_skin)[tri.numpy()]
    barycentric = bary.numpy()

    iris_points, iris_mirror = _irises(a)
    on_eye = np.isin(a.face_island, ["eye.L", "eye.R", "eye_back.L", "eye_back.R"])
    _, iris_tri, iris_bary = closest_on_mesh(
        torch.as_tensor(iris_points), vertices, triangles[torch.as_tensor(on_eye)]
    )
    triangle = np.concatenate([triangle, np.flatnonzero(on_eye)[iris_tri.numpy()]])
    barycentric = np.concatenate([barycentric, iris_bary.numpy()])
    points = np.concatenate([points, iris_points])
    mirror_by_hand = np.concatenate([mirror68, len(mirror68) + iris_mirror])
    count = len(points)

    picks: list[int] = []
    allowed = np.zeros(len(a.template), dtype=bool)
    for part in ("teeth_upper", "teeth_lower"):
        ids = a.regions[part]
        rows = ids[a.template[ids, 2] < np.median(a.template[ids, 2])]
        allowed[rows] = True
    used = np.zeros(len(a.template), dtype=bool)
    picks += _spread(a, points[62:63], 12, allowed, used)
    used[picks] = True
    allowed = np.zeros(len(a.template), dtype=bool)
    allowed[a.regions["skin"]] = True
    allowed &= a.template[:, 1] < 0.14
    for side in "LR":
        for edge in ("upper", "lower"):
            allowed[a.regions[f"lid_margin_{edge}.{side}"]] = True
    allowed[a.regions["lip_seam"]] = True
    start = np.concatenate([points, a.template[picks]])
    front = allowed & (a.template[:, 2] < 0.10)
    picks += _spread(a, start, DENSE320 - count - len(picks), front, used)
    used[picks] = True
    start = np.concatenate([points, a.template[picks]])
    for part in ("teeth_upper", "teeth_lower", "eye.L", "eye.R", "tongue"):
        rows = a.regions[part]
        allowed[rows[a.template[rows, 2] < np.median(a.template[rows, 2])]] = True
    allowed[a.regions["skin"]] = True
    picks += _spread(a, start, DENSE703 - count - len(picks), allowed, used)

    corner_of: dict[int, tuple[int, int]] = {}
    for t, face in enumerate(a.faces):
        for k, v in enumerate(face):
            corner_of.setdefault(int(v), (t, k))
    extra_tri = np.array([corner_of[v][0] for v in picks])
    extra_bary = np.eye(3)[[corner_of[v][1] for v in picks]]
    place = {v: count + i for i, v in enumerate(picks)}
    missing = [v for v in picks if int(a.mirror[v]) not in place]
    if missing:
        raise ValueError(f"landmarks without a mirror twin: {missing}")
    mirror = np.concatenate([mirror_by_hand, [place[int(a.mirror[v])] for v in picks]])
    return {
        "triangle": np.concatenate([triangle, extra_tri]).astype(np.int32),
        "barycentric": np.concatenate([barycentric, extra_bary]),
        "mirror": mirror.astype(np.int32),
    }
