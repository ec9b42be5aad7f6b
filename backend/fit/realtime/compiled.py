"""Compilation by numba, where it is installed (``pip install "mien[cpu]"``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backend.kept import kept_folder

Function = TypeVar("Function", bound=Callable[..., object])

njit: Any
config: Any
try:
    from numba import config, njit
except ImportError:
    njit = config = None

IS_COMPILED = njit is not None


def compiled(function: Function) -> Function:
    """The function as machine code, kept on disk for the next start; itself without numba.

    What is decorated keeps to loops over scalars and arrays, so that it means the same in both.
    """
    if njit is None:
        return function
    # Numba takes code that another NumPy compiled for its own, and crashes: each has its folder.
    given = config.CACHE_DIR
    folder = Path(given) if given else kept_folder("numba")
    config.CACHE_DIR = str(folder / f"numpy-{np.__version__}")
    try:
        result: Function = njit(cache=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = given
    return result
