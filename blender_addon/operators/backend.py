# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, remove, check and stop the backend."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
from bpy.props import EnumProperty

from .. import backend_process
from ..backend_process import BackendError, Installation, InstallPlan
from ..client import JobClient
from ..runtime import ensure_backend, preferences, redraw, runtime, stop_backend
from ..shared.messages import DiagnosticJob
from ..shot import ShotReceiver
from ..text import draw_text

POLL_S = 0.25


def backend_wheel() -> Path:
    """Return the backend's wheel inside the add-on. Raises `BackendError`."""
    wheels = sorted((Path(__file__).parents[1] / "backend_wheel").glob("mien-*.whl"))
    if not wheels:
        raise BackendError("This add-on was built without the backend: install the released zip.")
    return wheels[-1]


def installation_python(chosen: str) -> Path:
    """Return the Python that makes the private environment: the chosen one, or Blender's."""
    return Path(bpy.path.abspath(chosen)).expanduser() if chosen else Path(sys.executable)


def poll_installation() -> float | None:
    """One look at the installation; returns when to look again, as Blender's timers want it."""
    installation = runtime.installation
    if installation is None:
        return None
    if installation.poll():
        redraw()
    return None if installation.is_finished else POLL_S


def poll_check() -> float | None:
    """One look at the connection test."""
    check = runtime.check
    if check is None:
        return None
    check.poll()
    redraw()
    return None if check.is_finished else POLL_S


class MIEN_OT_install_backend(bpy.types.Operator):
    """Download the tracking backend into a folder of its own; nothing else is changed"""

    bl_idname = "mien.install_backend"
    bl_label = "Install Backend"

    compute: EnumProperty(
        name="Compute",
        items=(
            ("cpu", "Processor", "Works on every computer"),
            ("cuda", "NVIDIA GPU", "Much faster, where there is an NVIDIA graphics card"),
        ),
        default="cpu",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_props_dialog(
            self, width=460, title="Install the Mien Backend?", confirm_text="Install"
        )

    def draw(self, context: bpy.types.Context) -> None:
        """Say what happens, before the user agrees."""
        layout = self.layout
        offline = preferences(context).wheel_folder
        if sys.platform != "darwin":
            layout.prop(self, "compute", expand=True)
        size = backend_process.download_size(self.compute)
        lines = [
            f"From the folder {offline}." if offline else f"{size[0].upper()}{size[1:]}.",
            "" if offline else "From the Python Package Index (pypi.org) and pytorch.org.",
            f"To {backend_process.environment_directory()}",
            "Nothing outside of this folder is changed; Remove deletes it.",
        ]
        for line in filter(None, lines):
            layout.label(text=line)
        if not offline and not bpy.app.online_access:
            draw_text(layout, ONLINE_ACCESS, context, icon="ERROR")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the installation."""
        settings = preferences(context)
        if runtime.installation is not None and not runtime.installation.is_finished:
            self.report({"ERROR"}, "The backend is being installed already.")
            return {"CANCELLED"}
        folder = bpy.path.abspath(settings.wheel_folder) if settings.wheel_folder else ""
        if not folder and not bpy.app.online_access:
            self.report({"ERROR"}, ONLINE_ACCESS)
            return {"CANCELLED"}
        try:
            wheel = backend_wheel()
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        # A backend that runs from the old environment holds its files open.
        stop_backend()
        runtime.installation = Installation(
            InstallPlan(
                wheel=wheel,
                python=installation_python(settings.python),
                directory=backend_process.environment_directory(),
                compute=self.compute,
                wheel_folder=Path(folder) if folder else None,
            )
        )
        if not bpy.app.timers.is_registered(poll_installation):
            bpy.app.timers.register(poll_installation, persistent=True)
        return {"FINISHED"}


ONLINE_ACCESS = (
    "Blender may not use the internet: switch on Preferences > System > Network > Allow Online "
    "Access, or choose a folder of offline packages."
)


class MIEN_OT_cancel_install(bpy.types.Operator):
    """Stop the installation and delete what it has installed so far"""

    bl_idname = "mien.cancel_install"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop."""
        if runtime.installation is not None:
            runtime.installation.cancel()
        return {"FINISHED"}


class MIEN_OT_remove_backend(bpy.types.Operator):
    """Delete the backend that Mien has installed"""

    bl_idname = "mien.remove_backend"
    bl_label = "Remove"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop it and delete its folder."""
        stop_backend()
        runtime.installation = None
        try:
            backend_process.remove_environment()
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class MIEN_OT_check_backend(bpy.types.Operator):
    """Start the backend or connect to it, and run a small job there"""

    bl_idname = "mien.check_backend"
    bl_label = "Check"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the test."""
        if runtime.check is not None:
            runtime.check.close()
        try:
            endpoint = ensure_backend(preferences(context))
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        job = DiagnosticJob(steps=2, size=8)
        runtime.check = JobClient(endpoint, job, ShotReceiver((1, 1)), connect_timeout_s=60.0)
        if not bpy.app.timers.is_registered(poll_check):
            bpy.app.timers.register(poll_check, persistent=True)
        return {"FINISHED"}


class MIEN_OT_stop_backend(bpy.types.Operator):
    """End the backend that this Blender has started; it starts again when it is needed"""

    bl_idname = "mien.stop_backend"
    bl_label = "Stop Backend"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop it."""
        stop_backend()
        return {"FINISHED"}


class MIEN_OT_preferences(bpy.types.Operator):
    """Open Mien's preferences"""

    bl_idname = "mien.preferences"
    bl_label = "Mien Preferences"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show the add-on in the Preferences window."""
        module = __package__.rpartition(".")[0]
        return bpy.ops.preferences.addon_show(module=module)


CLASSES = (
    MIEN_OT_install_backend,
    MIEN_OT_cancel_install,
    MIEN_OT_remove_backend,
    MIEN_OT_check_backend,
    MIEN_OT_stop_backend,
    MIEN_OT_preferences,
)


def register() -> None:
    """Add the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Stop the timers and take the operators away."""
    for timer in (poll_installation, poll_check):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
