"""A face to find back: the skin of the embedded performance, in the head's layout."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from backend.bake.texels import TexelMap, build_texel_map
from backend.bake.texture import MEASURED, TextureBaker
from backend.evaluate.truth import read_truth
from backend.footage import open_footage
from backend.head import Head
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH

CARRIER_SIZE = 1024
"""Side of the texture that the performance (640 x 480) is carried into."""
EVERY = 3
"""Frames of the performance that are used: every third."""
SIZES = ((0.008, 0.014), (0.003, 0.012), (0.0009, 0.015))
"""Details that the performance is too small to show: size, metres, and deviation, sRGB 0 to 1. With
them the cheeks and the nose have the contrast of the median of 446 photographed people's skins."""
MOLES = 160
"""Dark spots of 1 to 3 mm on the whole skin."""


def performers_skin(head: Head, size: int, seed: int) -> NDArray[np.uint8]:
    """Skin, brows, lips, lids and hair line of the embedded performance: (size, size, 3) u8 sRGB.

    The clip is carried onto the head by its known mesh, so light from the front is painted in, as
    everyone's texture of a face has it. Added are what it does not show: a scalp of its hair,
    pores, blotches and moles, whole eyes, teeth and the inside of the mouth. seed: of the detail.
    """
    carried, measured = _carry(head, min(size, CARRIER_SIZE))
    texels = build_texel_map(head.uv, head.face_uv, size)
    skin = cv2.resize(carried, (size, size), interpolation=cv2.INTER_CUBIC)
    shown = cv2.resize(measured.astype(np.float32), (size, size)) > 0.5
    everything = torch.arange(len(texels.position))
    at = texels.interpolate(head.template[head.faces], everything).numpy()
    part = _part_of_texel(head, texels)
    rng = np.random.default_rng(seed)
    _grow_hair(skin, shown, at, part, texels)
    _add_detail(skin, at, part, texels, rng)
    _paint_inside(head, skin, at, part, texels)
    return (np.clip(skin, 0, 1) * 255).round().astype(np.uint8)


