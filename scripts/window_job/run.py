"""Mien in a real Blender window, on a machine with no screen: `make window`.

Installs the built zip in Blender's window under Xvfb, as an artist would, goes through the first
minute, a track, its refinement, a character and a recording, takes pictures of every panel and
saves the file. The Blender is Debian's, in a folder of its own (1.4 GB, made once by mmdebstrap,
which asks for root), and so is the backend's Python: nothing of this machine is changed.

The backend is the one that the add-on installs in the window from a folder of wheels (--wheels,
with --python for one that the wheels are for), or one that this script starts outside (without).
Pictures and what was measured are in out/window.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "ca-certificates", "blender", "python3-numpy", "python3-requests", "python3-zstandard", "xvfb",
    "scrot", "xdotool", "libegl1", "libgl1", "libgl1-mesa-dri", "libglx-mesa0",
)  # fmt: skip
INSIDE = "/tmp/mien-window"
"""Folder of the job, by the same path inside and outside: the backend opens clips by path."""
SCREEN = (1280, 800)
TIMEOUT_S = 1500


def make_root(root: Path) -> None:
    """Make the folder with Blender, unless it is there."""
    if (root / "usr/bin/blender").exists():
        return
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        raise SystemExit("making the folder with Blender needs mmdebstrap (apt) and root")
    root.parent.mkdir(parents=True, exist_ok=True)
    command = ["mmdebstrap", "--mode=root", "--variant=apt"]
    command += ['--aptopt=Apt::Install-Recommends "false"', f"--include={','.join(PACKAGES)}"]
    subprocess.run([*command, "trixie", str(root)], check=True)


@contextmanager
def mounted(root: Path) -> Iterator[None]:
    """Have /proc in the folder meanwhile: the backend asks it for the processor."""
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(root / "proc")], check=False)


@contextmanager
def backend_outside(folder: Path, python: Path) -> Iterator[None]:
    """Run a backend on this machine whose connection file and roots are in the job's folder."""
    connection = folder / "connection.json"
    connection.unlink(missing_ok=True)
    command = [str(python), "-m", "backend", "serve", "--exit-with-stdin", "--devices", "cpu"]
    command += ["--connection-file", str(connection), "--roots", str(folder.resolve())]
    command += ["--jobs-directory", str(folder / "jobs")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 120
        while not connection.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the backend did not start")
            time.sleep(0.2)
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def run(arguments: argparse.Namespace) -> int:
    """Go through the job; returns its exit code."""
    root: Path = arguments.root.resolve()
    make_root(root)
    folder = root / INSIDE.lstrip("/")
    if arguments.keep and (folder / "state").is_dir():
        for item in folder.iterdir():
            if item.name != "state":
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    outside = Path(INSIDE)
    if outside.is_symlink():
        outside.unlink()
    outside.symlink_to(folder)
    shutil.copyfile(arguments.zip, folder / "mien.zip")
    for name in ("job.py", "steps.py", "pictures.py"):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    settings = {"folder": INSIDE, "screen": SCREEN, "only": arguments.only}
    if arguments.wheels is not None:
        shutil.copytree(arguments.wheels, folder / "wheels", copy_function=os.link)
        settings |= {"wheels": f"{INSIDE}/wheels", "python": arguments.python}
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    try:
        with mounted(root):
            if arguments.wheels is not None:
                _blender(root)
            else:
                with backend_outside(outside, Path(arguments.backend)):
                    _blender(root)
    finally:
        outside.unlink(missing_ok=True)
    return collect(folder, arguments.output)


def _blender(root: Path) -> None:
    """Run Blender in the folder, under a screen that only it has."""
    width, height = SCREEN
    script = f"""
        export HOME=/root XDG_STATE_HOME={INSIDE}/state BLENDER_USER_RESOURCES={INSIDE}/resources
        export DISPLAY=:77 LIBGL_ALWAYS_SOFTWARE=1 LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
        rm -f /tmp/.X77-lock
        Xvfb :77 -screen 0 {width}x{height}x24 +extension GLX -nolisten tcp >/dev/null 2>&1 &
        screen=$!
        sleep 2
        mkdir -p $BLENDER_USER_RESOURCES
        timeout {TIMEOUT_S} blender --factory-startup --window-geometry 0 0 {width} {height} \\
            --python {INSIDE}/job.py > {INSIDE}/blender.log 2>&1
        echo "Blender ended ($?)"
        kill $screen
    """
    subprocess.run(["chroot", str(root), "/bin/bash", "-c", script], check=True)


def collect(folder: Path, output: Path) -> int:
    """Crop the pictures, copy them and say how it went; returns the exit code."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    shutil.copyfile(folder / "blender.log", output / "blender.log")
    result_file = folder / "result.json"
    if not result_file.exists():
        print((folder / "blender.log").read_text("utf-8", "replace")[-3000:])
        return 1
    result = json.loads(result_file.read_text("utf-8"))
    for name, box in result["pictures"].items():
        with Image.open(folder / "pictures" / f"{name}.png") as picture:
            picture.convert("RGB").crop(box).save(output / f"{name}.png", optimize=True)
    shutil.copyfile(result_file, output / "result.json")
    for line in result["told"]:
        print(line)
    if result["error"]:
        print(result["error"])
    print(f"{len(result['pictures'])} pictures in {output}")
    return 1 if result["error"] else 0


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zip", type=Path, default=REPOSITORY / "dist/mien-0.1.0.zip")
    parser.add_argument("--root", type=Path, default=REPOSITORY / ".cache/window/root")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "out/window")
    parser.add_argument("--wheels", type=Path, help="install the backend from these, in the window")
    parser.add_argument("--python", default="", help="a Python inside the folder that they fit")
    parser.add_argument("--backend", default=sys.executable, help="Python of the backend outside")
    parser.add_argument("--keep", action="store_true", help="keep the backend of the last run")
    parser.add_argument("--only", default="", help="end after the step of this name")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
