# SPDX-License-Identifier: GPL-3.0-or-later
"""Mien inside Blender: pick a clip, press Track, get a head that moves with the footage.

properties hold state, panels draw, operators start and poll, client.py and backend_process.py
know no `bpy`, and scene/ alone writes data-blocks. What needs `bpy` is imported in `register`,
so that the other modules can be used without Blender.
"""


def register() -> None:
    """Add Mien's classes to Blender."""
    from . import first, live, operators, panels, preferences, properties, refine, result, retarget

    modules = properties, preferences, operators, first, panels, refine, result, retarget, live
    for module in modules:
        module.register()


def unregister() -> None:
    """Stop what runs and take the classes away again."""
    from . import first, live, operators, panels, preferences, properties, refine, result, retarget

    modules = live, retarget, result, refine, panels, first, operators, preferences, properties
    for module in modules:
        module.unregister()
