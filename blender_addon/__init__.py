# SPDX-License-Identifier: GPL-3.0-or-later
"""Mien inside Blender: pick a clip, press Track, get a head that moves with the footage.

properties hold state, panels draw, operators start and poll, client.py and backend_process.py
know no `bpy`, and scene/ alone writes data-blocks. What needs `bpy` is imported in `register`,
so that the other modules can be used without Blender.
"""

from __future__ import annotations

from typing import Any


def _modules() -> tuple[Any, ...]:
    """All that adds classes to Blender, in the order of their panels."""
    from . import (
        first,
        live,
        operators,
        panels,
        people,
        preferences,
        properties,
        queue,
        refine,
        result,
        retarget,
        translations,
    )

    return (
        translations, properties, preferences, operators, first, panels, people, queue, refine,
        result, retarget, live,
    )  # fmt: skip


def register() -> None:
    """Add Mien's classes to Blender."""
    for module in _modules():
        module.register()


def unregister() -> None:
    """Stop what runs and take the classes away again."""
    import bpy

    from .runtime import cancel_modal

    cancel_modal(bpy.context)
    for module in reversed(_modules()):
        module.unregister()
