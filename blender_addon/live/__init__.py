# SPDX-License-Identifier: GPL-3.0-or-later
"""A head that follows a camera live, and its recording.

stream knows no bpy: it runs `mien live` and reads its lines. drive alone writes data-blocks.
"""


def register() -> None:
    """Add settings, operators and the panel."""
    from . import operators, panel, properties

    for module in (properties, operators, panel):
        module.register()


def unregister() -> None:
    """Stop what runs and take them away."""
    from . import operators, panel, properties

    for module in (panel, operators, properties):
        module.unregister()
