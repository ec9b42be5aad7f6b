"""Draws a portrait in a new state: its grid, its face over it, eyes and mouth as asked for."""

from __future__ import annotations

import cv2
import numpy as np

from .gl_scene import FAR, NEAR, Surface
from .renderer import HEAD_FROM_ANNY, SUPERSAMPLING, FaceRenderer, Labels
from .warp_source import GRID, SourceMaker, WarpSource

VERTEX = """
#version 330
uniform vec4 camera; uniform vec2 size; uniform vec2 depth_range;
in vec3 position; in vec2 st; in vec2 share; in vec3 gain; in vec2 uv; in float occlusion;
out vec2 v_st; out vec2 v_share; out vec3 v_gain; out vec2 v_uv; out float v_occlusion;
void main() {
    float z = position.z;
    vec2 pixel = camera.x * position.xy + camera.yz * z + 0.5 * z;
    float n = depth_range.x, f = depth_range.y;
    gl_Position = vec4(2.0 * pixel.x / size.x - z, z - 2.0 * pixel.y / size.y,
                       ((f + n) * z - 2.0 * f * n) / (f - n), z);
    v_st = st; v_share = share; v_gain = gain; v_uv = uv; v_occlusion = occlusion;
}
"""
FRAGMENT = """
#version 330
uniform sampler2D portrait; uniform sampler2D skin;
in vec2 v_st; in vec2 v_share; in vec3 v_gain; in vec2 v_uv; in float v_occlusion;
out vec4 colour;
void main() {
    if (v_share.y < 0.02) discard;
    vec3 own = texture(portrait, v_st).rgb;
    vec3 completed = texture(skin, v_uv).rgb * v_gain * pow(v_occlusion, 0.45);
    colour = vec4(mix(completed, own, v_share.x), v_share.y);
}
"""
_EYES = ("eye.L", "eye.R")
_ORAL = ("teeth_upper", "teeth_lower", "tongue")
_SKIN = ("head", "neck", "mouth", "socket.L", "socket.R")


