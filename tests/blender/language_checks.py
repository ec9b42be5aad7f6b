"""What Blender shows in German; run by a Blender that has its translations: `blender -b --python`.

Arguments after `--`: the extension's zip, and where to write the answer (JSON).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy

archive, answer = sys.argv[sys.argv.index("--") + 1 :]
view = bpy.context.preferences.view
view.language = "de_DE"
view.use_translate_interface = view.use_translate_tooltips = view.use_translate_reports = True
bpy.ops.extensions.package_install_files(
    filepath=archive, repo="user_default", enable_on_install=True, overwrite=True
)
translations = bpy.app.translations
told = ""
try:
    bpy.context.scene.mien.clip = bpy.data.movieclips.load(str(Path(archive).with_name("clip.mp4")))
    bpy.context.scene.mien.use_range = True
    bpy.context.scene.mien.frame_start, bpy.context.scene.mien.frame_end = 50, 60
    bpy.ops.mien.track()
except RuntimeError as error:
    told = str(error)
track = bpy.types.MIEN_PT_track_view3d
operator = bpy.ops.mien.track.get_rna_type()
found = {
    "blender": bpy.app.version_string,
    "operator": translations.pgettext_iface(operator.name, operator.translation_context),
    "tooltip": translations.pgettext_tip(operator.description),
    "panel": translations.pgettext_iface(track.bl_label, track.bl_translation_context),
    "property": translations.pgettext_iface("Lock Identity"),
    "field_of_view": translations.pgettext_iface(
        "Field of View",
        bpy.context.scene.mien_live.bl_rna.properties["field_of_view"].translation_context,
    ),
    "report": told,
}
bpy.ops.preferences.addon_disable(module="bl_ext.user_default.mien")
found["afterwards"] = translations.pgettext_iface("Lock Identity")
Path(answer).write_text(json.dumps(found), "utf-8")
