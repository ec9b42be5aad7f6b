"""Run the tests in Blender once for each of several Blenders, one after the other.

`python tests/blender/run_versions.py PYTHON…`: each PYTHON is the interpreter of an environment
that has `bpy` (and nothing of Mien); the tests themselves run in this interpreter's environment.
Ends with the number of Blenders that failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def blender_version(python: str) -> str:
    """Return the version of `bpy` in an environment."""
    code = "from importlib.metadata import version; print(version('bpy'))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def main(pythons: list[str]) -> int:
    """Run all; returns how many failed."""
    failed = []
    for python in pythons:
        version = blender_version(python)
        print(f"Blender {version}", flush=True)
        environment = dict(os.environ, MIEN_BLENDER_PYTHON=python)
        command = [sys.executable, "-m", "pytest", "-q", str(TESTS)]
        if subprocess.run(command, env=environment).returncode != 0:
            failed.append(version)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main([str(Path(argument).absolute()) for argument in sys.argv[1:]]))
