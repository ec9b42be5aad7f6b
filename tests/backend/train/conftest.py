"""Rendering material small enough to be made in a second, in the formats of the real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.head import Head
from backend.head.model import HEAD_FILE
from backend.train import assets_sources as sources
from backend.train.assets import EYE_VERTICES, HEAD_SCALE_PAIRS
from backend.train.assets_packing import Packer
from backend.train.renderer import HEAD_FROM_ANNY

SCAN_MODES = 6


@dataclass(frozen=True)
class TinyMaterial:
    """What the renderer is dressed with, as files."""

    assets: Path
    base: Path
    skins: Path
    scanned: Path


def _picture(colour: tuple[int, int, int], size: int, seed: int) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 12, (size, size, 3))
    image = np.clip(np.array(colour[::-1]) + cv2.GaussianBlur(noise, (0, 0), 1.0) * 3, 0, 255)
    return bytes(cv2.imencode(".jpg", image.astype(np.uint8))[1].tobytes())


def _bound(vertices: list[int]) -> sources.RawBinding:
    """A fan of triangles through base vertices."""
    n = len(vertices)
    return sources.RawBinding(
        reference=np.repeat(np.array(vertices)[:, None], 3, axis=1),
        weights=np.tile([1.0, 0.0, 0.0], (n, 1)),
        offsets=np.zeros((n, 3)),
        triangles=np.array([[0, i, i + 1] for i in range(1, n - 1)]),
        uv=np.random.default_rng(n).uniform(0, 1, (n, 2)),
        source_vertex=np.arange(n),
    )


def _write_assets(path: Path, base: np.ndarray, rows: dict[int, int], neck: list[int]) -> None:
    packer = Packer()
    ends = base[[[rows[int(v)] for v in pair] for pair in HEAD_SCALE_PAIRS]]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    packer.manifest["scale_template"] = lengths.tolist()
    packer.mesh(_bound(neck), "body", "body", [], "anny")
    white = packer.picture("white", _picture((240, 240, 240), 16, 1))
    with np.load(HEAD_FILE) as head:
        faces, number = head["faces"].astype(int), head["makehuman_vertex"].astype(int)
    balls = np.isin(number[faces], np.concatenate(EYE_VERTICES)).all(axis=1)
    used, inverse = np.unique(number[faces[balls]], return_inverse=True)
    eyes = _bound([int(v) for v in used])
    eyes = sources.RawBinding(
        eyes.reference, eyes.weights, eyes.offsets, inverse.reshape(-1, 3), eyes.uv,
        eyes.source_vertex,
    )  # fmt: skip
    packer.mesh(eyes, "eyes", "eyes", [white], "anny")
    for n, colour in enumerate(((205, 160, 135), (120, 80, 60))):
        packer.manifest["skins"].append(packer.picture(f"skin{n}", _picture(colour, 64, n)))
    key = packer.picture("room", _picture((90, 110, 130), 64, 5))
    packer.manifest["environments"].append({"name": "room", "background": key})
    packer.manifest["backgrounds"].append(key)
    packer.arrays["env.0"] = np.ones((32, 64, 3), np.float16)
    sh = np.zeros((1, 9, 3), np.float32)
    sh[0, 0] = 3.5
    packer.arrays["env.sh"] = sh
    packer.write(path)


def _write_scans(path: Path, head: Head, vertex: np.ndarray) -> None:
    """Heads of the basis with bumps that it does not span: 3 mm at the cheeks, 2 mm at the chin."""
    rng = np.random.default_rng(4)
    template = head.template.numpy().astype(float)
    to_file = np.array([1.0, -1.0, -1.0]) * 1e3
    basis = head.identity_basis.numpy()[:SCAN_MODES].astype(float)
    modes = rng.permutation(basis) * 0.7
    for mode in modes[:3]:
        centre = template[rng.choice(head.regions["face"])]
        near = np.exp(-0.5 * (np.linalg.norm(template - centre, axis=1) / 0.012) ** 2)
        mode += 0.003 * near[:, None] * rng.normal(0, 1, 3)
    np.savez(
        path,
        makehuman_vertex=vertex[::-1],
        mean=(template * to_file + [0.0, 700.0, 20.0])[::-1].astype(np.float32),
        identity=(modes * to_file)[:, ::-1].astype(np.float16),
    )


@pytest.fixture(scope="session")
def tiny_material(tmp_path_factory: pytest.TempPathFactory) -> TinyMaterial:
    """An asset library of two skins, eyes and one room, and all that goes with it."""
    folder = tmp_path_factory.mktemp("material")
    head = Head.load()
    with np.load(HEAD_FILE) as data:
        vertex = data["makehuman_vertex"].astype(np.int64)
        weights = data["skin_weights"].astype(np.float32)
    order = vertex.argsort()
    template = head.template.numpy()
    material = TinyMaterial(
        folder / "assets.npz", folder / "base.npz", folder / "skins.npz", folder / "scanned.npz"
    )
    np.savez(
        material.base,
        base_vertex=vertex[order].astype(np.int32),
        base_template=template[order],
        base_identity_basis=head.identity_basis.numpy()[:, order].astype(np.float16),
        base_expression_basis=head.expression_basis.numpy()[:, order].astype(np.float16),
        base_head_weight=weights[order, 1].astype(np.float16),
    )
    lowest = template[:, 1].argsort()[-40:]
    _write_assets(
        material.assets, template @ HEAD_FROM_ANNY, {int(v): i for i, v in enumerate(vertex)},
        [int(v) for v in vertex[lowest]],
    )  # fmt: skip
    pictures = [
        np.frombuffer(_picture(colour, 512, 20 + n), np.uint8)
        for n, colour in enumerate(((190, 140, 120), (230, 190, 170)))
    ]
    starts = np.cumsum([0, *(len(p) for p in pictures)])
    np.savez(material.skins, names=np.array(["a", "b"]), jpeg=np.concatenate(pictures),
             offsets=starts, quality=np.ones(2, np.float32))  # fmt: skip
    _write_scans(material.scanned, head, vertex)
    return material
