# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators that solve again have in common: in the background, or to the end in scripts."""

from __future__ import annotations

import time
from typing import Any

import bpy

from ..backend_process import BackendError
from ..runtime import redraw, runs_modally
from ..scene.datablocks import LOCKED, is_locked
from ..translations import tip
from .job import Scope
from .run import POLL_S, current_run, start

REDRAW_S = 0.1
"""Time between two drawings of the progress."""


class NeedsResult:
    """Works on the scene's result."""

    only_looks = False
    """Whether it leaves the result as it is."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a result, and one of this file where it is changed."""
        if not cls.only_looks and is_locked(context.scene.mien.collection):
            cls.poll_message_set(tip(LOCKED))
            return False
        if context.scene.mien.collection is None:
            cls.poll_message_set(tip("Track a clip or import a track first"))
            return False
        return True


class Solving(NeedsResult):
    """Solves after it has changed something. One undo takes both back.

    Such operators have no "REGISTER": adjusting the last one would solve in the foreground.
    """

    _timer: Any = None
    _run: Any = None
    _drawn_at = 0.0

    def solve(
        self, context: bpy.types.Context, scope: Scope, is_wanted: bool = True,
        is_modal: bool = False,
    ) -> set[str]:  # fmt: skip
        """Solve in the background; where that is not wanted, or cannot be, only the change stays.

        is_modal: the operator is so already.
        """
        redraw()
        if not is_wanted or not self._start(context, scope):
            return {"FINISHED"}
        self._timer = context.window_manager.event_timer_add(POLL_S, window=context.window)
        if not is_modal:
            context.window_manager.modal_handler_add(self)
            runs_modally(self)
        return {"RUNNING_MODAL"}

    def solve_to_end(self, context: bpy.types.Context, scope: Scope) -> set[str]:
        """Solve, and return when the scene shows it; for scripts and background mode."""
        if not self._start(context, scope):
            return {"CANCELLED"}
        while not self._run.step(work_s=float("inf")):
            time.sleep(POLL_S)
        return self._end(context)

    def look(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One look at the solve that goes on, as `modal`."""
        run = self._run
        if run is None or run is not current_run():
            # A newer solve has taken over, or undo has taken away what this one was of.
            self._remove_timer(context)
            return {"FINISHED"} if current_run() is not None else {"CANCELLED"}
        is_long = run.scope == "whole" and not run.is_finished
        if event.type == "ESC" and event.value == "PRESS" and is_long:
            run.cancel()
            redraw()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        is_finished = run.step()
        now = time.monotonic()
        if is_finished or now - self._drawn_at > REDRAW_S:
            self._drawn_at = now
            redraw()
        return self._end(context) if is_finished else {"PASS_THROUGH"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One look."""
        return self.look(context, event)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or loads another file."""
        self._remove_timer(context)
        if self._run is not None and not self._run.is_finished:
            self._run.close()

    def _start(self, context: bpy.types.Context, scope: Scope) -> bool:
        try:
            self._run = start(context, scope)
        except (ValueError, BackendError) as error:
            self.report({"ERROR"}, str(error))
            return False
        return True

    def _end(self, context: bpy.types.Context) -> set[str]:
        self._remove_timer(context)
        problem = self._run.problem
        if problem is not None:
            self.report({"ERROR"}, problem.report)
        # Finished, however it ended: what was set stays, and undo must know.
        return {"FINISHED"}

    def _remove_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
