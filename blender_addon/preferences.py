# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the backend is: on this computer, installed by Mien or by hand, or somewhere else."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, StringProperty

from . import backend_process
from .backend_process import BackendError
from .first.facts import has_nvidia, is_outdated, known_device
from .first.panel import NOT_YET, draw_installation, draw_installation_failure, draw_problem
from .runtime import runtime
from .text import draw_text
from .translations import iface


def _forget_device(self: MienPreferences, context: bpy.types.Context) -> None:
    """Another backend may compute on something else."""
    self.device = ""


class MienPreferences(bpy.types.AddonPreferences):
    """The add-on's preferences."""

    bl_idname = __package__

    mode: EnumProperty(
        name="Backend",
        description="Where the backend runs, which tracks",
        items=(
            ("LOCAL", "This Computer", "Start the backend on this computer when it is needed"),
            ("CONNECT", "Connect", "Use a backend that runs already, here or elsewhere"),
        ),
        default="LOCAL",
        update=_forget_device,
    )
    backend_path: StringProperty(
        name="Installed At",
        description="A mien program, a Python that has the backend, or the folder of its virtual "
        "environment; empty to use the one that Mien has installed, or the one on the PATH",
        subtype="FILE_PATH",
        update=_forget_device,
    )
    python: StringProperty(
        name="Python",
        description="Python 3.11 to 3.13 to install with; empty for the one inside Blender",
        subtype="FILE_PATH",
    )
    wheel_folder: StringProperty(
        name="Offline Packages",
        description="Install from this folder of wheels instead of the internet",
        subtype="DIR_PATH",
    )
    address: StringProperty(
        name="Address",
        description="Address such as tcp://host:5555, or a connection file that the backend has "
        "written; empty for this user's own (mien serve)",
        update=_forget_device,
    )
    token: StringProperty(
        name="Token", description="The token that goes with the address", subtype="PASSWORD"
    )
    server_key: StringProperty(
        name="Server Key", description="The server's public key, where it encrypts"
    )
    key_file: StringProperty(
        name="Your Key File",
        description="Your own key file (mien serve --make-key FILE), where the server encrypts",
        subtype="FILE_PATH",
    )

    device: StringProperty(
        name="Device",
        description="What the backend has said that it computes on",
        options={"HIDDEN"},
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        self.draw_in(self.layout, context)

    def draw_in(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        """Draw the preferences in a layout."""
        layout.use_property_split = True
        row = layout.row()
        row.prop(self, "mode", expand=True)
        if self.mode == "LOCAL":
            self._draw_local(layout, context)
        else:
            layout.prop(self, "address")
            layout.prop(self, "token")
            layout.prop(self, "server_key")
            layout.prop(self, "key_file")
        self._draw_check(layout, context)

    def _draw_local(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        layout.prop(self, "backend_path")
        box = layout.box()
        if draw_installation(box, context):
            for line in list(runtime.installation.lines)[-3:]:
                draw_text(box, line, context)
            return
        try:
            command = backend_process.find_backend(bpy.path.abspath(self.backend_path))
            draw_text(box, iface("Found: {program}", program=command[0]), context, icon="CHECKMARK")
        except BackendError as error:
            text = str(error) if self.backend_path else NOT_YET
            draw_text(box, text, context, icon="INFO")
        draw_installation_failure(box, context)
        is_there = backend_process.is_installed()
        if is_there and is_outdated():
            text = "The installed backend is of another release of Mien: install it again."
            draw_text(box, text, context, icon="ERROR")
        box.prop(self, "python")
        box.prop(self, "wheel_folder")
        row = box.row()
        if is_there:
            row.operator("mien.install_backend", text="Install Again", icon="FILE_REFRESH")
            row.operator("mien.remove_backend", icon="TRASH")
        else:
            row.operator("mien.install_backend", icon="IMPORT")

    def _draw_check(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        check = runtime.check
        device = known_device(context)
        if check is not None and not check.is_finished:
            draw_text(layout, "Waiting for the backend", context, icon="TIME")
        elif check is not None and check.problem is not None:
            problem = check.problem
            draw_problem(layout, context, problem.code, problem.message, problem.advice)
        elif device:
            draw_text(
                layout,
                iface("The backend works, on {device}.", device=device),
                context,
                icon="CHECKMARK",
            )
            if self.mode == "LOCAL" and "CPU" in device and has_nvidia():
                text = (
                    "Blender draws with an NVIDIA card, which the backend does not use: choose "
                    "NVIDIA GPU in Install Again."
                )
                draw_text(layout, text, context, icon="INFO")
        row = layout.row()
        row.operator("mien.check_backend", icon="FILE_REFRESH")
        if runtime.backend is not None:
            row.operator("mien.stop_backend", icon="CANCEL")
        row.operator("mien.copy_report", icon="COPYDOWN")


def register() -> None:
    """Add the preferences."""
    bpy.utils.register_class(MienPreferences)


def unregister() -> None:
    """Take the preferences away."""
    bpy.utils.unregister_class(MienPreferences)
