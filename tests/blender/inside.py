"""Runs one check in a Blender of its own, with the installed extension: see conftest.py.

Called as `python -I -S inside.py JOB.json`. Neither pyzmq nor msgspec can be imported here but
from the extension's own wheels: the environment's site-packages are not on the path, only a
folder with Blender and what it needs.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

MODULE = "bl_ext.user_default.mien"


def answer(result: Any) -> None:
    """Write what a check has found."""
    import bpy

    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    found = {"result": result, "blender": bpy.app.version_string}
    Path(job["answer"]).write_text(json.dumps(found), "utf-8")


def main() -> None:
    """Install or enable the extension, run the check, write what it returns."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    sys.path.append(job["libraries"])
    for name in ("zmq", "msgspec"):
        assert importlib.util.find_spec(name) is None, f"{name} is there without the extension"
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    if "install" in job:
        bpy.ops.extensions.package_install_files(
            filepath=job["install"], repo="user_default", enable_on_install=True, overwrite=True
        )
    else:
        bpy.ops.preferences.addon_enable(module=MODULE)
    assert MODULE in bpy.context.preferences.addons, "the extension is not enabled"

    # What is still registered when the interpreter ends crashes or hangs it.
    atexit.register(lambda: bpy.ops.preferences.addon_disable(module=MODULE))
    result = None
    if "check" in job:
        sys.path.append(str(Path(job["file"]).parent))
        specification = importlib.util.spec_from_file_location("checks", job["file"])
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        result = getattr(module, job["check"])(**job["arguments"])
    answer(result)


if __name__ == "__main__":
    main()
