"""A small moderngl scene: meshes with smooth normals, textures, a lit pass and a shadow pass."""

from __future__ import annotations

from dataclasses import dataclass

import moderngl
import numpy as np
from scipy.sparse import csr_matrix

from . import shaders
from .sampling import Light

NEAR, FAR = 0.05, 8.0
SHADOW_SIZE = 256
# The key light's box covers head and shoulders.
SHADOW_RADIUS = 0.34


@dataclass(frozen=True)
class Surface:
    """How a mesh answers light."""

    specular: float = 0.3
    exponent: float = 18.0
    wrap: float = 0.0
    alpha_cut: float = 0.35
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    recolour: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    opacity: float = 1.0


class Mesh:
    """Triangles whose vertices change every frame; UVs and topology stay on the device."""

    def __init__(
        self, context: moderngl.Context, lit: moderngl.Program, dark: moderngl.Program,
        triangles: np.ndarray, uv: np.ndarray, joined: np.ndarray,
        occlusion: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """triangles (t,3) into render vertices; uv (n,2); joined (n,) index of the unsplit vertex
        (copies along UV seams share it, so that normals are smooth across)."""
        n = len(uv)
        self.triangles = triangles
        rows = joined[triangles].ravel()
        columns = np.repeat(np.arange(len(triangles)), 3)
        self._sum = csr_matrix(
            (np.ones(len(rows), np.float32), (rows, columns)),
            shape=(int(joined.max()) + 1, len(triangles)),
        )
        self._joined = joined
        static = np.zeros((n, 3), np.float32)
        static[:, 0], static[:, 1] = uv[:, 0], 1.0 - uv[:, 1]
        static[:, 2] = 1.0 if occlusion is None else occlusion
        self._static = context.buffer(static.tobytes())
        self._dynamic = context.buffer(reserve=n * 24)
        index = context.buffer(triangles.astype(np.uint32).tobytes())
        self._buffers = (self._static, self._dynamic, index)
        self.vao = context.vertex_array(
            lit,
            [
                (self._dynamic, "3f 3f", "position", "normal"),
                (self._static, "2f 1f", "uv", "occlusion"),
            ],
            index,
        )
        self.shadow_vao = context.vertex_array(
            dark, [(self._dynamic, "3f 12x", "position"), (self._static, "2f 4x", "uv")], index
        )

    def update(self, positions: np.ndarray) -> None:
        """Set render vertices (n,3), camera frame, and their smooth normals."""
        corner = positions[self.triangles]
        face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        normal = (self._sum @ face)[self._joined]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        self._dynamic.write(
            np.concatenate([positions, normal], axis=1).astype(np.float32).tobytes()
        )

    def release(self) -> None:
        """Free what the device holds."""
        for held in (self.vao, self.shadow_vao, *self._buffers):
            held.release()


class Scene:
    """Draws meshes into a square image with four samples a pixel and reads colour and depth."""

    def __init__(self, size: int) -> None:
        """size: pixels of the square target. Needs EGL (software or a GPU)."""
        self.context = moderngl.create_context(standalone=True, backend="egl")
        self.size = size
        self.lit = self.context.program(shaders.VERTEX, fragment_shader=shaders.FRAGMENT)
        self.dark = self.context.program(
            shaders.SHADOW_VERTEX, fragment_shader=shaders.SHADOW_FRAGMENT
        )
        self._colour = self.context.texture((size, size), 4)
        self._depth = self.context.depth_texture((size, size))
        self.target = self.context.framebuffer([self._colour], self._depth)
        self.shadow = self.context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self.shadow.compare_func = "<="
        self.shadow.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self.shadow.repeat_x = self.shadow.repeat_y = False
        self.shadow_target = self.context.framebuffer(depth_attachment=self.shadow)
        self.lit["albedo"].value, self.lit["shadow"].value = 0, 1
        self.dark["albedo"].value = 0
        self.lit["depth_range"].value = (NEAR, FAR)

    def mesh(
        self,
        triangles: np.ndarray,
        uv: np.ndarray,
        joined: np.ndarray,
        occlusion: np.ndarray | None = None,
    ) -> Mesh:
        """A mesh on this device."""
        return Mesh(self.context, self.lit, self.dark, triangles, uv, joined, occlusion)

    def texture(self, image: np.ndarray) -> moderngl.Texture:
        """A mip-mapped RGBA texture from (H,W,3|4) u8, first row at v = 1."""
        if image.shape[2] == 3:
            image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        texture = self.context.texture(image.shape[1::-1], 4, np.ascontiguousarray(image).tobytes())
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        return texture

    def draw(
        self, items: list[tuple[Mesh, moderngl.Texture, Surface]],
        camera: tuple[float, float, float], light: Light, centre: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Draw opaque things first, in the given order.

        Args: camera focal_px, cx, cy; centre (3,) of the lit box, camera frame.
        Returns: (S,S,4) u8 sRGB with coverage and (S,S) depth in metres (inf where nothing is).
        """
        self.context.enable(moderngl.DEPTH_TEST)
        light_clip = _light_matrix(light.direction, centre)
        matrix = light_clip.T.astype(np.float32).tobytes()
        self.shadow_target.use()
        self.shadow_target.clear(depth=1.0)
        self.context.disable(moderngl.BLEND)
        self.dark["light"].write(matrix)
        if light.colour.max() > 0:
            for mesh, texture, surface in items:
                if surface.opacity >= 1.0:
                    texture.use(0)
                    self.dark["cut"].value = surface.alpha_cut
                    mesh.shadow_vao.render()
        self.target.use()
        self.target.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        self.context.enable(moderngl.BLEND)
        self.context.blend_func = (
            moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA,
            moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA,
        )  # fmt: skip
        self.shadow.use(1)
        program = self.lit
        program["camera"].value = (*camera, 0.0)
        program["size"].value = (self.size, self.size)
        program["light"].write(matrix)
        program["sh"].write(light.sh.astype(np.float32).tobytes())
        program["key_direction"].value = tuple(light.direction)
        program["key_colour"].value = tuple(light.colour)
        program["exposure"].value = light.exposure
        for mesh, texture, surface in items:
            texture.use(0)
            program["tint"].value = (*surface.tint, surface.opacity)
            program["recolour"].value = surface.recolour
            program["surface"].value = (
                surface.specular, surface.exponent, surface.wrap,
                surface.alpha_cut * min(surface.opacity, 1.0),
            )  # fmt: skip
            mesh.vao.render()
        return self.read()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """(S,S,4) u8 colour with coverage and (S,S) depth in metres of what was drawn."""
        shape = (self.size, self.size)
        colour = np.frombuffer(self.target.read(components=4), np.uint8).reshape(*shape, 4)[::-1]
        raw = np.frombuffer(self._depth.read(), np.float32).reshape(shape)[::-1]
        ndc = 2.0 * raw - 1.0
        depth = 2.0 * FAR * NEAR / (FAR + NEAR - ndc * (FAR - NEAR))
        return colour, np.where(raw >= 1.0, np.inf, depth)


def _light_matrix(direction: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(4,4) orthographic clip transform of a light shining along -direction on a box at centre."""
    up = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(up, direction)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(direction, x), -direction])
    out = np.eye(4)
    out[:3, :3] = rotation / SHADOW_RADIUS
    out[:3, 3] = -rotation @ centre / SHADOW_RADIUS
    return out
