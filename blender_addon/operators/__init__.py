# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators start work and poll it; they leave the work to others."""


def register() -> None:
    """Add all operators."""
    from . import backend, clip, import_track, result, track

    for module in (backend, clip, import_track, result, track):
        module.register()


def unregister() -> None:
    """Stop what runs and take the operators away."""
    from ..runtime import stop_everything
    from . import backend, clip, import_track, result, track

    stop_everything()
    for module in (track, result, import_track, clip, backend):
        module.unregister()
