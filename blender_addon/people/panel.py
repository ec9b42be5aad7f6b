# SPDX-License-Identifier: GPL-3.0-or-later
"""The people of the clip, in the "Mien" tab of both editors."""

from __future__ import annotations

import bpy

from ..scene.footage import index_to_frame
from ..text import draw_text
from ..translations import iface
from .faces import face_icon


class MIEN_UL_people(bpy.types.UIList):
    """One line for each person: their name, and how often they are seen"""

    def draw_item(self, context, layout, data, item, icon, active_data, active_propname, index):
        """Draw a person."""
        row = layout.row(align=True)
        face = face_icon(item.key)
        if face:
            row.prop(item, "name", text="", emboss=False, icon_value=face)
        else:
            row.prop(item, "name", text="", emboss=False, icon="USER")
        if item.collection is not None:
            row.label(text="", icon="CHECKMARK")
        row.label(
            text=item.seen or iface("frame {number}", number=item.frame + index_to_frame(item.clip))
        )


class _PeoplePanel:
    bl_label = "People"
    bl_region_type = "UI"
    bl_category = "Mien"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list and its buttons."""
        layout, people = self.layout, context.scene.mien_people
        row = layout.row(align=True)
        row.operator("mien.find_people", icon="VIEWZOOM").whole_clip = True
        if context.space_data is not None and context.space_data.type == "CLIP_EDITOR":
            row.operator("mien.pick_person", icon="EYEDROPPER")
        if not people.items:
            draw_text(layout, "Without a choice, whoever has the largest face is tracked.", context)
            return
        row = layout.row()
        row.template_list("MIEN_UL_people", "", people, "items", people, "index", rows=3)
        row.column(align=True).operator("mien.person_remove", text="", icon="REMOVE")
        row = layout.row(align=True)
        row.operator("mien.track_people", text="Track Person", icon="TRACKER").who = "PERSON"
        row.operator("mien.track_people", text="Track All").who = "ALL"
        if 0 <= people.index < len(people.items):
            layout.prop(people.items[people.index], "collection")


class MIEN_PT_people_view3d(_PeoplePanel, bpy.types.Panel):
    """Who is tracked, in the 3D view"""

    bl_space_type = "VIEW_3D"


class MIEN_PT_people_clip(_PeoplePanel, bpy.types.Panel):
    """Who is tracked, in the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"


CLASSES = (MIEN_UL_people, MIEN_PT_people_view3d, MIEN_PT_people_clip)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
