"""The add-on in German, in a Blender that has its own translations: `bpy` from PyPI has none.

MIEN_BLENDER names the program, such as that of an unpacked Blender; without it, one on the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.blender

PROGRAM = os.environ.get("MIEN_BLENDER") or shutil.which("blender")


@pytest.mark.skipif(PROGRAM is None, reason="needs a Blender with translations: MIEN_BLENDER")
def test_blender_speaks_german(addon_zip: Path, clip: Path, tmp_path: Path) -> None:
    assert PROGRAM is not None
    for path in (addon_zip, clip, Path(__file__).with_name("language_checks.py")):
        shutil.copyfile(path, tmp_path / path.name)
    answer = tmp_path / "answer.json"
    command = [PROGRAM, "-b", "--factory-startup", "--python-exit-code", "3"]
    command += ["--python", str(tmp_path / "language_checks.py"), "--"]
    environment = dict(os.environ, BLENDER_USER_RESOURCES=str(tmp_path / "resources"))
    process = subprocess.run(
        [*command, str(tmp_path / addon_zip.name), str(answer)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.exists(), process.stdout + process.stderr
    told = json.loads(answer.read_text("utf-8"))
    assert told["operator"] == told["panel"] == "Verfolgen"
    assert told["tooltip"].startswith("Das Gesicht im Clip verfolgen")
    assert told["property"] == "Identität festhalten"
    assert told["field_of_view"] == "Bildwinkel"
    assert "nachdem der Clip bei Bild 12 geendet hat" in told["report"]
    assert told["afterwards"] == "Lock Identity"
