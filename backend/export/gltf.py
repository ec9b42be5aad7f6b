"""glTF: one .glb with the head as named morph targets on a skin of four animated joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pygltflib as gl
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.export.axes import rate_of, rgb_of, to_y_up
from backend.export.corners import split_corners, vertex_normals
from backend.track import Track
from shared.conventions import rotvec_to_quaternion
from shared.version import __version__

JOINT_NAMES = ("neck", "head", "eye.L", "eye.R")
JOINT_PARENTS = (None, 0, 1, 1)
Array = NDArray[Any]


class _Buffer:
    """Collects arrays and makes their accessors."""

    def __init__(self, document: gl.GLTF2) -> None:
        self.document = document
        self.data = bytearray()

    def view(self, data: bytes, target: int | None = None) -> int:
        """Add bytes, aligned to four; returns the number of their view."""
        offset = len(self.data)
        self.data += data + bytes(-len(data) % 4)
        view = gl.BufferView(buffer=0, byteOffset=offset, byteLength=len(data), target=target)
        self.document.bufferViews.append(view)
        return len(self.document.bufferViews) - 1

    def add(self, array: Array, kind: str, target: int | None = None, bounds: bool = False) -> int:
        """Add an array (count, ...) of float32, uint32 or uint16; returns its accessor's number."""
        types = {"f4": gl.FLOAT, "u4": gl.UNSIGNED_INT, "u2": gl.UNSIGNED_SHORT}
        flat = np.ascontiguousarray(array).reshape(len(array), -1)
        accessor = gl.Accessor(
            bufferView=self.view(flat.tobytes(), target),
            componentType=types[flat.dtype.str[1:]],
            count=len(flat),
            type=kind,
        )
        if bounds:
            accessor.min, accessor.max = flat.min(axis=0).tolist(), flat.max(axis=0).tolist()
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1


def write(track: Track, path: Path) -> list[Path]:
    """Write one .glb; docs/export.md describes it. Raises `BadInputError`.

    Metres, y up; the camera stands at the origin and looks along -z. Times are those of the clip.
    """
    document = gl.GLTF2(asset=gl.Asset(generator=f"Mien {__version__}"))
    buffer = _Buffer(document)
    joints = list(range(2, 2 + len(JOINT_NAMES)))
    document.nodes = [
        gl.Node(name="Mien", children=[1, joints[0], joints[-1] + 1]),
        gl.Node(name="Head", mesh=0, skin=0),
        *_joint_nodes(track, joints),
        gl.Node(name="Camera", camera=0),
    ]
    document.scenes, document.scene = [gl.Scene(nodes=[0])], 0
    document.cameras = [_camera(track)]
    document.materials = [_material(document, buffer, track, path)]
    document.meshes = [_mesh(buffer, track)]
    document.skins = [_skin(buffer, track, joints)]
    document.animations = [_animation(buffer, track, joints)]
    document.buffers = [gl.Buffer(byteLength=len(buffer.data))]
    document.set_binary_blob(bytes(buffer.data))
    with atomic_path(path) as temporary:
        document.save_binary(str(temporary))
    return [path]


def _mesh(buffer: _Buffer, track: Track) -> gl.Mesh:
    split = split_corners(track.faces, track.uv)
    source = split.vertices
    normals = vertex_normals(track.rest_vertices, track.faces)[source]
    weights = track.skin_weights / track.skin_weights.sum(axis=1, keepdims=True)
    numbers = np.broadcast_to(np.arange(weights.shape[1], dtype=np.uint16), weights.shape)
    # A joint of no weight has to be the first one.
    numbers = np.where(weights > 0, numbers, 0).astype(np.uint16)
    # Pictures begin at the top here.
    uv = np.stack([split.uv[:, 0], 1.0 - split.uv[:, 1]], axis=1).astype(np.float32)
    vertex = gl.ARRAY_BUFFER
    attributes = gl.Attributes(
        POSITION=buffer.add(to_y_up(track.rest_vertices[source]), gl.VEC3, vertex, bounds=True),
        NORMAL=buffer.add(to_y_up(normals), gl.VEC3, vertex),
        TEXCOORD_0=buffer.add(uv, gl.VEC2, vertex),
        JOINTS_0=buffer.add(numbers[source], gl.VEC4, vertex),
        WEIGHTS_0=buffer.add(weights[source].astype(np.float32), gl.VEC4, vertex),
    )
    targets = [
        gl.Attributes(POSITION=buffer.add(to_y_up(offset[source]), gl.VEC3, vertex, bounds=True))
        for offset in track.shape_keys
    ]
    corners = split.faces.astype(np.uint32).ravel()
    primitive = gl.Primitive(
        attributes=attributes,
        indices=buffer.add(corners, gl.SCALAR, gl.ELEMENT_ARRAY_BUFFER),
        material=0,
        targets=targets,
    )
    return gl.Mesh(
        name="Head",
        primitives=[primitive],
        weights=[float(weight) for weight in track.expression[0]],
        extras={"targetNames": list(track.expression_names)},
    )


