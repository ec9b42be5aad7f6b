# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave the artist's mode, selection and active object for a moment, and restore them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import bpy

from ..png import finish_threads
from .datablocks import layer_collections


@contextmanager
def object_mode(scene: bpy.types.Scene) -> Iterator[None]:
    """Work in object mode, with a scene that need not be the one in the window."""
    layer = bpy.context.view_layer if scene == bpy.context.scene else scene.view_layers[0]
    with _context_with(scene=scene, view_layer=layer):
        active = layer.objects.active
        mode = active.mode if active is not None else "OBJECT"
        selected = [o for o in layer.objects if o.select_get(view_layer=layer)]
        if mode != "OBJECT":
            _set_mode(active, "OBJECT")
        try:
            yield
        finally:
            # Collections may have been shown and hidden: 4.2 crashes on the outdated list.
            layer.update()
            for other in layer.objects:
                other.select_set(other in selected, view_layer=layer)
            layer.objects.active = active
            if mode != "OBJECT" and active is not None:
                _set_mode(active, mode)


@contextmanager
def edit_mode(subject: bpy.types.Object) -> Iterator[None]:
    """Edit an object, though it or its collection may be hidden. Call it inside object_mode."""
    layer = bpy.context.view_layer
    hidden = subject.hide_get(view_layer=layer), subject.hide_viewport
    hidden_collections = [
        (found, found.exclude, found.hide_viewport, found.collection.hide_viewport)
        for found in layer_collections(layer, set(subject.users_collection))
    ]
    for found, *_ in hidden_collections:
        found.exclude = found.hide_viewport = found.collection.hide_viewport = False
    layer.update()
    subject.hide_viewport = False
    subject.hide_set(False, view_layer=layer)
    layer.objects.active = subject
    _set_mode(subject, "EDIT")
    try:
        yield
    finally:
        _set_mode(subject, "OBJECT")
        subject.hide_set(hidden[0], view_layer=layer)
        subject.hide_viewport = hidden[1]
        for found, *state in hidden_collections:
            found.exclude, found.hide_viewport, found.collection.hide_viewport = state


def _set_mode(subject: bpy.types.Object, mode: str) -> None:
    # The window's active object is another one where its scene is.
    with _context_with(active_object=subject, object=subject):
        bpy.ops.object.mode_set(mode=mode)


def _context_with(**members: Any) -> AbstractContextManager[Any]:
    """Return an override of the context, or none where the context is like that already.

    An operator under an override crashes Blender 4.2 to 5.0 while a thread runs Python: it lets
    the GIL go, and then looks the override up without it (`BPY_context_member_get`).
    """
    if all(getattr(bpy.context, name, None) == value for name, value in members.items()):
        return nullcontext()
    finish_threads()
    return bpy.context.temp_override(**members)
