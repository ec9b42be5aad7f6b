"""Runs inside Blender's window: goes through the steps of steps.py, one look every 0.2 s.

A step is a generator; it yields seconds to wait, or a function that says whether to go on.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import bpy

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True

import pictures  # noqa: E402
import steps  # noqa: E402

LOOK_S = 0.2
PATIENCE_S = 600.0


class Runner:
    """Goes through the steps; writes result.json and ends Blender."""

    def __init__(self) -> None:
        self.settings = json.loads((FOLDER / "settings.json").read_text("utf-8"))
        self.told: list[str] = []
        self.steps = steps.all_steps(self.settings, self.tell)
        self.name, self.step = "", iter(())
        self.wait: Any = 1.0
        self.since = time.monotonic()

    def tell(self, text: str) -> None:
        """Note something for the person who runs this."""
        line = f"{self.name}: {text}"
        print(line, flush=True)
        self.told.append(line)

    def look(self) -> float | None:
        """Go on where the wait is over."""
        try:
            waited = time.monotonic() - self.since
            if callable(self.wait):
                if not self.wait():
                    if waited > PATIENCE_S:
                        raise RuntimeError(f"nothing happened for {PATIENCE_S} s")
                    return LOOK_S
            elif waited < self.wait:
                return LOOK_S
            self._next()
        except BaseException:
            pictures.screenshot("failure", None)
            self._end(f"{self.name} failed: {traceback.format_exc()}")
        return LOOK_S

    def _next(self) -> None:
        wait = next(self.step, None)
        if wait is not None:
            self.wait, self.since = wait, time.monotonic()
            return
        if self.name and self.name == self.settings["only"]:
            self._end("")
        following = next(self.steps, None)
        if following is None:
            self._end("")
        self.name, self.step = following
        print(f"-- {self.name}", flush=True)
        self.wait, self.since = 0.2, time.monotonic()

    def _end(self, error: str) -> None:
        result = {"told": self.told, "error": error, "pictures": pictures.taken}
        (FOLDER / "result.json").write_text(json.dumps(result, indent=1), "utf-8")
        print(error, flush=True)
        try:
            bpy.ops.preferences.addon_disable(module=steps.MODULE)
        finally:
            os._exit(1 if error else 0)


bpy.context.preferences.view.show_splash = False
runner = Runner()
bpy.app.timers.register(runner.look, first_interval=2.0, persistent=True)
