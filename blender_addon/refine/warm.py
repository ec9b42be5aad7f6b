# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the backend read a shot before its first pin, while the artist looks for the frame."""

from __future__ import annotations

import time
from typing import Any

import bpy

from ..backend_process import BackendError
from ..client import JobClient
from ..runtime import ensure_backend, preferences
from ..shared.messages import RefineJob
from .receiver import RefineReceiver

LOOK_S = 0.25
LONGEST_S = 120.0

_client: list[JobClient] = []
_done: set[str] = set()
"""Jobs and tracks that were read already in this Blender."""


def warm(scene: bpy.types.Scene) -> None:
    """Solve what the result was solved from, near no change: it is read, and that is all."""
    collection = scene.mien.collection
    if bpy.app.background or collection is None or _client:
        return
    refine = collection.mien_refine
    source = refine.job or refine.track
    if not source or source in _done:
        return
    job = RefineJob(job=refine.job or None, track="" if refine.job else refine.track, scope="near")
    receiver: Any = RefineReceiver()
    try:
        _client.append(JobClient(ensure_backend(preferences()), job, receiver))
    except (BackendError, ValueError):
        # Whoever drags a pin is told.
        return
    _done.add(source)
    began = time.monotonic()

    def look() -> float | None:
        if not _client:
            return None
        client = _client[0]
        client.poll(0.001)
        if client.is_finished or time.monotonic() - began > LONGEST_S:
            stop()
            return None
        return LOOK_S

    bpy.app.timers.register(look, first_interval=LOOK_S)


def stop() -> None:
    """Wait for it no longer."""
    while _client:
        _client.pop().close()
