# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be chosen for a result after it was tracked: smoothing, motion, shape, landmarks."""


def register() -> None:
    """Add settings, operators, panels and the strip of confidence."""
    from . import operators, panel, properties, strip

    for module in (properties, operators, panel, strip):
        module.register()


def unregister() -> None:
    """Take them away."""
    from . import operators, panel, properties, strip

    for module in (strip, panel, operators, properties):
        module.unregister()
