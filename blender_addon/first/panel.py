# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels and the preferences draw of the backend: its state, a sample, what failed."""

from __future__ import annotations

import bpy

from .. import backend_process
from ..backend_process import BackendError
from ..runtime import preferences, runtime
from ..text import draw_text
from ..translations import iface
from .facts import covering_objects, is_outdated, known_device

BACKEND_CODES = ("no_backend", "unauthorised", "missing_weights", "protocol")
"""Problems that are mended in the preferences."""
NOT_YET = "Mien's backend, which tracks, is not installed yet."


def draw_installation(layout: bpy.types.UILayout, context: bpy.types.Context) -> bool:
    """Draw how far an installation is; returns whether there is one that runs."""
    installation = runtime.installation
    if installation is None or installation.is_finished:
        return False
    step = iface(
        "Step {step} of {count}", step=max(installation.step, 1), count=installation.n_steps
    )
    layout.progress(factor=installation.fraction, text=f"{installation.fraction:.0%}")
    draw_text(layout, f"{step}: {installation.status}", context)
    layout.operator("mien.cancel_install", icon="CANCEL")
    return True


def draw_installation_failure(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Say why the last installation failed."""
    installation = runtime.installation
    if installation is not None and installation.error:
        draw_text(layout, installation.error, context, icon="ERROR")
        layout.operator("mien.copy_report", icon="COPYDOWN")


def draw_backend(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Say at the top of the panel where there is no backend yet, or not the right one."""
    addon = preferences(context)
    if addon.mode != "LOCAL":
        return
    installation = runtime.installation
    if installation is not None and not installation.is_finished:
        draw_installation(layout.box(), context)
        return
    if runtime.backend is not None:
        return
    try:
        backend_process.find_backend(bpy.path.abspath(addon.backend_path))
    except BackendError as error:
        box = layout.box()
        if installation is not None and installation.error:
            draw_installation_failure(box, context)
        else:
            text = str(error) if addon.backend_path else NOT_YET
            draw_text(box, text, context, icon="INFO")
        column = box.column(align=True)
        column.operator("mien.install_backend", icon="IMPORT")
        column.operator("mien.preferences", text="Other Ways", icon="PREFERENCES")
        return
    if not addon.backend_path and is_outdated():
        box = layout.box()
        text = "The installed backend is of another release of Mien."
        draw_text(box, text, context, icon="ERROR")
        box.operator("mien.install_backend", text="Install Again", icon="FILE_REFRESH")


def draw_try_it(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Offer the sample where no clip has been chosen."""
    column = layout.box().column(align=True)
    column.label(text="No clip at hand? Try a sample", icon="FILE_MOVIE")
    row = column.row(align=True)
    row.operator("mien.try_it", text="Try It: Preview").quality = "preview"
    row.operator("mien.try_it", text="Try It: Final").quality = "final"


def draw_device(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Name what the backend computes on."""
    device = known_device(context)
    if device:
        row = layout.row()
        row.active = False
        row.label(text=device, icon="MEMORY")


def draw_problem(
    layout: bpy.types.UILayout, context: bpy.types.Context, code: str, message: str, advice: str
) -> None:
    """Say what happened and what to do, with the buttons that help."""
    box = layout.box()
    clip = context.scene.mien.clip
    if clip is not None:
        # The clip's name is in the panel: its folders only make the message long.
        path = bpy.path.abspath(clip.filepath)
        message = message.replace(path, bpy.path.basename(path))
    draw_text(box, message, context, icon="ERROR")
    draw_text(box, advice, context)
    row = box.row(align=True)
    if code in BACKEND_CODES:
        row.operator("mien.preferences", text="Preferences", icon="PREFERENCES")
    row.operator("mien.copy_report", icon="COPYDOWN")


def draw_covering(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Say what hides the clip from the camera, and offer to hide it."""
    objects = covering_objects(context)
    if objects:
        box = layout.box()
        names = ", ".join(item.name for item in objects[:3])
        draw_text(
            box,
            iface("The camera is inside of {names}, which hides the clip.", names=names),
            context,
            "INFO",
        )
        box.operator("mien.hide_in_front", text="Hide It", icon="HIDE_ON")
