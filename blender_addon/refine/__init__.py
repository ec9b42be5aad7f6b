# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's hand over a result: pins, frames, masks, limits, and solving again with them.

layout, view, raster and receiver know no bpy; job turns what is set into a message, run carries
the answer into the scene, picture says where landmarks are in an editor, draw shows them.
"""


def register() -> None:
    """Add settings, operators, panels, menus and what is drawn over the clip."""
    from . import draw, mask_operator, menus, operators, panel, pin_operators, properties, run

    for module in (properties, run, operators, mask_operator, pin_operators, panel, menus, draw):
        module.register()


def unregister() -> None:
    """Stop what goes on and take them away."""
    from . import draw, mask_operator, menus, operators, panel, pin_operators, properties, run

    for module in (draw, menus, panel, pin_operators, mask_operator, operators, run, properties):
        module.unregister()
