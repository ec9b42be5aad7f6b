# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a result to a new solve of the same frames: what was edited by hand stays edited."""

from __future__ import annotations

import bpy
import numpy as np

from ..shot import HeadModel, Motion, Shot
from .animation import find_curve
from .build import Changes, SceneUpdate
from .channels import Channel, write_channels
from .datablocks import find_object
from .exact import show_keys
from .motion import all_channels, follow, owners_of
from .solve import Solve, load_applied, load_solve

CURVES_AT_ONCE = 8
"""Curves that one piece of an update moves: about 4 ms for 300 frames."""


def shot_of(solve: Solve, offset: int) -> Shot:
    """Return a solve as a shot without a head. offset: of frames of the scene over the clip's."""
    count = len(solve.expression_names)
    return Shot(
        model=HeadModel(
            expression_names=tuple(str(name) for name in solve.expression_names),
            neutral=np.zeros((0, 3), np.float32),
            shape_keys=np.zeros((count, 0, 3), np.float32),
            faces=np.zeros((0, 3), np.int32),
            uv=np.zeros((0, 3, 2), np.float32),
            joints=solve.joints,
            skin_weights=np.zeros((0, 4), np.float32),
        ),
        motion=Motion(
            frame_index=solve.frames - offset,
            expression=solve.expression,
            joint_rotations=solve.joint_rotations,
            translation=solve.translation,
            focal_px=solve.focal_px,
            found=solve.found,
            confidence=solve.confidence,
        ),
        K=solve.K,
        image_size=(int(solve.image_size[0]), int(solve.image_size[1])),
    )


class RefinedUpdate(SceneUpdate):
    """An update to a shot with the same frames, a piece at a time.

    The curves move by the difference between the old and the new solve: keys that Mien wrote get
    exactly the new value, others move along, and what was deleted stays deleted.
    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        shot: Shot,
        clip: bpy.types.MovieClip | None,
        collection: bpy.types.Collection,
        has_model: bool,
    ) -> None:
        """has_model: whether the shot has a new head, too."""
        self._old: dict[tuple[str, str, int], Channel] = {}
        changes = Changes(model=has_model, motion=True, texture=False, visibility=False)
        super().__init__(scene, shot, clip, collection, changes, set_scene=False)

    def _plan(self, changes: Changes, collection: bpy.types.Collection) -> None:
        self._pieces.append(self._remember)
        super()._plan(changes, collection)

    def _remember(self) -> None:
        """Compute the curves as they were written, with the bones that they were written for."""
        collection = self.collection
        head = None if collection is None else find_object(collection, "head")
        solve = load_solve(collection)
        if collection is None or head is None or solve is None:
            return
        if collection.mien_result.shape != "KEYS":
            # Exact shapes are of the solve before.
            show_keys(collection, head)
        old = all_channels(collection, solve, load_applied(collection))
        self._old = {(c.owner, c.path, c.index): c for c in old}

    def _write(self) -> bool:
        """Move some of the curves; says whether those were all."""
        collection = self.collection
        if collection is not None:
            owners = owners_of(collection)
            for _ in range(CURVES_AT_ONCE):
                if not self._channels:
                    break
                self._move(owners, self._channels.pop(0))
        if self._channels:
            self._pieces.insert(1, self._write)
        return True

    def _move(self, owners: dict[str, bpy.types.ID], new: Channel) -> None:
        old = self._old.get((new.owner, new.path, new.index))
        if new.owner not in owners or new.path == '["face_found"]':
            return
        if old is None:
            write_channels(owners, [new], self._frames)
        elif not np.array_equal(old.values, new.values):
            curve = find_curve(owners[new.owner], new.path, new.index)
            if curve is not None:
                follow(curve, self._frames, old, new)
