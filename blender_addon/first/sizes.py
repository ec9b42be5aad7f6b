# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation of the backend costs; knows no bpy."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ..translations import iface, rpt

Compute: TypeAlias = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class InstallSize:
    """What is downloaded, and what it takes on the disk."""

    download_mb: int
    """Megabytes of all wheels."""
    disk_mb: int
    """Megabytes of all that they unpack to, with the environment and compiled code."""
    is_measured: bool = True
    """Whether somebody has measured it; otherwise it is an estimate."""

    @property
    def needed_mb(self) -> int:
        """Megabytes that must be free while it installs: downloads and what they unpack to."""
        return self.download_mb + self.disk_mb


SIZES: dict[tuple[str, Compute], InstallSize] = {
    ("linux", "cpu"): InstallSize(500, 1800),
    ("linux", "cuda"): InstallSize(3200, 6200),
    ("win32", "cpu"): InstallSize(410, 1500),
    ("win32", "cuda"): InstallSize(3000, 6000, is_measured=False),
    ("darwin", "cpu"): InstallSize(340, 1400),
}
"""Measured in November 2026 for Python 3.11: the first is an environment that Mien installed, the
others are the sizes of the wheels that pip chose and of what is in them, with the 220 MB that the
first had besides (compiled code and pip). docs/install.md has the table."""


def install_size(compute: Compute, platform: str = sys.platform) -> InstallSize:
    """Return what an installation costs on this kind of computer."""
    return SIZES.get((platform, compute), SIZES["linux", compute])


def size_text(size: InstallSize, is_offline: bool = False) -> str:
    """Say it in words."""
    about = iface("About") if size.is_measured else iface("Estimated:")
    disk = _gigabytes(size.disk_mb)
    if is_offline:
        return iface("{about} {disk} on disk.", about=about, disk=disk)
    download = _gigabytes(size.download_mb)
    return iface(
        "{about} {download} to download, {disk} on disk.",
        about=about,
        download=download,
        disk=disk,
    )


def lack_of_space(size: InstallSize, directory: Path, is_offline: bool = False) -> str:
    """Say what is missing on the disk of a folder that need not exist yet; empty where it fits."""
    folder = directory
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free / 1e6
    needed_mb = size.disk_mb if is_offline else size.needed_mb
    if free_mb >= needed_mb:
        return ""
    return rpt(
        "This disk has {free} left, and installing takes {needed} for a while: make room first.",
        free=_gigabytes(free_mb),
        needed=_gigabytes(needed_mb),
    )


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB"
