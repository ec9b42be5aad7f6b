"""The add-on as a Python package without Blender: its parts that know no `bpy`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import build_addon

PACKAGE = "mien_addon_without_blender"


@pytest.fixture(scope="session")
def package_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The add-on's package, assembled as for the zip."""
    return build_addon.assemble(tmp_path_factory.mktemp("addon") / PACKAGE)


@pytest.fixture(scope="session")
def addon(package_folder: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the add-on by its name."""
    sys.path.insert(0, str(package_folder.parent))
    importlib.invalidate_caches()
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    sys.path.remove(str(package_folder.parent))
    for name in [n for n in sys.modules if n.startswith(PACKAGE)]:
        del sys.modules[name]
