# SPDX-License-Identifier: GPL-3.0-or-later
"""The first minute: installing the backend, a sample to try, and a report for when it fails.

sizes, progress, installing, sample and report know no bpy; facts reads Blender, panel draws.
"""


def register() -> None:
    """Add the operators."""
    from . import operators

    operators.register()


def unregister() -> None:
    """Take them away."""
    from . import operators

    operators.unregister()
