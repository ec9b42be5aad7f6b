"""The main job on the embedded samples: a rendered performance with known truth, and a portrait.

Writes results, overlays and .blend files to out/demo and prints how far off the performance is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import skimage.data
import skimage.io

from backend.evaluate.truth import read_truth, track_error
from backend.head import Head
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH
from backend.track import Track

REPOSITORY = Path(__file__).resolve().parents[1]
OUTPUT = REPOSITORY / "out" / "demo"


def main() -> None:
    """Run the demo; exits with the code of the step that fails."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    print("A rendered performance whose truth is known:")
    performance = track(PERFORMANCE, "performance", overlay=".mp4")
    print_error(performance)

    print("\nA real face, NASA's portrait of Eileen Collins (public domain):")
    portrait = OUTPUT / "portrait.png"
    skimage.io.imsave(portrait, skimage.data.astronaut(), check_contrast=False)
    track(portrait, "portrait", overlay=".png")
    print(f"\nEverything is in {OUTPUT.relative_to(REPOSITORY)}/")


def track(clip: Path, name: str, overlay: str) -> Track:
    """Track a clip with the command line, and build its .blend with the add-on."""
    result, picture = OUTPUT / f"{name}.npz", OUTPUT / f"{name}_overlay{overlay}"
    began = time.perf_counter()
    run("-m", "backend", "track", clip, "-o", result, "--overlay", picture)
    seconds = time.perf_counter() - began
    run("scripts/blend_file.py", result, clip, OUTPUT / f"{name}.blend")
    print(f"  {seconds:.0f} s; wrote {result.name}, {picture.name}, {name}.blend")
    return Track.load(result)


def run(*arguments: str | Path) -> None:
    """Run this Python with arguments in the repository's root; exit where it fails."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=REPOSITORY, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def print_error(result: Track) -> None:
    """Print how far the result is from what was rendered."""
    head = Head.load()
    error = track_error(result, read_truth(PERFORMANCE_TRUTH, head), head.regions["face"])
    print(f"  mesh           {error.mesh_mm:6.2f} mm  (face, after rigid alignment)")
    print(f"  shape          {error.shape_mm:6.2f} mm  (the same, its size aside)")
    print(f"  head rotation  {error.rotation_deg:6.2f} degrees")
    print(f"  focal length   {error.focal_percent:+6.1f} %")
    print(f"  distance       {error.depth_percent:6.1f} %")
    print(f"  in the image   {error.reprojection_px:6.2f} px")


if __name__ == "__main__":
    main()
