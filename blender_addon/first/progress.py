# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an installation is, from what pip prints and what lies on the disk; knows no bpy.

pip tells a file's size when it starts to download it, and nothing while it does (its `raw`
progress came with pip 24.1; Blender 4.2 has 24.0). So the file is looked at as it grows in pip's
temporary folder, which the installation chooses.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..translations import iface

DOWNLOAD = re.compile(
    r"^\s*(?:Downloading|Using cached) (?P<name>\S+) \((?P<size>[\d.]+) (?P<unit>bytes|kB|MB|GB)\)"
)
UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
"""pip's units, in megabytes."""
COLLECTED = "Installing collected packages:"
METADATA = ".metadata"

DOWNLOAD_SHARE = 0.8
"""Share of the bar for the download; unpacking has the rest. Where nothing is downloaded, as with
a folder of wheels, unpacking has all of it."""


class InstallProgress:
    """How far `pip install` is."""

    def __init__(self, total_mb: float, temporary: Path, packages: Path) -> None:
        """total_mb: expected size of the download, 0 for none. temporary: pip's own folder for
        what it downloads. packages: the environment's folder, in which packages appear.
        """
        self.total_mb = total_mb
        self._temporary, self._packages = temporary, packages
        self._file, self._file_mb, self._before_mb = "", 0.0, 0.0
        self._names: list[str] = []

    def take(self, line: str) -> None:
        """Read a line that pip has printed."""
        match = DOWNLOAD.match(line)
        if match is not None and not match["name"].endswith(METADATA):
            self._before_mb += self._file_mb
            self._file = match["name"].rsplit("/", 1)[-1]
            self._file_mb = float(match["size"]) * UNITS[match["unit"]]
        elif line.lstrip().startswith(COLLECTED):
            self._names = [x.strip() for x in line.partition(":")[2].split(",") if x.strip()]

    @property
    def downloaded_mb(self) -> float:
        """Megabytes that have arrived."""
        if self._names:
            return self._before_mb + self._file_mb
        return self._before_mb + min(self._arrived_mb(), self._file_mb)

    @property
    def installed(self) -> int:
        """How many of the packages have been unpacked."""
        if not self._names:
            return 0
        folders = (
            *self._packages.glob("lib/python3*/site-packages/*.dist-info"),
            *self._packages.glob("Lib/site-packages/*.dist-info"),
        )
        names = {_normal(folder.name.split("-")[0]) for folder in folders}
        return sum(_normal(name) in names for name in self._names)

    @property
    def fraction(self) -> float:
        """Share that is done, from 0 to 1; it never says 1."""
        share = DOWNLOAD_SHARE if self.total_mb > 0 else 0.0
        if self._names:
            return min(share + (1.0 - share) * self.installed / len(self._names), 0.99)
        return share * min(self.downloaded_mb / self.total_mb, 1.0) if share else 0.0

    @property
    def status(self) -> str:
        """What is being done, with figures."""
        if self._names:
            return iface(
                "Unpacking, {done} of {count} packages",
                done=self.installed,
                count=len(self._names),
            )
        if not self._file:
            return iface("Looking up packages")
        name = self._file.split("-")[0]
        arrived = self.downloaded_mb
        total = max(self.total_mb, self._before_mb + self._file_mb)
        return iface(
            "Downloading {name}, {arrived:.0f} of about {total:.0f} MB",
            name=name,
            arrived=arrived,
            total=total,
        )

    def _arrived_mb(self) -> float:
        """Megabytes of the current file so far."""
        largest = 0
        for path in self._temporary.glob(f"pip-*/{self._file}"):
            try:
                largest = max(largest, path.stat().st_size)
            except OSError:
                continue  # pip has just moved it.
        return largest / 1e6


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
