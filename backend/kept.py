"""Where Mien keeps on this machine what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def kept_folder(name: str) -> Path:
    """A folder in the user's cache; it need not exist yet."""
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "mien" / name
