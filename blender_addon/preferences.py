# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the backend is: on this computer, installed by Mien or by hand, or somewhere else."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, StringProperty

from . import backend_process
from .backend_process import BackendError
from .runtime import runtime
from .text import draw_text


class MienPreferences(bpy.types.AddonPreferences):
    """The add-on's preferences."""

    bl_idname = __package__

    mode: EnumProperty(
        name="Backend",
        items=(
            ("LOCAL", "This Computer", "Start the backend on this computer when it is needed"),
            ("CONNECT", "Connect", "Use a backend that runs already, here or elsewhere"),
        ),
        default="LOCAL",
    )
    backend_path: StringProperty(
        name="Installed At",
        description="A mien program, a Python that has the backend, or the folder of its virtual "
        "environment; empty to use the one that Mien has installed, or the one on the PATH",
        subtype="FILE_PATH",
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

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        self.draw_in(self.layout, context)

    def draw_in(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        """Draw the preferences in a layout."""
        layout.use_property_split = True
        layout.prop(self, "mode", expand=True)
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
        try:
            command = backend_process.find_backend(bpy.path.abspath(self.backend_path))
            draw_text(layout, f"Found: {command[0]}", context, icon="CHECKMARK")
        except BackendError as error:
            draw_text(layout, str(error), context, icon="ERROR")
        box = layout.box()
        installation = runtime.installation
        if installation is not None and not installation.is_finished:
            text = f"{installation.title} ({installation.step} of {installation.n_steps})"
            box.progress(factor=(installation.step - 0.5) / max(installation.n_steps, 1), text=text)
            for line in list(installation.lines)[-4:]:
                draw_text(box, line, context)
            box.operator("mien.cancel_install", icon="CANCEL")
            return
        if installation is not None and installation.error:
            draw_text(box, installation.error, context, icon="ERROR")
        box.prop(self, "python")
        box.prop(self, "wheel_folder")
        row = box.row()
        if backend_process.is_installed():
            row.operator("mien.install_backend", text="Install Again", icon="FILE_REFRESH")
            row.operator("mien.remove_backend", icon="TRASH")
        else:
            row.operator("mien.install_backend", icon="IMPORT")

    def _draw_check(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        row = layout.row()
        row.operator("mien.check_backend", icon="FILE_REFRESH")
        if runtime.backend is not None:
            row.operator("mien.stop_backend", icon="CANCEL")
        check = runtime.check
        if check is None:
            return
        if not check.is_finished:
            draw_text(layout, "Waiting for the backend", context, icon="TIME")
        elif check.problem is not None:
            draw_text(layout, check.problem.message, context, icon="ERROR")
            draw_text(layout, check.problem.advice, context)
        else:
            devices = ", ".join(check.devices) or "its default device"
            draw_text(layout, f"The backend works, on {devices}.", context, icon="CHECKMARK")


def register() -> None:
    """Add the preferences."""
    bpy.utils.register_class(MienPreferences)


def unregister() -> None:
    """Take the preferences away."""
    bpy.utils.unregister_class(MienPreferences)
