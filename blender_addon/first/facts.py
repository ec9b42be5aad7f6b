# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender and Mien know of themselves, for the report and the panels."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bpy

from .. import backend_process
from ..backend_process import BackendError
from ..client import JobClient
from ..runtime import preferences, runtime
from ..scene.datablocks import find_object
from ..scene.footage import clip_size
from ..shared.version import PROTOCOL_MAJOR, PROTOCOL_MINOR, __version__
from .report import LOG_LINES, Section, host_kind, report_text

SECRETS = ("token", "server_key", "key_file")
"""Preferences that a report must not show."""
SETTINGS = (
    "quality", "focal_mode", "focal_mm", "sensor_mm", "use_range", "frame_start", "frame_end",
    "texture_size", "use_rig", "set_scene",
)  # fmt: skip
"""Settings of a track that say how it was asked for, where this Mien has them."""


def backend_wheel() -> Path:
    """Return the backend's wheel inside the add-on. Raises `BackendError`."""
    wheels = sorted((Path(__file__).parents[1] / "backend_wheel").glob("mien-*.whl"))
    if not wheels:
        raise BackendError("This add-on was built without the backend: install the released zip.")
    return wheels[-1]


def graphics_card() -> str:
    """Return the name of the graphics card that Blender draws with; empty where it draws none."""
    if bpy.app.background:
        return ""
    import gpu

    try:
        return str(gpu.platform.renderer_get())
    except SystemError:
        return ""


def has_nvidia() -> bool:
    """Whether Blender draws with an NVIDIA card."""
    return "nvidia" in graphics_card().lower()


def has_backend(context: bpy.types.Context) -> bool:
    """Whether there is a backend to start, or one to connect to is chosen."""
    addon = preferences(context)
    if addon.mode == "CONNECT" or runtime.backend is not None:
        return True
    try:
        return bool(backend_process.find_backend(bpy.path.abspath(addon.backend_path)))
    except BackendError:
        return False


def known_device(context: bpy.types.Context) -> str:
    """Return what the backend computes on, where it has said so; otherwise an empty text."""
    return JobClient.last_device or preferences(context).device


MANY = 500
"""Objects of a scene above which nobody looks which of them cover the clip."""


def covering_objects(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Return the visible meshes whose box the result's camera is in, the result's own apart.

    The camera of a first result stands at the origin, where a new file has its cube.
    """
    collection = context.scene.mien.collection
    camera = None if collection is None else find_object(collection, "camera")
    if camera is None or len(context.visible_objects) > MANY:
        return []
    own, place = set(collection.all_objects), camera.matrix_world.translation
    found = []
    for item in context.visible_objects:
        if item.type != "MESH" or item in own or item.display_type in {"WIRE", "BOUNDS"}:
            continue
        try:
            local = item.matrix_world.inverted() @ place
        except ValueError:
            continue  # It is flat.
        corners = list(zip(*item.bound_box, strict=True))
        inside = (min(c) < x < max(c) for c, x in zip(corners, local, strict=True))
        if all(inside):
            found.append(item)
    return found


def is_outdated() -> bool:
    """Whether Mien has installed the backend of another release."""
    installed = backend_process.installed_from()
    try:
        return installed is not None and installed != backend_wheel().name
    except BackendError:
        return False


def full_report(context: bpy.types.Context) -> str:
    """Return the report of this Blender, this scene and the last run."""
    addon, scene = preferences(context), context.scene
    sections = [
        Section("Versions", _versions()),
        Section("Backend", _backend(context, addon)),
        Section("Settings", _settings(scene)),
        Section("Last run", _run()),
    ]
    installation = runtime.installation
    if installation is not None:
        outcome = installation.error or ("done" if installation.is_finished else "running")
        lines = [f"outcome: {outcome}", *list(installation.lines)[-LOG_LINES:]]
        sections.append(Section("Installation", lines))
    log = runtime.backend.log[-LOG_LINES:] if runtime.backend is not None else runtime.last_log
    where = [] if log else ["The backend was not started by this Blender: its log is where it runs"]
    sections.append(Section("The backend's last lines", log[-LOG_LINES:] or where))
    return report_text(sections, Path.home(), _private(addon, scene))


def _versions() -> list[str]:
    build = bpy.app.build_hash.decode("utf-8", "replace")
    return [
        f"time: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"Blender: {bpy.app.version_string} ({build})",
        f"Mien: {__version__}, protocol {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
        f"system: {platform.platform()}, {platform.machine()}, Python {platform.python_version()}",
        f"graphics card of Blender: {graphics_card() or 'none (background)'}",
        f"online access: {'on' if bpy.app.online_access else 'off'}",
    ]


def _backend(context: bpy.types.Context, addon: Any) -> list[str]:
    lines = [f"mode: {addon.mode}"]
    if addon.mode == "CONNECT":
        lines.append(f"at: {host_kind(addon.address)}, encrypted: {bool(addon.server_key)}")
    else:
        try:
            command = backend_process.find_backend(bpy.path.abspath(addon.backend_path))
            lines.append(f"command: {' '.join(command)}")
        except BackendError as error:
            lines.append(f"not found: {error}")
        lines.append(f"installed from: {backend_process.installed_from() or 'not by Mien'}")
        running = runtime.backend is not None and runtime.backend.is_running
        lines.append(f"running: {'yes' if running else 'no'}")
    lines.append(f"device: {known_device(context) or 'not known: press Check'}")
    check = runtime.check
    if check is not None and check.problem is not None:
        lines.append(f"check: {check.problem.code}: {check.problem.message}")
    return lines


def _settings(scene: bpy.types.Scene) -> list[str]:
    settings = scene.mien
    lines = [f"{name}: {getattr(settings, name)}" for name in SETTINGS if hasattr(settings, name)]
    clip = settings.clip
    if clip is None:
        return [*lines, "clip: none"]
    width, height = clip_size(clip)
    kind = Path(clip.filepath).suffix.lower()
    about = f"{width} x {height}, {clip.frame_duration} frames, {clip.fps:.5g} fps"
    start = f"start {clip.frame_start}, offset {clip.frame_offset}"
    return [*lines, f"clip: {clip.source} {kind}, {about}, {start}"]


def _run() -> list[str]:
    run = runtime.run
    if run is None:
        return ["none in this session"]
    lines = [f"phase: {run.phase}"]
    if run.problem is not None:
        problem = run.problem
        lines += [f"problem: {problem.code}: {problem.message}", f"advice: {problem.advice}"]
    lines += [text for text in (run.warning, run.summary) if text]
    return lines


def _private(addon: Any, scene: bpy.types.Scene) -> dict[str, str]:
    """Return what the report must not show, each with what it shows instead."""
    names = {str(getattr(addon, name)): f"<{name}>" for name in SECRETS}
    if addon.mode == "CONNECT" and addon.address.strip():
        names[addon.address.strip()] = "<address>"
    for clip in bpy.data.movieclips:
        path = Path(bpy.path.abspath(clip.filepath))
        label = "<clip>" if clip == scene.mien.clip else "<another clip>"
        names[str(path)] = f"{label}{path.suffix}"
        if len(path.parent.parts) > 1:
            names.setdefault(str(path.parent), "<folder of clips>")
    if bpy.data.filepath:
        names[bpy.data.filepath] = "<file>.blend"
        names.setdefault(str(Path(bpy.data.filepath).parent), "<folder of the file>")
    names.setdefault(sys.prefix, "<Blender's Python>")
    names.pop("", None)
    return names
