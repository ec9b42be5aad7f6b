# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs at the moment in this Blender; none of it is saved, and undo does not touch it."""

from __future__ import annotations

import atexit
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from . import backend_process, png
from .backend_process import BackendError, BackendProcess
from .client import Endpoint
from .translations import rpt

if TYPE_CHECKING:
    from .first.installing import Installation
    from .track_run import TrackRun


@dataclass
class Runtime:
    """The processes and jobs of this Blender, one of each at most."""

    backend: BackendProcess | None = None
    """The backend that this Blender has started."""
    run: TrackRun | None = None
    """The tracking job that runs, or the last one: its outcome is shown until the next."""
    installation: Installation | None = None
    """The installation that runs, or the last one."""
    check: Any = None
    """The connection test that runs, or the last one."""
    last_log: list[str] = field(default_factory=list)
    """The last lines of the backend that ran before."""


runtime = Runtime()


def preferences(context: bpy.types.Context | None = None) -> Any:
    """Return Mien's preferences."""
    return (context or bpy.context).preferences.addons[__package__].preferences


def ensure_backend(settings: Any) -> Endpoint:
    """Return where the backend is, started if it is to run here. Raises `BackendError`.

    A backend that has just been started does not answer at once: clients wait for it.
    """
    if settings.mode == "CONNECT":
        return endpoint_of(settings)
    if runtime.backend is not None and not runtime.backend.is_running:
        runtime.last_log, runtime.backend = runtime.backend.log, None
    if runtime.backend is None:
        command = backend_process.find_backend(bpy.path.abspath(settings.backend_path))
        runtime.backend = BackendProcess(
            command, backend_process.connection_file(), backend_process.readable_roots()
        )
        atexit.register(stop_backend)
    return Endpoint(connection_file=runtime.backend.connection_file)


def endpoint_of(settings: Any) -> Endpoint:
    """Return the backend that the user wants to connect to. Raises `BackendError`."""
    where = settings.address.strip()
    key_file = Path(bpy.path.abspath(settings.key_file)) if settings.key_file else None
    if not where.startswith("tcp://"):
        file = Path(bpy.path.abspath(where)).expanduser() if where else None
        if file is not None and not file.is_file():
            raise BackendError(
                rpt(
                    "{where}: neither an address such as tcp://host:5555 nor a connection file.",
                    where=where,
                )
            )
        return Endpoint(connection_file=file, key_file=key_file)
    return Endpoint(
        address=where,
        token=settings.token.strip(),
        server_key=settings.server_key.strip(),
        key_file=key_file,
    )


def stop_backend() -> None:
    """End the backend that this Blender has started."""
    backend, runtime.backend = runtime.backend, None
    if backend is not None:
        backend.stop()
        runtime.last_log = backend.log
    atexit.unregister(stop_backend)


def stop_everything() -> None:
    """End all that runs, when the add-on is switched off."""
    if runtime.run is not None:
        runtime.run.close()
    if runtime.installation is not None:
        runtime.installation.cancel()
    if runtime.check is not None:
        runtime.check.close()
    png.end_threads()
    stop_backend()


_modal: list[Any] = []
"""Operators that have begun to run modally, those that have ended meanwhile among them."""


def runs_modally(operator: Any) -> None:
    """Note an operator that goes on: Blender does not tell it when the add-on is switched off."""
    _modal[:] = [one for one in _modal if _is_alive(one)] + [operator]


def cancel_modal(context: bpy.types.Context) -> None:
    """Have what runs modally take its timers, texts and drawings away."""
    running, _modal[:] = [one for one in _modal if _is_alive(one)], []
    for operator in running:
        operator.cancel(context)


def _is_alive(operator: Any) -> bool:
    try:
        return bool(operator.bl_idname)
    except ReferenceError:  # Blender has freed it: it has ended.
        return False


def redraw() -> None:
    """Draw again whatever shows Mien's state."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "CLIP_EDITOR", "PREFERENCES"}:
                area.tag_redraw()
