# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Mien" tab in the 3D view and in the Movie Clip Editor."""

from __future__ import annotations

import bpy

from .first.panel import (
    draw_backend,
    draw_covering,
    draw_device,
    draw_problem,
    draw_try_it,
)
from .rig_list import draw_rig
from .runtime import runtime
from .scene.camera import shown_clip
from .scene.datablocks import find_object
from .scene.footage import clip_size
from .scene.material import (
    SHOW_ALPHA_NODE,
    SHOW_VISIBLE_NODE,
    USE_SEQUENCE_NODE,
    find_relight,
    find_value,
)
from .scene.visibility import PERCENT
from .text import draw_text
from .translations import CONTEXT, iface


class _Panel:
    """What the panels of both editors have in common."""

    bl_region_type = "UI"
    bl_category = "Mien"


class _TrackPanel(_Panel):
    bl_label = "Track"
    bl_translation_context = CONTEXT

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings, or the progress while tracking."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.mien
        run = runtime.run
        running = run is not None and not run.is_finished

        draw_backend(layout, context)
        column = layout.column()
        column.enabled = not running
        column.template_ID(settings, "clip", open="mien.open_clip")
        shown = getattr(context.space_data, "clip", None)
        if shown is not None and shown != settings.clip:
            column.operator("mien.use_clip", icon="FILE_MOVIE")
        clip = settings.clip
        if clip is not None:
            width, height = clip_size(clip)
            rate = f", {clip.fps:.5g} fps" if clip.fps > 0 else ""
            column.label(
                text=iface(
                    "{width} x {height}, {count} frames{rate}",
                    width=width,
                    height=height,
                    count=clip.frame_duration,
                    rate=rate,
                )
            )
        elif not running:
            draw_try_it(column, context)
        row = column.row(heading="Range")
        row.prop(settings, "use_range", text="")
        sub = row.row(align=True)
        sub.active = settings.use_range
        sub.use_property_split = False
        sub.prop(settings, "frame_start")
        sub.prop(settings, "frame_end")
        column.prop(settings, "quality")
        column.prop(settings, "focal_mode")
        if settings.focal_mode == "FIXED":
            column.prop(settings, "focal_mm", text="Lens")
            column.prop(settings, "sensor_mm")
        elif settings.focal_mode == "CLIP" and clip is not None:
            camera = clip.tracking.camera
            column.label(text=f"{camera.focal_length:.4g} mm of {camera.sensor_width:.4g} mm")
        draw_rig(column, settings)
        column.prop(settings, "texture_size")
        column.prop(settings, "set_scene")

        if not running:
            _draw_replaced(layout, context)
        if running:
            layout.progress(factor=run.fraction, text=run.status)
            layout.operator("mien.cancel", icon="CANCEL")
        else:
            row = layout.row()
            row.scale_y = 1.5
            row.operator("mien.track", icon="TRACKER")
        draw_device(layout, context)
        _draw_outcome(layout, context)


def _draw_replaced(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Warn where the next run replaces the result of another clip."""
    settings = context.scene.mien
    camera = None if settings.collection is None else find_object(settings.collection, "camera")
    shown = None if camera is None else shown_clip(camera.data)
    if settings.clip is None or shown is None or shown == settings.clip:
        return
    box = layout.box()
    text = iface(
        "Track replaces {name}, which is of the clip {clip}.",
        name=settings.collection.name,
        clip=shown.name,
    )
    draw_text(box, text, context, icon="ERROR")
    box.operator("mien.new_result", text="Keep It, Make a New Result", icon="DUPLICATE")


def _draw_outcome(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    run = runtime.run
    if run is None or not run.is_finished:
        return
    if run.problem is not None:
        problem = run.problem
        draw_problem(layout, context, problem.code, problem.message, problem.advice)
    elif run.phase == "cancelled":
        draw_text(layout, "Stopped. What had arrived stays in the scene.", context, icon="INFO")
    elif run.warning:
        draw_text(layout, run.warning, context, icon="ERROR")
    else:
        draw_text(layout, run.summary, context, icon="CHECKMARK")


class _ResultPanel(_Panel):
    bl_label = "Result"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is a result, or something to import."""
        return context.scene is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what can be done with the result."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.mien
        layout.operator("mien.import_track", icon="IMPORT")
        layout.prop(settings, "collection")
        collection = settings.collection
        if collection is None:
            return
        draw_covering(layout, context)
        camera, head = find_object(collection, "camera"), find_object(collection, "head")
        if camera is not None:
            layout.prop(camera.data, "lens", text="Solved Lens")
            for image in camera.data.background_images:
                if image.source == "MOVIE_CLIP":
                    layout.prop(image, "alpha", text="Clip Opacity", slider=True)
                    break
        relight = find_relight(head) if head is not None else None
        if relight is not None:
            layout.prop(relight, "default_value", text="Relight")


class _TexturePanel(_Panel):
    bl_label = "Texture and Light"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a head."""
        collection = context.scene.mien.collection
        return collection is not None and find_object(collection, "head") is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what the material shows, and what is made of texture and light."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        head = find_object(context.scene.mien.collection, "head")
        if head is None:
            return
        column = layout.column(align=True)
        for name, text in (
            (SHOW_ALPHA_NODE, "Show Measured"),
            (SHOW_VISIBLE_NODE, "Show Visible"),
            (USE_SEQUENCE_NODE, "Sequence"),
        ):
            value = find_value(head, name)
            if value is not None:
                column.prop(value, "default_value", text=text)
        column = layout.column(align=True)
        column.operator("mien.load_sequence", icon="RENDER_ANIMATION")
        column.operator("mien.seen_group", icon="GROUP_VERTEX").percent = head.get(PERCENT, 50.0)
        column.operator("mien.shot_light", icon="WORLD")


class MIEN_PT_track_view3d(_TrackPanel, bpy.types.Panel):
    """Track a face, from the 3D view"""

    bl_space_type = "VIEW_3D"


class MIEN_PT_track_clip(_TrackPanel, bpy.types.Panel):
    """Track a face, from the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"


class MIEN_PT_result_view3d(_ResultPanel, bpy.types.Panel):
    """The result, in the 3D view"""

    bl_space_type = "VIEW_3D"


class MIEN_PT_result_clip(_ResultPanel, bpy.types.Panel):
    """The result, in the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"


class MIEN_PT_texture_view3d(_TexturePanel, bpy.types.Panel):
    """What the material shows, in the 3D view"""

    bl_space_type = "VIEW_3D"
    bl_parent_id = "MIEN_PT_result_view3d"


class MIEN_PT_texture_clip(_TexturePanel, bpy.types.Panel):
    """What the material shows, in the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"
    bl_parent_id = "MIEN_PT_result_clip"


CLASSES = (
    MIEN_PT_track_view3d,
    MIEN_PT_result_view3d,
    MIEN_PT_texture_view3d,
    MIEN_PT_track_clip,
    MIEN_PT_result_clip,
    MIEN_PT_texture_clip,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
