# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tracked head to characters and to other programs.

names and mapping know no bpy; performance reads Blender's curves, bake and exchange write.
"""


def register() -> None:
    """Add settings, operators and the panel."""
    from . import export_operators, operators, panel, properties

    for module in (properties, operators, export_operators, panel):
        module.register()


def unregister() -> None:
    """Take them away."""
    from . import export_operators, operators, panel, properties

    for module in (panel, export_operators, operators, properties):
        module.unregister()
