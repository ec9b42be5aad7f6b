"""`mien serve`: the tracker as a service."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from backend.server.settings import ServeSettings


@dataclass(frozen=True)
class Serve:
    """Track for other programs, such as Blender, on this machine or a network."""

    settings: ServeSettings = field(default_factory=ServeSettings)
    """How to serve."""

    def run(self) -> None:
        """Serve until stopped; raises `MienError`."""
        from backend.server import serve

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        serve(self.settings)