def _carry(head: Head, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The performance's texture (S, S, 3), sRGB 0 to 1, and where it was seen (S, S)."""
    truth = read_truth(PERFORMANCE_TRUTH, head)
    baker = TextureBaker(head, size)
    for frame in open_footage(PERFORMANCE):
        if frame.index % EVERY == 0 and frame.index < len(truth.vertices):
            baker.add(frame.image, truth.vertices[frame.index], truth.K)
    texture = baker.result()
    return texture[..., :3].astype(np.float32) / 255, texture[..., 3] == MEASURED


def _part_of_texel(head: Head, texels: TexelMap) -> NDArray[np.str_]:
    part = np.full(head.n_vertices, "skin", dtype="<U16")
    for name in ("mouth", "tongue", "teeth_upper", "teeth_lower", "eye.L", "eye.R"):
        part[head.regions[name]] = name
    of_texel: NDArray[np.str_] = part[head.faces[:, 0].numpy()][texels.triangle.numpy()]
    return of_texel


def _grow_hair(
    skin: NDArray[np.float32],
    shown: NDArray[np.bool_],
    at: NDArray[np.float32],
    part: NDArray[np.str_],
    texels: TexelMap,
) -> None:
    """Hair on the part of the scalp that the performance does not show, in strands."""
    position = texels.position.numpy()
    flat = skin.reshape(-1, 3)
    x, y, z = at.T
    hairy = (part == "skin") & ((y < -0.075) | ((z > 0.085) & (y < 0.055)))
    known = hairy & shown.reshape(-1)[position] & (y < -0.085)
    tone = np.median(flat[position[known]], axis=0) if known.any() else np.full(3, 0.35)
    # Strands run from the forehead over the crown: they are told apart by the angle around it.
    angle = np.arctan2(x, np.abs(y + 0.02) + 0.3 * np.abs(z))
    strand = 0.10 * np.sin(230 * angle) + 0.06 * np.sin(610 * angle + 9 * y / 0.1)
    rows = position[hairy & ~shown.reshape(-1)[position]]
    grown = (tone * (1 + strand[:, None]))[hairy & ~shown.reshape(-1)[position]]
    flat[rows] = grown.astype(np.float32)


def _add_detail(
    skin: NDArray[np.float32],
    at: NDArray[np.float32],
    part: NDArray[np.str_],
    texels: TexelMap,
    rng: np.random.Generator,
) -> None:
    """Blotches, pores and moles by where on the head a texel lies: no chart stretches them."""
    on_skin = part == "skin"
    flat = skin.reshape(-1, 3)
    rows = texels.position.numpy()[on_skin]
    place = at[on_skin]
    change = np.zeros((len(rows), 1), np.float32)
    for length, deviation in SIZES:
        change += deviation * _noise(place / length, rng)[:, None]
    color = flat[rows]
    # Light changes with the skin's brightness; blotches are redder where they are darker.
    color = color * (1 + change * np.array((0.7, 1.1, 1.2), np.float32) / 0.6)
    outer = rng.normal(size=(MOLES, 3))
    for direction in outer / np.linalg.norm(outer, axis=1, keepdims=True):
        along = place @ direction.astype(np.float32)
        middle = place[along.argmax()]
        radius = rng.uniform(0.0006, 0.0014)
        distance = np.linalg.norm(place - middle, axis=1)
        share = 0.6 * np.clip((radius - distance) / (0.3 * radius), 0, 1)[:, None]
        color = color + share * (0.45 * color - color)
    flat[rows] = color


def _noise(place: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise (P,) of unit deviation and unit size at points (P, 3), by sums of waves."""
    value = np.zeros(len(place), np.float32)
    n_waves = 24
    for _ in range(n_waves):
        direction = rng.normal(size=3)
        direction *= 2.2 / np.linalg.norm(direction) * rng.uniform(0.6, 1.4)
        value += np.sin(place @ direction.astype(np.float32) + np.float32(rng.uniform(0, 6.3)))
    return value * np.float32(np.sqrt(2 / n_waves))


def _paint_inside(
    head: Head,
    skin: NDArray[np.float32],
    at: NDArray[np.float32],
    part: NDArray[np.str_],
    texels: TexelMap,
) -> None:
    """Eyes with irises, pupils and vessels, teeth with gaps, tongue and gums."""
    flat = skin.reshape(-1, 3)
    position = texels.position.numpy()
    x, y, z = at.T

    def tint(chosen: NDArray[np.bool_], color: tuple[float, float, float], share: object) -> None:
        rows = position[chosen]
        weight = np.broadcast_to(np.asarray(share, np.float32), chosen.shape)[chosen, None]
        flat[rows] += weight * (np.array(color, np.float32) - flat[rows])

    tint(part == "mouth", (0.36, 0.14, 0.14), 1.0)
    tint(part == "tongue", (0.66, 0.36, 0.36), 1.0)
    teeth = np.char.startswith(part, "teeth")
    tint(teeth, (0.84, 0.81, 0.75), 1.0)
    gap = np.clip((np.abs((x / 0.0078) % 1 - 0.5) - 0.42) / 0.06, 0, 1)
    tint(teeth, (0.45, 0.36, 0.32), 0.8 * gap)
    for name in ("eye.L", "eye.R"):
        eye = part == name
        middle = head.template[head.regions[name]].mean(0).numpy()
        radius = np.hypot(x - middle[0], y - middle[1])
        front = np.where(z < middle[2], 1.0, 0.0)
        angle = np.arctan2(y - middle[1], x - middle[0])
        tint(eye, (0.82, 0.79, 0.77), 1.0)
        tint(eye, (0.72, 0.5, 0.48), 0.5 * np.clip((radius - 0.008) / 0.004, 0, 1))
        tint(eye, (0.12, 0.14, 0.16), front * np.clip((0.0064 - radius) / 0.0006, 0, 1))
        rays = 0.75 + 0.2 * np.sin(17 * angle + 2 * np.sin(5 * angle))
        tint(eye, (0.35, 0.47, 0.52), front * rays * np.clip((0.0056 - radius) / 0.0006, 0, 1))
        tint(eye, (0.02, 0.02, 0.02), front * np.clip((0.0024 - radius) / 0.0004, 0, 1))
