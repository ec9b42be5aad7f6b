"""Compilation by numba, where it is installed (``pip install "mien[cpu]"``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

njit: Any
try:
    from numba import njit
except ImportError:
    njit = None

IS_COMPILED = njit is not None


def compiled(function: Function) -> Function:
    """The function as machine code, kept on disk for the next start; itself without numba.

    What is decorated keeps to loops over scalars and arrays, so that it means the same in both.
    """
    if njit is None:
        return function
    result: Function = njit(cache=True, error_model="numpy")(function)
    return result
