"""Peak memory of a bake against the shot's length, each measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from pathlib import Path

import numpy as np

from backend.bake.shot import BakeSettings, PosedShot, bake_shot
from backend.evaluate.bake_footage import RenderedFootage, posed
from backend.evaluate.bake_scene import make_room, perform, render_skin
from backend.head import Head

FRAMES = (48, 192)
"""Lengths that are compared; both are longer than what a bake looks at of any shot."""
PICTURES = 4
"""Different pictures, shown again and again, so that they cost the same in both."""
SCALE = 0.5
TEXTURE_SIZE = 512


def memory_growth(seed: int) -> dict[str, float]:
    """How many times the memory of a short bake one of four times its length takes at its peak.

    Nothing on systems other than Linux, which alone tells a process its memory in a file.
    """
    if not sys.platform.startswith("linux"):
        return {}
    context = multiprocessing.get_context("spawn")
    peaks = []
    for n_frames in FRAMES:
        with context.Pool(1) as pool:
            peaks.append(pool.apply(_peak_mb, (n_frames, seed)))
    return {"memory_mb": peaks[0], "memory_growth_ratio": peaks[1] / peaks[0]}


def _peak_mb(n_frames: int, seed: int) -> float:
    head = Head.load()
    shot = perform(head, PICTURES, SCALE, seed)
    room = make_room(shot, seed)
    skin = np.full((TEXTURE_SIZE, TEXTURE_SIZE, 3), (190, 145, 122), np.uint8)
    skin[::16] = skin[:, ::16] = (120, 90, 80)
    footage = RenderedFootage(
        [render_skin(head, vertices, shot, skin, room=room) for vertices in shot.vertices]
    )
    long = RenderedFootage(footage.pictures * (n_frames // PICTURES))
    many = _repeated(posed(head, shot), n_frames // PICTURES)
    # What Python and torch allocate while the bake runs, not what was loaded before it. Sampled:
    # the peak that the system keeps of a process is also that of the one it was started from.
    peak = _Peak()
    with peak:
        bake_shot(lambda: long, head, many, BakeSettings(texture_size=TEXTURE_SIZE))
    return peak.megabytes


class _Peak:
    """The most resident memory that is added to this process within a with-block."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._before = _resident_mb()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.megabytes = max(self.megabytes, _resident_mb() - self._before)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _repeated(shot: PosedShot, times: int) -> PosedShot:
    def again(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values] * times)

    return PosedShot(
        frame_index=np.arange(times * shot.n_frames),
        vertices=again(shot.vertices),
        visibility=again(shot.visibility),
        K=again(shot.K),
        head_pose=again(shot.head_pose),
        expression=again(shot.expression),
        found=again(shot.found),
        rest_vertices=shot.rest_vertices,
    )