class WarpRenderer:
    """Renders sources with the meshes and the assets of a FaceRenderer."""

    def __init__(self, renderer: FaceRenderer, maker: SourceMaker) -> None:
        self.renderer, self.maker = renderer, maker
        scene = renderer.scene
        self.context = scene.context
        self.program = self.context.program(VERTEX, fragment_shader=FRAGMENT)
        self.program["portrait"].value, self.program["skin"].value = 2, 3
        self.program["depth_range"].value = (NEAR, FAR)
        self.program["size"].value = (scene.size, scene.size)
        head, island = renderer.head, maker.island
        keep = np.isin(island, _SKIN + _EYES + _ORAL)
        used, inverse = np.unique(head.face_uv.numpy()[keep], return_inverse=True)
        triangles = inverse.reshape(-1, 3)
        self._vertex = np.zeros(len(used), np.int64)
        self._vertex[triangles.ravel()] = head.faces.numpy()[keep].ravel()
        uv = head.uv.numpy()[used]
        occlusion = np.ones(head.n_vertices, np.float32)
        seam = head.regions["lip_seam"]
        occlusion[np.setdiff1d(head.regions["mouth"], seam)], occlusion[seam] = 0.2, 0.55
        for side in "LR":
            margin = [head.regions[f"lid_margin_{e}.{side}"] for e in ("upper", "lower")]
            occlusion[np.setdiff1d(maker.inner[f"socket.{side}"], np.concatenate(margin))] = 0.4
        static = np.column_stack([uv[:, 0], 1 - uv[:, 1], occlusion[self._vertex]])
        self._dynamic = self.context.buffer(reserve=len(used) * 40)
        held = self.context.buffer(static.astype(np.float32).tobytes())
        self._parts = {
            name: self.context.vertex_array(
                self.program,
                [(self._dynamic, "3f 2f 2f 3f", "position", "st", "share", "gain"),
                 (held, "2f 1f", "uv", "occlusion")],
                self.context.buffer(triangles[np.isin(island[keep], which)].astype("u4").tobytes()),
            )
            for name, which in (("skin", _SKIN), ("eyes", _EYES), ("oral", _ORAL))
        }  # fmt: skip
        self._grid = self.context.buffer(reserve=GRID * GRID * 40)
        still = self.context.buffer(np.ones((GRID * GRID, 3), np.float32).tobytes())
        self._grid_index = self.context.buffer(reserve=2 * (GRID - 1) ** 2 * 12)
        self._grid_vao = self.context.vertex_array(
            self.program,
            [(self._grid, "3f 2f 2f 3f", "position", "st", "share", "gain"),
             (still, "2f 1f", "uv", "occlusion")],
            self._grid_index,
        )  # fmt: skip
        line = np.arange(GRID) / (GRID - 1)
        self._grid_st = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
        self._source: WarpSource | None = None
        self._textures: list = []

    def use(self, source: WarpSource) -> None:
        """Put a source's textures and grid on the device."""
        for texture in self._textures:
            texture.release()
        scene = self.renderer.scene
        skin = source.texture[:8, :8] if source.skin is None else source.skin
        self._textures = [scene.texture(source.texture), scene.texture(skin)]
        self._textures[0].repeat_x = self._textures[0].repeat_y = False
        self._grid_index.write(source.grid_triangles.astype("u4").tobytes())
        self._source = source

    def render(
        self, posed: np.ndarray, base: np.ndarray, transforms: np.ndarray, grid: np.ndarray,
        camera: tuple[float, float, float], own_eyes: bool, own_mouth: bool,
        items: tuple[tuple[str, int, Surface], ...],
    ) -> tuple[np.ndarray, Labels]:  # fmt: skip
        """(S,S,3) u8 and the labels.

        Args: posed, base, transforms as by FaceRenderer.place; grid (G*G,3); camera focal_px, cx,
        cy of the final image; own_eyes, own_mouth: whether the portrait's own pixels fill the
        apertures; items: assets (name, texture, surface) that fill them otherwise.
        """
        source, scene, renderer = self._source, self.renderer.scene, self.renderer
        assert source is not None
        share = np.stack([source.seen, source.opacity], axis=1)
        inner = self.maker.inner
        for own, names in (
            (own_eyes, (*_EYES, "socket.L", "socket.R")), (own_mouth, (*_ORAL, "mouth"))
        ):  # fmt: skip
            if own:
                for name in names:
                    share[inner[name][source.seen[inner[name]] < 1], 0] = 1.0
        lips = self.maker.head.regions["lips"]
        if not own_mouth:
            share[lips, 0] = np.minimum(share[lips, 0], source.seen[lips])
        rows = np.concatenate([posed, source.st, share, source.gain], axis=1)[self._vertex]
        self._dynamic.write(rows.astype(np.float32).tobytes())
        ones = np.ones((len(grid), 5), np.float32)
        rows = np.concatenate([grid, self._grid_st, ones], axis=1)
        self._grid.write(rows.astype(np.float32).tobytes())

        k, half = SUPERSAMPLING, 0.5 * (SUPERSAMPLING - 1.0)
        double = (k * camera[0], k * camera[1] + half, k * camera[2] + half)
        context = self.context
        context.enable(context.DEPTH_TEST)
        scene.shadow_target.use()
        scene.shadow_target.clear(depth=1.0)
        scene.target.use()
        mean = source.texture.reshape(-1, 3).mean(0) / 255
        scene.target.clear(*mean, 1.0, depth=1.0)
        self._textures[0].use(2)
        self._textures[1].use(3)
        self.program["camera"].value = (*double, 0.0)
        context.disable(context.BLEND)
        self._grid_vao.render(vertices=3 * len(source.grid_triangles))
        # All of the head is drawn over the grid, which is there for what surrounds it.
        self._clear_depth()
        context.enable(context.BLEND)
        context.blend_func = (
            context.SRC_ALPHA, context.ONE_MINUS_SRC_ALPHA, context.ONE,
            context.ONE_MINUS_SRC_ALPHA,
        )  # fmt: skip
        self._parts["skin"].render()
        if own_eyes:
            self._parts["eyes"].render()
        if own_mouth:
            self._parts["oral"].render()
        self._draw_assets(items, base, transforms, double, source.luminance)
        image, depth = scene.read()
        size = renderer.size
        small = cv2.resize(image[..., :3], (size, size), interpolation=cv2.INTER_AREA)
        return small, renderer.labels(posed, camera, double, depth)

    def _clear_depth(self) -> None:
        """Forget the depth of what is drawn and keep its colour."""
        target = self.renderer.scene.target
        target.color_mask = (False,) * 4
        target.use()  # a mask counts from here on
        target.clear(depth=1.0)
        target.color_mask = (True,) * 4
        target.use()

    def _draw_assets(
        self, items: tuple[tuple[str, int, Surface], ...], base: np.ndarray,
        transforms: np.ndarray, camera: tuple[float, float, float], luminance: float,
    ) -> None:  # fmt: skip
        """Eyes, teeth, tongue and lashes in even light that suits the skin's luminance."""
        renderer, scene = self.renderer, self.renderer.scene
        program = scene.lit
        level = float(np.clip(luminance / 0.32, 0.1, 1.2))
        sh = np.zeros((9, 3), np.float32)
        sh[0], sh[1], sh[2] = level, -0.25 * level, -0.15 * level
        scene.shadow.use(1)
        program["camera"].value = (*camera, 0.0)
        program["size"].value = (scene.size, scene.size)
        program["light"].write(np.eye(4, dtype=np.float32).tobytes())
        program["sh"].write(sh.tobytes())
        program["key_direction"].value = (0.3, -0.5, -0.8)
        program["key_colour"].value = (0.3 * level,) * 3
        program["exposure"].value = 1.0
        worn = tuple(renderer.library.mesh(name) for name, _, _ in items)
        for asset, (_, number, surface) in zip(worn, items, strict=True):
            mesh = renderer.asset_mesh(asset, worn)
            bind = asset.positions(base, HEAD_FROM_ANNY)
            blended = np.einsum(
                "nj,jab->nab", renderer.joint_weights[asset.name], transforms[:, :3]
            )
            mesh.update(np.einsum("nab,nb->na", blended[..., :3], bind) + blended[..., 3])
            renderer.texture(asset, number).use(0)
            program["tint"].value = (*surface.tint, surface.opacity)
            program["recolour"].value = surface.recolour
            program["surface"].value = (
                surface.specular, surface.exponent, surface.wrap,
                surface.alpha_cut * min(surface.opacity, 1.0),
            )  # fmt: skip
            mesh.vao.render()