def _joint_offsets(track: Track) -> Array:
    """(J, 3) centre of each joint relative to its parent's, axes with y up."""
    centres = to_y_up(track.joints)
    parents = [np.zeros(3) if p is None else centres[p] for p in JOINT_PARENTS]
    return centres - np.stack(parents)


def _joint_nodes(track: Track, joints: list[int]) -> list[gl.Node]:
    offsets = _joint_offsets(track)
    nodes = []
    for joint, name in enumerate(JOINT_NAMES):
        children = [joints[c] for c, parent in enumerate(JOINT_PARENTS) if parent == joint]
        translation = [float(x) for x in offsets[joint]]
        nodes.append(gl.Node(name=name, children=children, translation=translation))
    return nodes


def _skin(buffer: _Buffer, track: Track, joints: list[int]) -> gl.Skin:
    # Matrices go column by column, which puts the translation last.
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, 3, :3] = -to_y_up(track.joints)
    return gl.Skin(
        joints=joints, skeleton=joints[0], inverseBindMatrices=buffer.add(inverse, gl.MAT4)
    )


def _animation(buffer: _Buffer, track: Track, joints: list[int]) -> gl.Animation:
    seconds = track.frame_index.astype(np.float64) / float(rate_of(track))
    time = buffer.add(seconds.astype(np.float32), gl.SCALAR, bounds=True)
    animation = gl.Animation(name="Performance")

    def animate(node: int, path: str, values: Array, kind: str) -> None:
        output = buffer.add(values.astype(np.float32), kind)
        sampler = gl.AnimationSampler(input=time, output=output, interpolation=gl.ANIM_LINEAR)
        target = gl.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(
            gl.AnimationChannel(sampler=len(animation.samplers), target=target)
        )
        animation.samplers.append(sampler)

    animate(1, "weights", track.expression.reshape(-1, 1), gl.SCALAR)
    place = _joint_offsets(track)[0] + to_y_up(track.translation)
    animate(joints[0], "translation", place, gl.VEC3)
    for joint, node in enumerate(joints):
        quaternion = rotvec_to_quaternion(to_y_up(track.joint_rotations[:, joint]))
        animate(node, "rotation", _continuous(quaternion)[:, [1, 2, 3, 0]], gl.VEC4)
    return animation


def _continuous(quaternion: Array) -> Array:
    """Give quaternions (F, 4) the sign that keeps each nearest to the one before."""
    dots = np.sum(quaternion[1:] * quaternion[:-1], axis=1)
    signs = np.cumprod(np.concatenate([[1.0], np.where(dots < 0, -1.0, 1.0)]))
    continuous: Array = quaternion * signs[:, None]
    return continuous


def _camera(track: Track) -> gl.Camera:
    """The camera of the shot's middle focal length: here neither it nor its centre can move."""
    width, height = (float(size) for size in track.image_size)
    yfov = 2.0 * float(np.arctan(height / 2.0 / np.median(track.focal_px)))
    lens = gl.Perspective(aspectRatio=width / height, yfov=yfov, znear=0.01, zfar=1000.0)
    return gl.Camera(name="Camera", type="perspective", perspective=lens)


def _material(document: gl.GLTF2, buffer: _Buffer, track: Track, path: Path) -> gl.Material:
    surface = gl.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.6)
    image = rgb_of(track)
    if image is not None:
        done, png = cv2.imencode(".png", image[..., ::-1])
        if not done:
            raise BadInputError(f"{path}: its texture cannot be written.")
        view = buffer.view(png.tobytes())
        document.images = [gl.Image(name="Skin", mimeType="image/png", bufferView=view)]
        document.samplers = [gl.Sampler(magFilter=gl.LINEAR, minFilter=gl.LINEAR_MIPMAP_LINEAR)]
        document.textures = [gl.Texture(source=0, sampler=0)]
        surface.baseColorTexture = gl.TextureInfo(index=0)
    return gl.Material(name="Skin", pbrMetallicRoughness=surface, doubleSided=False)
