# SPDX-License-Identifier: GPL-3.0-or-later
"""Find again what an earlier run has made, so that a new run updates it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy

ROLE = "mien_role"
"""Custom property that says what a data-block is for; names belong to the artist."""

LOCKED = (
    "This result comes from another file, and changes here would be lost: make it local (Object > "
    "Relations > Make Local > All), or empty Result in the panel to have a new head."
)


def is_locked(collection: bpy.types.Collection | None) -> bool:
    """Whether a result is linked from another file, or overrides what is: it is not to be changed.

    Blender lets scripts change linked data, and forgets it when the file is closed.
    """
    if collection is None:
        return False
    parts = [o for o in collection.all_objects if ROLE in o]
    blocks = [collection, *parts, *(o.data for o in parts if o.data is not None)]
    return any(b.library is not None or b.override_library is not None for b in blocks)


def check_editable(collection: bpy.types.Collection | None) -> None:
    """Raise ValueError where a result is not to be changed."""
    if is_locked(collection):
        raise ValueError(LOCKED)


def by_uid(blocks: Any, uid: int | None) -> Any:
    """Return the data-block of a session_uid in bpy.data's list; None where it is gone.

    Undo may replace any block: what is kept over time is its number.
    """
    return next((block for block in blocks if block.session_uid == uid), None)


def find_object(collection: bpy.types.Collection, role: str) -> bpy.types.Object | None:
    """Return the object of a role in a collection, if it is still there."""
    return next((o for o in collection.all_objects if o.get(ROLE) == role), None)


def ensure_object(
    collection: bpy.types.Collection, role: str, name: str, data: bpy.types.ID | None
) -> bpy.types.Object:
    """Return the object of a role in a collection, made with this data where there is none."""
    found = find_object(collection, role)
    if found is None:
        found = bpy.data.objects.new(name, data)
        found[ROLE] = role
        collection.objects.link(found)
    return found


def ensure_collection(
    scene: bpy.types.Scene, collection: bpy.types.Collection | None, name: str
) -> bpy.types.Collection:
    """Return the collection that holds the result, linked to the scene."""
    if collection is None:
        collection = bpy.data.collections.new(name)
        collection[ROLE] = "shot"
    if collection not in set(_descendants(scene.collection)):
        scene.collection.children.link(collection)
    return collection


def layer_collections(
    layer: bpy.types.ViewLayer, wanted: set[bpy.types.Collection]
) -> list[bpy.types.LayerCollection]:
    """Return a view layer's entries for collections and all that they are in, outermost first."""

    def search(entry: bpy.types.LayerCollection) -> list[bpy.types.LayerCollection]:
        below = [found for child in entry.children for found in search(child)]
        return [entry, *below] if below or entry.collection in wanted else []

    # The scene's own collection can be neither hidden nor excluded.
    return [found for child in layer.layer_collection.children for found in search(child)]


def _descendants(collection: bpy.types.Collection) -> Iterator[bpy.types.Collection]:
    for child in collection.children:
        yield child
        yield from _descendants(child)
