# SPDX-License-Identifier: GPL-3.0-or-later
"""From a shot to data-blocks: one collection, made by the first run and updated by the next.

An update is cut into pieces of a few milliseconds, so that Blender's interface goes on between
them. Undo may replace any data-block between two pieces: each finds again what it works on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import bpy
import numpy as np
from numpy.typing import NDArray

from ..png import Picture, later, picture_later
from ..shot import Shot
from . import camera as camera_module
from .cameras import update_cameras
from .channels import (
    Channel,
    expression_channels,
    lens_channels,
    motion_channels,
    write_channels,
)
from .datablocks import by_uid, ensure_collection, ensure_object, find_object
from .exact import show_keys
from .footage import holds_pictures, index_to_frame, set_up_scene
from .head import KEYS_A_PIECE, set_keys, update_head
from .images import ensure_image, keep_png, set_pixels, settle_images
from .light import store_lighting
from .material import (
    ALBEDO_NODE,
    TEXTURE_NODE,
    ensure_material,
    image_node,
    set_albedo,
    set_texture,
)
from .modes import object_mode
from .motion import owners_of, prepare_owners
from .rig import update_rig
from .solve import Applied, load_applied, solve_of, store_applied, store_solve
from .visibility import rows_image, set_rows, set_visibility, visibility_rows

COLLECTION = "Mien"

KEYS_AT_ONCE = 20000
"""Keyframes that one piece of an update writes: about 3 ms."""

LITTLE_S = 0.002
"""A long piece, up to 20 ms, is done where no more than this was done before it."""


@dataclass(frozen=True)
class Changes:
    """What of a shot is new since the last update."""

    model: bool = True
    """The head's shape."""
    motion: bool = True
    """Frames."""
    texture: bool = True
    """The texture."""
    visibility: bool = True
    """Which vertices are seen in which frame."""


EVERYTHING = Changes()


def update_scene(
    scene: bpy.types.Scene,
    shot: Shot,
    clip: bpy.types.MovieClip | None = None,
    collection: bpy.types.Collection | None = None,
    changes: Changes = EVERYTHING,
    set_scene: bool = True,
) -> bpy.types.Collection:
    """Make or update everything in one collection, and return it.

    collection: the one of an earlier run, or None. set_scene: give the scene the footage's size,
    rate, range and colours too. Units are metres; an empty, "Mien", carries camera and head, so
    that the whole can be moved.
    """
    update = SceneUpdate(scene, shot, clip, collection, changes, set_scene)
    update.finish()
    found = update.collection
    assert found is not None
    return found


class Gone(RuntimeError):
    """What is being updated was removed or undone meanwhile."""


