"""glTF files, read back by pygltflib and posed as the standard says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pygltflib as gl
import pytest

from backend.export import export_track
from backend.export.corners import split_corners, vertex_normals
from backend.track import Track

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TYPES = {gl.FLOAT: np.float32, gl.UNSIGNED_INT: np.uint32, gl.UNSIGNED_SHORT: np.uint16}


class File:
    """What a viewer sees of a .glb."""

    def __init__(self, path: Path) -> None:
        self.document = gl.GLTF2().load_binary(str(path))
        self.blob = self.document.binary_blob()
        self.primitive = self.document.meshes[0].primitives[0]

    def array(self, number: int) -> np.ndarray:
        accessor = self.document.accessors[number]
        view = self.document.bufferViews[accessor.bufferView]
        assert view.byteOffset % 4 == 0
        data = self.blob[view.byteOffset : view.byteOffset + view.byteLength]
        array = np.frombuffer(data, TYPES[accessor.componentType])
        array = array.reshape(accessor.count, WIDTHS[accessor.type])
        if accessor.min:
            np.testing.assert_array_equal(array.min(axis=0), np.float32(accessor.min))
        return array

    def channel(self, node: int, path: str) -> np.ndarray:
        animation = self.document.animations[0]
        (found,) = [c for c in animation.channels if (c.target.node, c.target.path) == (node, path)]
        return self.array(animation.samplers[found.sampler].output)

    def local(self, node: int, frame: int) -> np.ndarray:
        """The (4, 4) of a node, animated or not."""
        targets = {(c.target.node, c.target.path) for c in self.document.animations[0].channels}
        matrix = np.eye(4)
        matrix[:3, 3] = self.document.nodes[node].translation or 0.0
        if (node, "translation") in targets:
            matrix[:3, 3] = self.channel(node, "translation")[frame]
        if (node, "rotation") in targets:
            matrix[:3, :3] = rotmat(self.channel(node, "rotation")[frame])
        return matrix

    def world(self, node: int, frame: int) -> np.ndarray:
        nodes = self.document.nodes
        parents = [n for n, other in enumerate(nodes) if node in (other.children or [])]
        local = self.local(node, frame)
        return self.world(parents[0], frame) @ local if parents else local

    def posed(self, frame: int) -> np.ndarray:
        """(M, 3) vertices of a frame: morphed, then skinned."""
        attributes = self.primitive.attributes
        points = self.array(attributes.POSITION).astype(np.float64)
        weights = self.channel(1, "weights").reshape(-1, len(self.primitive.targets))[frame]
        for weight, target in zip(weights, self.primitive.targets, strict=True):
            position = target["POSITION"] if isinstance(target, dict) else target.POSITION
            points = points + weight * self.array(position)
        skin = self.document.skins[0]
        inverse = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = [self.world(n, frame) @ m for n, m in zip(skin.joints, inverse, strict=True)]
        numbers, shares = self.array(attributes.JOINTS_0), self.array(attributes.WEIGHTS_0)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
        blended = np.einsum("vj,vjab->vab", shares, np.stack(matrices)[numbers])
        return np.einsum("vab,vb->va", blended[:, :3, :3], points) + blended[:, :3, 3]


def rotmat(quaternion: np.ndarray) -> np.ndarray:
    x, y, z, w = quaternion.astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(quaternion), 1.0, atol=1e-6)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.fixture(scope="module")
def file(moving_track: Track, tmp_path_factory: pytest.TempPathFactory) -> File:
    path = tmp_path_factory.mktemp("gltf") / "shot.glb"
    assert export_track(moving_track, path) == [path]
    return File(path)


def test_posed_as_the_standard_says_it_is_the_track(file: File, moving_track: Track) -> None:
    source = split_corners(moving_track.faces, moving_track.uv).vertices
    for frame in range(moving_track.n_frames):
        truth = moving_track.vertices[frame][source] * [1, -1, -1]
        assert np.abs(file.posed(frame) - truth).max() < 1e-5


def test_targets_are_named_and_keyed(file: File, moving_track: Track) -> None:
    mesh: Any = file.document.meshes[0]
    assert mesh.extras["targetNames"] == list(moving_track.expression_names)
    weights = file.channel(1, "weights").reshape(-1, 52)
    np.testing.assert_array_equal(weights, moving_track.expression)
    times = file.array(file.document.animations[0].samplers[0].input)[:, 0]
    np.testing.assert_allclose(times, moving_track.frame_index / 25, rtol=1e-6)
    names = [node.name for node in file.document.nodes]
    assert names == ["Mien", "Head", "neck", "head", "eye.L", "eye.R", "Camera"]


def test_texture_is_inside_and_its_coordinates_go_down(file: File, moving_track: Track) -> None:
    view = file.document.bufferViews[file.document.images[0].bufferView]
    data = file.blob[view.byteOffset : view.byteOffset + view.byteLength]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(pixels, moving_track.texture[..., :3])
    uv = file.array(file.primitive.attributes.TEXCOORD_0)
    corners = file.array(file.primitive.indices).reshape(-1, 3)
    np.testing.assert_allclose(uv[corners] * [1, -1] + [0, 1], moving_track.uv, atol=1e-6)


def test_camera(file: File, moving_track: Track) -> None:
    lens = file.document.cameras[0].perspective
    focal = 240 / 2 / np.tan(lens.yfov / 2)
    assert focal == pytest.approx(np.median(moving_track.focal_px))
    assert lens.aspectRatio == pytest.approx(320 / 240)


def test_without_a_texture(moving_track: Track, tmp_path: Path) -> None:
    bare = replace(moving_track, texture=np.zeros((0, 0, 4), np.uint8))
    export_track(bare, tmp_path / "a.glb")
    document = File(tmp_path / "a.glb").document
    assert not document.images
    assert document.materials[0].pbrMetallicRoughness.baseColorTexture is None


def test_splitting_keeps_every_corner(moving_track: Track) -> None:
    split = split_corners(moving_track.faces, moving_track.uv)
    np.testing.assert_array_equal(split.vertices[split.faces], moving_track.faces)
    np.testing.assert_array_equal(split.uv[split.faces], moving_track.uv)
    n = moving_track.vertices.shape[1]
    np.testing.assert_array_equal(split.vertices[:n], np.arange(n))
    assert n < len(split.vertices) < 1.3 * n


def test_normals_of_a_ball_point_outwards() -> None:
    corners = np.array(
        [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32
    )
    faces = np.array(
        [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]],
        np.int32,
    )
    np.testing.assert_allclose(vertex_normals(corners, faces), corners, atol=1e-6)
