# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, remove, check and stop the backend."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
from bpy.props import EnumProperty

from .. import backend_process
from ..backend_process import BackendError
from ..client import JobClient
from ..first.facts import backend_wheel, graphics_card, has_nvidia
from ..first.installing import Installation, InstallPlan, wheels_in, why_not
from ..first.sizes import install_size, lack_of_space, size_text
from ..runtime import ensure_backend, preferences, redraw, runtime, stop_backend
from ..shared.messages import DiagnosticJob
from ..shot import ShotReceiver
from ..text import draw_text
from ..translations import iface

POLL_S = 0.25
DIALOG_WIDTH = 460
"""Width of the question before an installation, in pixels at scale 1."""


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
    if not installation.is_finished:
        return POLL_S
    if installation.error is None:
        # Whoever has installed it wants to know whether it works, and on what.
        try:
            start_check()
        except BackendError as error:
            installation.error = str(error)
            redraw()
    return None


def poll_check() -> float | None:
    """One look at the connection test."""
    check = runtime.check
    if check is None:
        return None
    check.poll()
    redraw()
    if not check.is_finished:
        return POLL_S
    if check.device:
        preferences().device = check.device
    return None


def start_check() -> None:
    """Run a small job at the backend, which names its device. Raises `BackendError`."""
    if runtime.check is not None:
        runtime.check.close()
    endpoint = ensure_backend(preferences())
    job = DiagnosticJob(steps=2, size=8, name_device=True)
    runtime.check = JobClient(endpoint, job, ShotReceiver((1, 1)), connect_timeout_s=60.0)
    if not bpy.app.timers.is_registered(poll_check):
        bpy.app.timers.register(poll_check, persistent=True)


class MIEN_OT_install_backend(bpy.types.Operator):
    """Download the tracking backend into a folder of its own; nothing else is changed"""

    bl_idname = "mien.install_backend"
    bl_label = "Install Backend"

    compute: EnumProperty(
        name="Compute",
        description="What the backend computes on",
        items=(
            ("cpu", "Processor", "Works on every computer"),
            ("cuda", "NVIDIA GPU", "Much faster, where there is an NVIDIA graphics card"),
        ),
        default="cpu",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first, with the kind that suits this computer chosen."""
        if not self.properties.is_property_set("compute"):
            self.compute = "cuda" if has_nvidia() and sys.platform != "darwin" else "cpu"
        return context.window_manager.invoke_props_dialog(
            self, width=DIALOG_WIDTH, title="Install the Mien Backend?", confirm_text="Install"
        )

    def draw(self, context: bpy.types.Context) -> None:
        """Say what happens, before the user agrees."""
        layout = self.layout
        problem = why_not()
        if problem:
            draw_text(layout, problem, context, icon="ERROR", width=DIALOG_WIDTH)
            return
        offline = preferences(context).wheel_folder
        card = graphics_card()
        if card:
            text = iface("Blender draws with: {card}", card=card)
            draw_text(layout, text, context, icon="INFO", width=DIALOG_WIDTH)
        if sys.platform != "darwin":
            layout.prop(self, "compute", expand=True)
        size, folder = install_size(self.compute), backend_process.environment_directory()
        lines = [
            size_text(size, bool(offline)),
            iface("From the folder {offline}.", offline=offline)
            if offline
            else "From the Python Package Index (pypi.org) and pytorch.org.",
            f"To {folder}",
            "Nothing outside of this folder is changed; Remove deletes it.",
        ]
        for line in lines:
            draw_text(layout, line, context, width=DIALOG_WIDTH)
        lack = lack_of_space(size, folder, bool(offline))
        if lack:
            draw_text(layout, lack, context, icon="ERROR", width=DIALOG_WIDTH)
        if not offline and not bpy.app.online_access:
            text = "Blender does not use the internet unless you allow it:"
            draw_text(layout, text, context, icon="ERROR", width=DIALOG_WIDTH)
            if bpy.app.online_access_override:
                draw_text(layout, ONLINE_ACCESS, context, width=DIALOG_WIDTH)
            else:
                layout.prop(context.preferences.system, "use_online_access")

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
            problem = why_not() or lack_of_space(
                install_size(self.compute), backend_process.environment_directory(), bool(folder)
            )
            if problem:
                raise BackendError(problem)
            if folder:
                wheels_in(Path(folder))
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
        try:
            start_check()
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
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