class SceneUpdate:
    """What `update_scene` does, a piece at a time."""

    def __init__(
        self,
        scene: bpy.types.Scene,
        shot: Shot,
        clip: bpy.types.MovieClip | None,
        collection: bpy.types.Collection | None,
        changes: Changes = EVERYTHING,
        set_scene: bool = True,
        label: str = "",
    ) -> None:
        """See `update_scene`; label: what a new result is called beside "Mien"."""
        self.shot = shot
        self._scene_uid = scene.session_uid
        self._clip_uid = None if clip is None else clip.session_uid
        self._is_new = collection is None
        self._label = label
        collection = ensure_collection(scene, collection, f"{COLLECTION} {label}".strip())
        self._collection_uid = collection.session_uid
        self._frames = shot.motion.frame_index + index_to_frame(clip)
        self._solve = solve_of(shot, self._frames)
        self._set_scene = set_scene
        self._channels: list[Channel] = []
        self._pictures: dict[str, Picture] = {}
        self._images: dict[str, int] = {}
        self._share: Future[NDArray[np.float32]] | None = None
        self._long: set[Callable[[], bool | None]] = {self._build_head, self._visibility}
        self._pieces: deque[Callable[[], bool | None]] = deque()
        self._plan(changes, collection)

    @property
    def collection(self) -> bpy.types.Collection | None:
        """The collection, while it is there."""
        return by_uid(bpy.data.collections, self._collection_uid)

    @property
    def is_finished(self) -> bool:
        """Whether all is done."""
        return not self._pieces

    def step(self, budget_s: float) -> bool:
        """Do pieces for up to budget_s, at least one; returns whether all is done.

        Raises `Gone` where the collection or what is in it was removed meanwhile.
        """
        began = time.perf_counter()
        while self._pieces:
            piece = self._pieces[0]
            is_late = budget_s < float("inf") and time.perf_counter() - began > LITTLE_S
            if is_late and piece in self._long:
                break
            # A piece that says False waits for a thread.
            if piece() is False:
                break
            self._pieces.popleft()
            if time.perf_counter() - began > budget_s:
                break
        return not self._pieces

    def finish(self) -> None:
        """Do all pieces; waits for the threads."""
        while not self.step(float("inf")):
            time.sleep(0.001)
        settle_images()

    def _plan(self, changes: Changes, collection: bpy.types.Collection) -> None:
        shot, pieces = self.shot, self._pieces
        roles = [find_object(collection, role) for role in ("head", "rig", "camera")]
        texture, albedo = shot.texture, shot.albedo
        if changes.texture and texture is not None:
            self._pictures["texture"] = picture_later(lambda: texture)
            if albedo is not None:
                self._pictures["albedo"] = picture_later(lambda: albedo)
        visibility, soft = shot.motion.visibility, shot.motion.soft_visibility
        if changes.visibility and visibility is not None:
            frames = self._frames

            def rows() -> NDArray[np.uint8]:
                seen = (visibility > 0) * np.uint8(255) if soft is None else soft
                return visibility_rows(seen, frames)

            self._share = later(lambda: visibility.mean(axis=0, dtype=np.float32))
            self._pictures["visibility"] = picture_later(rows)
        if changes.model or None in roles:
            pieces += [self._build, self._build_head]
            names = shot.model.expression_names
            for first in range(0, len(names), KEYS_A_PIECE):
                pieces.append(lambda k=first: set_keys(self._object("head"), shot.model, k))
            pieces.append(self._build_camera)
        if changes.model or changes.motion:
            pieces += [self._store, self._motion, self._write]
            # While frames arrive, the cameras of an earlier run stay.
            if shot.cameras or changes.visibility:
                pieces.append(self._cameras)
        for name, show in (
            ("visibility", self._visibility),
            ("texture", self._texture),
            ("albedo", self._albedo),
        ):
            if name in self._pictures:
                make, fill = partial(self._make_image, name), partial(self._fill_image, name)
                self._long |= {make, fill}
                pieces += [make, fill, show, partial(self._keep_image, name)]
        if "texture" in self._pictures and "albedo" not in self._pictures:
            pieces.append(lambda: set_albedo(self._object("head"), None))

    def _object(self, role: str) -> bpy.types.Object:
        collection = self.collection
        found = None if collection is None else find_object(collection, role)
        if found is None:
            raise Gone(role)
        return found

    def _scene(self) -> bpy.types.Scene:
        scene = by_uid(bpy.data.scenes, self._scene_uid)
        if scene is None:
            raise Gone("scene")
        return scene

    def _clip(self) -> bpy.types.MovieClip | None:
        return by_uid(bpy.data.movieclips, self._clip_uid)

    def _build(self) -> None:
        collection = self.collection
        if collection is None:
            raise Gone("collection")
        scene = self._scene()
        head = find_object(collection, "head")
        if head is not None:
            show_keys(collection, head)
        origin = ensure_object(collection, "origin", "Mien", None)
        if self._is_new:
            origin.empty_display_size = 0.1
        with object_mode(scene):
            update_rig(collection, self.shot.model, origin)

    def _build_head(self) -> None:
        collection = self.collection
        if collection is None:
            raise Gone("collection")
        with object_mode(self._scene()):
            head = update_head(collection, self.shot.model, self._object("rig"))
        ensure_material(head)

    def _build_camera(self) -> None:
        collection = self.collection
        if collection is None:
            raise Gone("collection")
        origin = self._object("origin")
        camera_module.update_camera(
            self._scene(), collection, origin, self._clip(), is_main=not self._label
        )
        if self._is_new and self._label:
            self._is_new = False
            for role, name in (
                ("origin", ""), ("rig", " Rig"), ("head", " Head"), ("camera", " Camera"),
            ):  # fmt: skip
                self._object(role).name = f"Mien {self._label}{name}"

    def _cameras(self) -> None:
        collection = self.collection
        if collection is None:
            raise Gone("collection")
        update_cameras(collection, self._object("origin"), self.shot.cameras, self._clip())

    def _store(self) -> None:
        collection, clip = self.collection, self._clip()
        if collection is None:
            raise Gone("collection")
        if self._set_scene:
            set_up_scene(self._scene(), self.shot, clip)
        store_solve(collection, self._solve)
        camera_module.set_intrinsics(
            self._object("camera"), self._solve, clip, self.shot.distortion
        )
        settings = collection.mien_result
        store_applied(collection, Applied(settings.motion, settings.smoothing()))

    def _motion(self) -> None:
        """Compute all curves; `_write` writes them."""
        collection, camera = self.collection, self._object("camera")
        if collection is None:
            raise Gone("collection")
        applied = load_applied(collection)
        rig = self._object("rig")
        prepare_owners(rig, camera, applied.motion)
        smoothing, solve = applied.smoothing, self._solve
        self._channels = motion_channels(solve, smoothing, applied.motion, rig)
        self._channels.append(
            # 1 where the face was seen, else 0.
            Channel("rig", '["face_found"]', 0, "Tracking", solve.found.astype(np.float64))
        )
        self._channels += lens_channels(solve, smoothing, camera.data.sensor_width)
        self._channels += expression_channels(solve, smoothing)
        weights = np.stack([c.values for c in self._channels if c.owner == "keys"], -1)
        low, high = np.floor(weights.min(axis=0)), np.ceil(weights.max(axis=0))
        keys = self._object("head").data.shape_keys
        for number, name in enumerate(self.shot.model.expression_names):
            block = None if keys is None else keys.key_blocks.get(name)
            if block is None:
                # Renamed or deleted by hand after the track that is refined.
                continue
            # Blender clamps a key to its slider's range, in curves too.
            block.slider_min = float(min(0.0, low[number]))
            block.slider_max = float(max(1.0, high[number]))

    def _write(self) -> bool:
        """Write some of the curves; says whether those were all."""
        collection = self.collection
        if collection is None:
            raise Gone("collection")
        rig = self._object("rig")
        if "face_found" not in rig:
            rig["face_found"] = 1.0
        count = max(1, KEYS_AT_ONCE // len(self._frames))
        chunk, self._channels = self._channels[:count], self._channels[count:]
        write_channels(owners_of(collection), chunk, self._frames, holds_pictures(self._clip()))
        if self._channels:
            self._pieces.insert(1, self._write)
        return True

    def _make_image(self, name: str) -> bool:
        """Make an image, or give an earlier one its new size."""
        pixels = self._pictures[name].pixels
        if not pixels.done():
            return False
        head = self._object("head")
        if name == "visibility":
            image = rows_image(head)
        else:
            node = image_node(head, _NODES[name])
            if node is None:
                # The artist has another material on it.
                return True
            image = node.image
        title = f"Mien {name.capitalize()}"
        image = ensure_image(image, title, pixels.result().size, name == "visibility")
        self._images[name] = image.session_uid
        return True

    def _image(self, name: str) -> bpy.types.Image | None:
        if name not in self._images:
            return None
        image = by_uid(bpy.data.images, self._images[name])
        if image is None:
            raise Gone(name)
        return image

    def _fill_image(self, name: str) -> None:
        image = self._image(name)
        if image is not None:
            set_pixels(image, self._pictures[name].pixels.result())

    def _keep_image(self, name: str) -> bool:
        image, png = self._image(name), self._pictures[name].png
        if not png.done():
            return False
        if image is not None:
            keep_png(image, png.result())
        return True

    def _visibility(self) -> bool:
        assert self._share is not None
        if not self._share.done():
            return False
        head, image = self._object("head"), self._image("visibility")
        assert image is not None
        set_rows(head, image)
        set_visibility(head, self._share.result(), self._frames)
        return True

    def _texture(self) -> None:
        head, image = self._object("head"), self._image("texture")
        if image is not None:
            set_texture(head, image)
        if self.shot.lighting is not None:
            store_lighting(head, self.shot.lighting)

    def _albedo(self) -> None:
        image = self._image("albedo")
        if image is not None:
            set_albedo(self._object("head"), image)


_NODES = {"texture": TEXTURE_NODE, "albedo": ALBEDO_NODE}
