# SPDX-License-Identifier: GPL-3.0-or-later
"""Several clips and people, tracked one after another while the artist goes on.

snapshot knows no bpy; runner goes through the list in a timer, operators are its buttons.
"""


def register() -> None:
    """Add the list, its buttons, and what looks after it."""
    from . import operators, panel, properties, runner

    for module in (properties, operators, panel, runner):
        module.register()


def unregister() -> None:
    """Stop what runs and take it all away."""
    from . import operators, panel, properties, runner

    for module in (runner, panel, operators, properties):
        module.unregister()
