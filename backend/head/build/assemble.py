"""Compose the shipped head: cut, repair, identity basis, expressions, joints, prior, UV, regions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import population, repair
from .prior import fit_mixture
from .source import Source, head_vertex_indices
from .uv_layout import island_names, pack

IDENTITY_COMPONENTS = 100
POPULATION = 2000
SCAN_SAMPLES = 2000
MIXTURE = 4
# The prior takes anny's adults this much nearer to their mean: with their full spread a third are
# caricatures, and their interpupillary distance varies half as much again as in scanned people.
PRIOR_SHRINK = 0.65


@dataclass
class HeadArrays:
    """Everything the shipped file holds, in float64, before rounding."""

    template: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    expression_names: list[str]
    joints_template: np.ndarray
    joints_identity_basis: np.ndarray
    skin_weights: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray
    mirror: np.ndarray
    makehuman_vertex: np.ndarray
    prior: tuple[np.ndarray, np.ndarray, np.ndarray]
    regions: dict[str, np.ndarray]
    uv_affine: dict[str, np.ndarray]
    face_island: np.ndarray
    origin: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)


def triangulate(quads: np.ndarray) -> np.ndarray:
    """(Q,4) quads, counter-clockwise, to (2Q,3) triangles."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)


def _cut_faces(source: Source, head: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles wholly inside the cut: base-mesh indices, UV indices, group names."""
    from .source import HEAD_GROUPS

    vertex, uv, names = [], [], []
    for name in HEAD_GROUPS:
        quads, quads_uv = source.groups[name]
        keep = np.isin(quads, head).all(axis=1)
        vertex.append(triangulate(quads[keep]))
        uv.append(triangulate(quads_uv[keep]))
        names.append(np.full(len(vertex[-1]), name, dtype=object))
    return np.concatenate(vertex), np.concatenate(uv), np.concatenate(names)


def _outward(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether most triangles of the skull face away from its centre (y-flip turns them round)."""
    tri = vertices[faces]
    normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    return float((normal * (tri.mean(axis=1) - vertices.mean(axis=0))).sum()) > 0


def head_bone_weight(source: Source) -> np.ndarray:
    """(19158,) share of each base vertex that the head bone and its children carry, 0 to 1."""

    def under_head(bone: str | None) -> bool:
        while bone is not None:
            if bone == "head":
                return True
            bone = source.bone_parents.get(bone)
        return False

    below, above = np.zeros(len(source.vertices)), np.zeros(len(source.vertices))
    for bone, weight in source.bone_weights.items():
        if under_head(bone):
            above += weight
        else:
            below += weight
    total = above + below
    return np.where(total > 0, above / np.maximum(total, 1e-9), 1.0)


def _skin_weights(source: Source, head: np.ndarray, balls: list[np.ndarray]) -> np.ndarray:
    total = np.zeros((len(head), 4))
    total[:, 1] = head_bone_weight(source)[head]
    total[:, 0] = 1.0 - total[:, 1]
    for joint, ball in zip((2, 3), balls, strict=True):
        total[ball] = 0.0
        total[ball, joint] = 1.0
    # What is rigid with the skull must not shear against it: teeth, tongue and lashes.
    rigid = np.isin(head, source.group_vertices(
        "helper-upper-teeth", "helper-lower-teeth", "helper-tongue", "helper-l-eyelashes-1",
        "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"))  # fmt: skip
    total[rigid] = (0, 1, 0, 0)
    return total


def mirror_map(vertices: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) index of the vertex at the mirrored place with the same label; must be an involution."""
    from scipy.spatial import cKDTree

    out = np.zeros(len(vertices), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        flipped = vertices[rows] * (-1, 1, 1)
        distance, nearest = cKDTree(vertices[rows]).query(flipped)
        if distance.max() > 2e-4:
            raise ValueError(f"{label}: not symmetric, {distance.max() * 1000:.2f} mm off")
        out[rows] = rows[nearest]
    if not np.array_equal(out[out], np.arange(len(out))):
        raise ValueError("the mirror map is not an involution")
    return out


def assemble(source: Source, scans: dict[str, np.ndarray] | None, seed: int = 7) -> HeadArrays:
    """Compose the head.

    Args: scans: ``makehuman_vertex``, ``mean`` (N,3) and ``identity`` (100,N,3) in millimetres, y
    up, z forward: scan-based heads on this mesh, for the prior only (never for the basis).
    """
    rng = np.random.default_rng(seed)
    head = head_vertex_indices(source)
    local_of = np.full(len(source.vertices), -1)
    local_of[head] = np.arange(len(head))
    faces_base, faces_base_uv, face_group = _cut_faces(source, head)
    island = island_names(source, source.vertices, faces_base, faces_base_uv)
    uv, face_uv, affine = pack(source, faces_base_uv, island)
    faces = local_of[faces_base]
    if not _outward(source.vertices[head], faces[island == "head"]):
        faces, face_uv = faces[:, [0, 2, 1]], face_uv[:, [0, 2, 1]]

    balls = [local_of[source.group_vertices(f"helper-{s}-eye")] for s in "lr"]
    # Lid margins are where the skin's island meets the socket's.
    margins, sides = [], ("L", "R")
    in_head = np.unique(faces[island == "head"])
    for side in sides:
        margins.append(np.intersect1d(in_head, np.unique(faces[island == f"socket.{side}"])))
    shapes = repair.repair_source_shapes(source)

    # Identity: a population of adults, aligned by translation, lids repaired head by head.
    pairs = population.head_local_pairs(source, head)
    phenotypes = population.sample_phenotypes(POPULATION, rng)
    local = population.sample_local(POPULATION, pairs, rng)
    cubes = source.group_vertices("joint-neck", "joint-head")
    wanted = np.concatenate([head, cubes])
    heads = source.vertices[wanted] + population.compose(
        source, shapes[:, wanted], pairs, phenotypes, local
    )
    n = len(head)
    eyes = [repair.find_eye(source.vertices[head], b, m, in_head) for b, m in zip(balls, margins)]
    heads[:, :n] = repair.push_lids_out(heads[:, :n], eyes, source.vertices[head])
    skull = _skin_weights(source, head, balls)[:, 1] > 0.99
    centre = heads[:, :n][:, skull].mean(axis=1, keepdims=True)
    heads = heads - centre
    mean = heads.mean(axis=0)
    mirror = mirror_map(source.vertices[head], _groups(source, head))
    mean[:n] = 0.5 * (mean[:n] + mean[:n][mirror] * (-1, 1, 1))
    centred = (heads[:, :n] - mean[:n]).reshape(POPULATION, -1)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    scale = singular[:IDENTITY_COMPONENTS] / np.sqrt(POPULATION)
    axes = rows[:IDENTITY_COMPONENTS]
    # The sign of a singular vector is arbitrary: its largest entry is made positive.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    basis = (axes * scale[:, None]).reshape(IDENTITY_COMPONENTS, n, 3)
    coefficients = centred @ axes.T / scale

    origin = 0.5 * sum(repair.fit_sphere(mean[b])[0] for b in balls)
    template = mean[:n] - origin

    # Joints: the rig's cubes and the eyeballs' centres, regressed from the coefficients.
    joints = np.stack([
        heads[:, n:][:, np.isin(cubes, source.group_vertices("joint-neck"))].mean(axis=1),
        heads[:, n:][:, np.isin(cubes, source.group_vertices("joint-head"))].mean(axis=1),
        *[heads[:, b].mean(axis=1) for b in balls],
    ], axis=1)  # fmt: skip
    joints_mean = joints.mean(axis=0) - origin
    for k, ball in enumerate(balls):
        joints_mean[2 + k] = repair.fit_sphere(template[ball])[0]
    joints_mean[:2, 0] = 0.0
    regressed, *_ = np.linalg.lstsq(
        coefficients, (joints - joints.mean(axis=0)).reshape(POPULATION, -1), rcond=None
    )

    expression, names = _expressions(source, shapes, head, template, eyes)
    samples = [PRIOR_SHRINK * coefficients]
    if scans is not None:
        samples.append(_scan_coefficients(scans, head, mean[:n], skull, axes, scale, rng))
    prior = fit_mixture(np.concatenate(samples), MIXTURE, rng)
    arrays = HeadArrays(
        template=template, identity_basis=basis, expression_basis=expression,
        expression_names=names, joints_template=joints_mean,
        joints_identity_basis=regressed.reshape(IDENTITY_COMPONENTS, 4, 3),
        skin_weights=_skin_weights(source, head, balls), faces=faces, uv=uv, face_uv=face_uv,
        mirror=mirror, makehuman_vertex=head, prior=prior,
        regions=_regions(source, head, local_of, faces, island, eyes, template),
        uv_affine=affine, face_island=island, origin=np.asarray(origin),
    )  # fmt: skip
    arrays.extra = {"coefficients": coefficients, "phenotypes": phenotypes, "local": local,
                    "translation": centre[:, 0] + origin}  # fmt: skip
    return arrays


def _groups(source: Source, head: np.ndarray) -> np.ndarray:
    label = np.full(len(source.vertices), "", dtype=object)
    from .source import HEAD_GROUPS

    for name in HEAD_GROUPS:
        label[source.groups[name][0]] = name.replace("-l-", "-").replace("-r-", "-")
    return label[head].astype(str)


def _scan_coefficients(
    scans: dict[str, np.ndarray], head: np.ndarray, mean: np.ndarray, skull: np.ndarray,
    axes: np.ndarray, scale: np.ndarray, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """(S,100) coefficients in our basis of random scan-based heads, by least squares."""
    order = {int(v): i for i, v in enumerate(scans["makehuman_vertex"])}
    missing = [v for v in head if int(v) not in order]
    if missing:
        raise ValueError(f"the scan-based heads lack {len(missing)} vertices of the head")
    rows = [order[int(v)] for v in head]
    flip = np.array([1.0, -1.0, -1.0]) * 1e-3
    scan_mean = scans["mean"][rows].astype(np.float64) * flip
    modes = scans["identity"][:, rows].astype(np.float64) * flip
    scan_mean = scan_mean - scan_mean[skull].mean(axis=0)
    modes = modes - modes[:, skull].mean(axis=1, keepdims=True)
    project = lambda x: x.reshape(len(x), -1) @ axes.T / scale  # noqa: E731 (axes are orthonormal)
    offset = project((scan_mean - mean)[None])[0]
    return offset + rng.standard_normal((SCAN_SAMPLES, len(modes))) @ project(modes)


def _expressions(
    source: Source, shapes: np.ndarray, head: np.ndarray, template: np.ndarray,
    eyes: list[repair.Eye],
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    labels = [x for x in source.labels if x.startswith("facial_action:")]
    names = [x.split(":", 1)[1] for x in labels]
    basis = np.stack([shapes[source.index(x)][head] for x in labels]).astype(np.float64)
    for eye, side in zip(eyes, ("Left", "Right"), strict=True):
        strength = np.zeros(len(head))
        strength[eye.lids] = 1.0
        blink = names.index(f"eyeBlink{side}")
        delta = basis[blink]
        for _ in range(2):
            posed = repair.push_lids_out((template + delta)[None], [eye], template)[0]
            delta = repair.close_blink(template, posed - template, eye, strength)
        basis[blink] = delta
        for i, name in enumerate(names):
            if name.startswith("eyeLook") or name.startswith(("eyeSquint", "eyeWide")):
                posed = repair.push_lids_out((template + basis[i])[None], [eye], template)[0]
                basis[i] = posed - template
    return basis, names


def _regions(
    source: Source, head: np.ndarray, local_of: np.ndarray, faces: np.ndarray,
    island: np.ndarray, eyes: list[repair.Eye], template: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    def group(*names: str) -> np.ndarray:
        return np.sort(local_of[source.group_vertices(*names)])

    skin = np.unique(faces[np.isin(island, ["head", "neck"])])
    mouth = np.intersect1d(np.unique(faces[island == "head"]), np.unique(faces[island == "mouth"]))
    centre = template[mouth].mean(axis=0)
    lips = skin[np.linalg.norm((template[skin] - centre) / (1.0, 0.62, 1.4), axis=1) < 0.033]
    # The front of the face: from the brows' upper edge to under the chin, between the ears.
    x, y, z = template[skin].T
    face = skin[(np.abs(x) < 0.068) & (y > -0.055) & (y < 0.125) & (z < 0.030)]
    return {
        "skin": skin, "face": face, "lips": lips, "mouth": np.unique(faces[island == "mouth"]),
        "eye.L": eyes[0].ball, "eye.R": eyes[1].ball,
        "lids.L": eyes[0].lids, "lids.R": eyes[1].lids,
        "teeth_upper": group("helper-upper-teeth"), "teeth_lower": group("helper-lower-teeth"),
        "tongue": group("helper-tongue"),
        "lashes": group("helper-l-eyelashes-1", "helper-l-eyelashes-2",
                        "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
        "lid_margin_upper.L": eyes[0].upper_margin, "lid_margin_lower.L": eyes[0].lower_margin,
        "lid_margin_upper.R": eyes[1].upper_margin, "lid_margin_lower.R": eyes[1].lower_margin,
        "lip_seam": mouth,
    }  # fmt: skip
