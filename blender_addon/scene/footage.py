# SPDX-License-Identifier: GPL-3.0-or-later
"""Movie clips: where their files are, which frame is which, and the scene's rate and range."""

from __future__ import annotations

import os
import re
from fractions import Fraction

import bpy

from ..shot import Shot

FALLBACK_SIZE = (1920, 1080)
_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")


def kept_path(path: str) -> str:
    """Return a path as Blender's own Open keeps it: relative to the .blend where that is wanted."""
    if not bpy.data.filepath or not bpy.context.preferences.filepaths.use_relative_paths:
        return path
    try:
        return bpy.path.relpath(bpy.path.abspath(path))
    except ValueError:  # Another drive of Windows.
        return path


def load_clip(path: str, again: bool = True) -> bpy.types.MovieClip:
    """Open a clip; Blender's own Open keeps its path the same way.

    again: where it is open already, as another Movie Clip. Raises ValueError where there is none.
    """
    whole = bpy.path.abspath(path)
    if os.path.isdir(whole):
        raise ValueError("Choose a clip, or the first picture of a sequence, not a folder.")
    try:
        return bpy.data.movieclips.load(kept_path(path), check_existing=not again)
    except RuntimeError as error:
        raise ValueError(str(error).removeprefix("Error: ").strip()) from None


def clip_source(clip: bpy.types.MovieClip) -> str:
    """Return what the backend opens: the file, or a pattern such as "shot.####.png"."""
    path = os.path.abspath(bpy.path.abspath(clip.filepath, library=clip.library))
    if clip.source != "SEQUENCE":
        return path
    folder, name = os.path.split(path)
    match = _LAST_NUMBER.match(os.path.splitext(name)[0])
    if match is None:
        return path
    before, digits, after = match.groups()
    return os.path.join(folder, before + "#" * len(digits) + after + os.path.splitext(name)[1])


def first_index(clip: bpy.types.MovieClip) -> int:
    """Return the backend's index of the file that the clip starts with.

    The backend counts a sequence from its lowest number, Blender from the file that was opened.
    """
    if clip.source != "SEQUENCE":
        return 0
    folder, pattern = os.path.split(clip_source(clip))
    before, _, after = pattern.partition("#")
    name = re.compile(re.escape(before) + r"(\d+)" + re.escape(after.lstrip("#")) + r"\Z")
    opened = name.match(os.path.basename(bpy.path.abspath(clip.filepath, library=clip.library)))
    try:
        numbers = [int(m[1]) for entry in os.listdir(folder) if (m := name.match(entry))]
    except OSError:
        return 0
    return int(opened[1]) - min(numbers) if opened and numbers else 0


def index_to_frame(clip: bpy.types.MovieClip | None) -> int:
    """Return what to add to the backend's frame index to get the scene's frame."""
    if clip is None:
        return 1
    return clip.frame_start - clip.frame_offset - first_index(clip)


def last_frame(clip: bpy.types.MovieClip) -> int:
    """Return the scene's frame that shows a clip's last one."""
    return clip.frame_start - clip.frame_offset + clip.frame_duration - 1


def clip_size(clip: bpy.types.MovieClip | None) -> tuple[int, int]:
    """Return width and height of a clip in pixels, as Blender shows it."""
    if clip is None or not clip.size[0]:
        return FALLBACK_SIZE
    return int(clip.size[0]), int(clip.size[1])


RATE_TOLERANCE = Fraction(1, 100_000)
"""Share by which a clip's frame rate in Blender may differ from the one that it is taken for."""


def clip_rate(clip: bpy.types.MovieClip | None) -> Fraction | None:
    """Return a clip's frames per second; None for image sequences, which carry none."""
    if clip is None or not clip.fps > 0:
        return None
    # Blender has a float, and 4.2 a less exact one: what is meant is 24 or 24000/1001.
    for rate in (Fraction(round(clip.fps)), Fraction(1000 * round(1.001 * clip.fps), 1001)):
        if abs(rate - Fraction(clip.fps)) < RATE_TOLERANCE * rate:
            return rate
    return Fraction(clip.fps).limit_denominator(1001)


def is_shown_rotated(clip: bpy.types.MovieClip | None, image_size: tuple[int, int]) -> bool:
    """Say whether Blender shows the clip lying on its side: 4.2 ignores a phone's rotation."""
    return (
        clip is not None
        and image_size[0] != image_size[1]
        and tuple(clip.size) == (image_size[1], image_size[0])
    )


def holds_pictures(clip: bpy.types.MovieClip | None) -> bool:
    """Say whether frames that a clip leaves out show the picture before them.

    They do where the frame rate varies; a picture that an image sequence lacks is not shown at all.
    """
    return clip is not None and clip.source == "MOVIE"


def set_up_scene(scene: bpy.types.Scene, shot: Shot, clip: bpy.types.MovieClip | None) -> None:
    """Give the scene the footage's size, frame rate and frame range, and its own colours."""
    render = scene.render
    render.resolution_x, render.resolution_y = shot.image_size
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    is_sequence = clip is not None and clip.source == "SEQUENCE"
    if shot.frame_rate is not None and not is_sequence:
        render.fps = max(1, round(shot.frame_rate))
        render.fps_base = float(render.fps / shot.frame_rate)
    offset = index_to_frame(clip)
    first = int(shot.motion.frame_index[0]) + offset
    last = int(shot.motion.frame_index[-1]) + offset
    if clip is not None and clip.frame_duration > 0:
        first = min(first, clip.frame_start)
        last = max(last, clip.frame_start + clip.frame_duration - 1)
    scene.frame_start, scene.frame_end = first, last
    # AgX and Filmic would change the footage's colours.
    scene.view_settings.view_transform = "Standard"
