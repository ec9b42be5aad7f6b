"""Where MediaPipe FaceMesh's 478 vertices lie on our head, learned from many fitted portraits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.geometry.barycentric import closest_on_mesh
from backend.geometry.rasterizer import rasterize, to_pixels
from backend.head import Head
from backend.head.landmarks import layout

from .portraits_projection import PortraitFits, SurfacePoints

N_MEDIAPIPE = 478
# Vertices of FaceMesh for the 68 iBUG points; two numbers stand for their mean.
IBUG_FROM_MEDIAPIPE: tuple[tuple[int, ...], ...] = (
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,), (400,), (379,),
    (365,), (397, 288), (361,), (323,), (454,), (356,),
    (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,),
    (168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,),
    (33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,),
    (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)  # fmt: skip
_EYES = slice(36, 48)
_MOUTH = slice(48, 68)
_UNLIKE = [31, 35, 61, 63, 65, 67]
# FaceMesh vertices on lines that our surface has too: they may only slide along them. Each line is
# given by the iBUG points that it runs through; lids follow the mesh's own margins.
_LIPS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (48, 49, 50, 51, 52, 53, 54)),
    ((146, 91, 181, 84, 17, 314, 405, 321, 375), (48, 59, 58, 57, 56, 55, 54)),
    ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (60, 61, 62, 63, 64)),
    ((95, 88, 178, 87, 14, 317, 402, 318, 324), (60, 67, 66, 65, 64)),
)
# On a frontal face FaceMesh's outline is the jaw's silhouette, and so are our jaw points.
_JAW: tuple[tuple[int, ...], tuple[int, ...]] = (
    (93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323),
    tuple(range(1, 16)),
)
_JAW_WEIGHT = 0.4
_LIDS: tuple[tuple[tuple[int, ...], str], ...] = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), "lid_margin_upper.R"),
    ((7, 163, 144, 145, 153, 154, 155), "lid_margin_lower.R"),
    ((263, 466, 388, 387, 386, 385, 384, 398, 362), "lid_margin_upper.L"),
    ((249, 390, 373, 374, 380, 381, 382), "lid_margin_lower.L"),
)
# Iris centre, then its right, upper, left and lower rim as FaceMesh numbers them.
_IRIS_CENTRES = {"eye.R": 468, "eye.L": 473}
_TURNED = 0.17
"""Of `sideways`: about 25 degrees of yaw."""
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


def without_far_outline(landmarks: np.ndarray) -> np.ndarray:
    """FaceMesh's points (B,478,2) with the outline of turned faces taken out (NaN).

    There it follows the cheek's silhouette rather than a place on the surface.
    """
    out = landmarks.copy()
    turned = sideways(landmarks) > _TURNED
    out[np.ix_(turned, np.array(FACE_OVAL))] = np.nan
    return out


def sideways(landmarks: np.ndarray) -> np.ndarray:
    """How far (B,) the nose's tip lies beside the middle of the eyes, in inter-ocular distances."""
    across = landmarks[:, 263, :2] - landmarks[:, 33, :2]
    middle = landmarks[:, [33, 263], :2].mean(axis=1)
    along = ((landmarks[:, 4, :2] - middle) * across).sum(-1)
    return np.abs(along) / (across**2).sum(-1)


def ibug_points(landmarks: np.ndarray) -> np.ndarray:
    """The 68 iBUG points (...,68,2) of FaceMesh's vertices (...,478,2 or 3)."""
    return np.stack(
        [landmarks[..., list(k), :2].mean(axis=-2) for k in IBUG_FROM_MEDIAPIPE], axis=-2
    )


def ibug_surface(jaw_weight: float = 0.15) -> SurfacePoints:
    """Our 68 surface points for the first fit.

    The jaw is a silhouette and counts little; so do points whose conventions differ: the brows, the
    bridge of the nose, the wings' ends and the inner lips beside the middle.
    """
    points = layout("ibug68")
    weight = np.ones(68)
    weight[:17] = jaw_weight
    weight[17:27] = 0.6
    weight[27:30] = 0.3
    weight[_EYES] = weight[_MOUTH] = 1.5
    weight[_UNLIKE] = 0.2
    return SurfacePoints(
        torch.from_numpy(points.vertices), torch.from_numpy(points.barycentric),
        torch.from_numpy(weight),
    )  # fmt: skip


