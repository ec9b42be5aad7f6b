"""What `mien bench blender` runs inside Blender: track, watch the clock, look at the result.

Called as `python -I blender_inside.py JOB.json` with the `bpy` to measure; knows nothing of the
backend. A tick is what Blender's timer does: one step of the run, then Blender's own evaluation of
what has changed. Drawing is not in it: there is no window.
"""

from __future__ import annotations

import atexit
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

MODULE = "bl_ext.user_default.mien"


def main() -> None:
    """Install the extension, run the job, write the figures."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.extensions.package_install_files(
        filepath=job["archive"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert MODULE in bpy.context.preferences.addons, "the extension is not enabled"
    # What is still registered when the interpreter ends crashes or hangs it.
    atexit.register(lambda: bpy.ops.preferences.addon_disable(module=MODULE))
    figures = {"install_mb": folder_mb(Path(job["resources"]))}
    figures |= track(bpy, job)
    figures |= playback(bpy)
    for name, compress in (("blend_mb", False), ("blend_compressed_mb", True)):
        bpy.ops.wm.save_as_mainfile(filepath=job["blend"], compress=compress)
        figures[name] = Path(job["blend"]).stat().st_size / 1e6
    major, minor, _ = bpy.app.version
    figures["blender_version"] = major + minor / 10
    Path(job["answer"]).write_text(json.dumps(figures), "utf-8")


def track(bpy: Any, job: dict[str, str]) -> dict[str, float]:
    """Take the whole job in ticks of Blender's timer; returns what they took."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.address = "CONNECT", job["connection"]
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(job["clip"])
    operators = importlib.import_module(f"{MODULE}.operators.track")
    run = operators.start_run(bpy.context, job["job_id"])
    ticks: list[float] = []
    processor: list[float] = []
    last_result = 0.0
    is_finished = False
    while not is_finished:
        began, worked = time.perf_counter(), time.thread_time()
        is_finished = run.step()
        bpy.context.view_layer.update()
        for image in bpy.data.images:
            # Whoever asks for the size has it decoded, as a drawing would.
            image.size[:]
        ended = time.perf_counter()
        ticks.append(ended - began)
        processor.append(time.thread_time() - worked)
        if run.client.phase == "done" and not last_result:
            last_result = began
        time.sleep(operators.POLL_S)
    assert run.problem is None and run.phase == "done", run.problem
    ordered = sorted(ticks)
    return {
        "scene_seconds": ended - last_result,
        "stall_ms": 1e3 * ordered[-1],
        # Of the main thread alone: what remains of the longest stall on a machine that does
        # nothing else.
        "stall_processor_ms": 1e3 * max(processor),
        "stall_p99_ms": 1e3 * ordered[int(0.99 * (len(ordered) - 1))],
        "ticks": float(len(ticks)),
        "n_frames": float(len(run.client.receiver.shot().motion.frame_index)),
    }


def playback(bpy: Any) -> dict[str, float]:
    """Go through all frames, twice; the second time counts."""
    scene = bpy.context.scene
    frames = range(scene.frame_start, scene.frame_end + 1)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        for frame in frames:
            scene.frame_set(frame)
        seconds = time.perf_counter() - began
    return {"playback_fps": len(frames) / seconds}


def folder_mb(folder: Path) -> float:
    """Return the size of all files in a folder, in megabytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
