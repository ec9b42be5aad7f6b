# SPDX-License-Identifier: GPL-3.0-or-later
"""Who of several people in a clip is tracked: found by the backend, picked on the frame.

receiver knows no bpy; finding asks the backend and fills the list, pick is the click on a face.
"""


def register() -> None:
    """Add the list of people, and what fills it."""
    from . import faces, operators, panel, pick, properties

    for module in (faces, properties, operators, pick, panel):
        module.register()


def unregister() -> None:
    """Take it all away."""
    from . import faces, operators, panel, pick, properties

    for module in (panel, pick, operators, properties, faces):
        module.unregister()
