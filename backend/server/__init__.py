"""The service: a supervisor without torch, one worker process per device, results on disk."""

from __future__ import annotations

from backend.server.settings import ServeSettings


def serve(settings: ServeSettings) -> int:
    """Serve until stopped; see supervisor.main."""
    from backend.server.supervisor import main

    return main(settings)