@dataclass(frozen=True)
class Correspondence:
    """Surface points of some FaceMesh vertices."""

    mediapipe: np.ndarray
    """(L,) which of the 478."""
    points: SurfacePoints
    """(L,) where they lie on our head."""


@dataclass(frozen=True)
class _Line:
    mediapipe: tuple[int, ...]
    corners: np.ndarray  # (S,3)
    barycentric: np.ndarray  # (S,3)


def _polyline(
    vertices: Tensor, faces: Tensor, knots: np.ndarray, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced points along (k,3) knots, snapped to the surface: corners and weights."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(knots, axis=0), axis=1).cumsum()])
    at = np.linspace(0, length[-1], samples)
    line = np.stack([np.interp(at, length, knots[:, k]) for k in range(3)], axis=1)
    _, triangle, barycentric = closest_on_mesh(torch.from_numpy(line), vertices, faces)
    return faces[triangle].numpy(), barycentric.numpy()


def _lines(head: Head) -> list[_Line]:
    template = head.template.double()
    faces = head.faces
    island = torch.zeros(head.n_vertices, dtype=torch.bool)
    for region in ("skin", "mouth", "lips", "lids.L", "lids.R"):
        island[torch.from_numpy(head.regions[region])] = True
    skin = faces[island[faces].all(1)]
    ibug = head.landmarks(template, layout("ibug68")).numpy()
    out = []
    for numbers, knots in _LIPS:
        out.append(_Line(numbers, *_polyline(template, skin, ibug[list(knots)], 65)))
    numbers, knots = _JAW
    out.append(_Line(numbers, *_polyline(template, skin, ibug[list(knots)], 129)))
    for numbers, region in _LIDS:
        margin = template[torch.from_numpy(head.regions[region])].numpy()
        side = slice(36, 42) if region.endswith("R") else slice(42, 48)
        corners = ibug[side][[0, 3]]
        low, high = corners[corners[:, 0].argsort()]
        margin = margin[(margin[:, 0] > low[0] + 1e-4) & (margin[:, 0] < high[0] - 1e-4)]
        knots3d = np.concatenate([low[None], margin[margin[:, 0].argsort()], high[None]])
        out.append(_Line(numbers, *_polyline(template, skin, knots3d, 65)))
    return out


def _iris(head: Head) -> tuple[list[int], list[np.ndarray]]:
    """FaceMesh numbers and vertices of the pupils (the rims follow the iris's size, not ours)."""
    numbers, vertices = [], []
    template = head.template.numpy()
    for eye, number in _IRIS_CENTRES.items():
        ball = head.regions[eye]
        numbers.append(number)
        vertices.append(ball[template[ball, 2].argmin()])
    return numbers, vertices


def calibrate(
    head: Head,
    fits: PortraitFits,
    landmarks: np.ndarray,
    image_size: np.ndarray,
    max_spread: float = 0.004,
) -> Correspondence:
    """Find the surface point of each FaceMesh vertex as the median over fitted portraits.

    Args: fits of B near-frontal portraits, their landmarks (B,478,2) px and image sizes (B,2).
    max_spread: metres; vertices whose hits scatter more than this (median) are left out.
    """
    template = head.template.double()
    blockers = np.zeros(head.n_vertices, dtype=bool)
    for region in ("eye.L", "eye.R", "teeth_upper", "teeth_lower", "tongue"):
        blockers[head.regions[region]] = True
    lashes = np.isin(np.arange(head.n_vertices), head.regions["lashes"])
    faces = head.faces.numpy()
    shown = faces[~lashes[faces].any(1)]
    is_skin = torch.from_numpy(~blockers[shown].any(1))
    hits = np.full((len(fits), N_MEDIAPIPE, 3), np.nan)
    lines = _lines(head)
    slides = [np.full((len(fits), len(line.mediapipe)), np.nan) for line in lines]
    vertices = PortraitFits(**{k: v.float() for k, v in vars(fits).items()}).vertices(head)
    K = fits.intrinsics(torch.from_numpy(image_size)).float()
    for b in range(len(fits)):
        pixels = to_pixels(vertices[b], K[b])
        points = landmarks[b, :, :2]
        low = points.min(0) - 4
        zoom = 500.0 / (points.max(0) - low + 4).max()
        local = pixels.clone()
        local[:, :2] = (pixels[:, :2] - torch.from_numpy(low)) * zoom
        index, weights, _ = rasterize(
            local, torch.from_numpy(shown), (512, 512), cull_backfaces=True
        )
        at = np.clip(np.round((points - low) * zoom).astype(int), 0, 511)
        face = index[at[:, 1], at[:, 0]].long()
        good = (face >= 0) & is_skin[face.clamp(min=0)]
        corners = template[torch.from_numpy(shown)[face.clamp(min=0)]]
        surface = (corners * weights[at[:, 1], at[:, 0], :, None].double()).sum(1)
        hits[b, good.numpy()] = surface[good].numpy()
        for line, slide in zip(lines, slides, strict=True):
            curve = (pixels[line.corners, :2].numpy() * line.barycentric[..., None]).sum(1)
            gap = np.linalg.norm(curve[None] - points[list(line.mediapipe)][:, None], axis=-1)
            slide[b] = gap.argmin(1)
    return _assemble(head, hits, lines, slides, max_spread)


def _assemble(
    head: Head, hits: np.ndarray, lines: list[_Line], slides: list[np.ndarray], max_spread: float
) -> Correspondence:
    template = head.template.double()
    on_line = {n for line in lines for n in line.mediapipe}
    numbers, corners, weights, trust = [], [], [], []
    for line, slide in zip(lines, slides, strict=True):
        place = np.round(np.nanmedian(slide, axis=0)).astype(int)
        ends = {int(place.argmin()), int(place.argmax())}
        for k, number in enumerate(line.mediapipe):
            numbers.append(number)
            corners.append(line.corners[place[k]])
            weights.append(line.barycentric[place[k]])
            jaw = line.mediapipe is _JAW[0]
            trust.append(_JAW_WEIGHT if jaw else 1.2 if k in ends else 1.5)
    centre = np.nanmedian(hits, axis=0)
    spread = np.nanmedian(np.linalg.norm(hits - centre, axis=-1), axis=0)
    share = np.isfinite(hits[..., 0]).mean(axis=0)
    oval = set(FACE_OVAL)
    allowed = np.where(np.isin(np.arange(468), FACE_OVAL), 1.6, 1.0) * max_spread
    fine = (share[:468] > 0.7) & (spread[:468] < allowed)
    keep = [n for n in range(468) if n not in on_line and fine[n]]
    skin = torch.zeros(head.n_vertices, dtype=torch.bool)
    skin[torch.from_numpy(head.regions["skin"])] = True
    faces = head.faces[skin[head.faces].all(1)]
    _, triangle, barycentric = closest_on_mesh(torch.from_numpy(centre[keep]), template, faces)
    numbers += keep
    corners += list(faces[triangle].numpy())
    weights += list(barycentric.numpy())
    # Many points share the same error: the dense ones count less each, the outline least.
    trust += [0.12 if n in oval else 0.45 for n in keep]
    for number, vertex in zip(*_iris(head), strict=True):
        numbers.append(number)
        corners.append(np.array([vertex, vertex, vertex]))
        weights.append(np.array([1.0, 0.0, 0.0]))
        trust.append(1.0)
    return Correspondence(
        np.array(numbers),
        SurfacePoints(
            torch.from_numpy(np.array(corners)), torch.from_numpy(np.array(weights)),
            torch.from_numpy(np.array(trust)),
        ),
    )  # fmt: skip


def draw_points(
    image: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], radius: int = 1
) -> None:
    """Dots of points (L,2) px into an RGB image, in place."""
    for x, y in points:
        if np.isfinite(x) and np.isfinite(y):
            cv2.circle(image, (round(x * 8), round(y * 8)), radius * 8, colour, -1, cv2.LINE_AA, 3)
