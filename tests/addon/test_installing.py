"""Installing a backend: real environments, what is said of it, and how far it is."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Addon = Callable[[str], ModuleType]


def write_wheel(folder: Path, main: str, requires: str = "") -> Path:
    """Write a small wheel of a package `backend` whose program is `main`."""
    info = "mien-0.0.1.dist-info"
    files = {
        "backend/__init__.py": "",
        "backend/__main__.py": main,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mien\nVersion: 0.0.1\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{name},sha256={digest.decode()},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    path = folder / "mien-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def install(module: ModuleType, **plan: Any) -> tuple[Any, list[str]]:
    """Run an installation to its end; returns it and the titles that it showed."""
    plan = {"python": Path(sys.executable), **plan}
    installation = module.Installation(module.InstallPlan(**plan))
    titles: list[str] = []
    shown = [0.0]
    deadline = time.monotonic() + 120
    while not installation.is_finished:
        assert time.monotonic() < deadline
        installation.poll()
        if installation.title not in titles:
            titles.append(installation.title)
        shown.append(installation.fraction)
        time.sleep(0.02)
    assert shown == sorted(shown), "the bar goes back"
    return installation, titles


def test_installs_into_an_environment_of_its_own(addon: Addon, tmp_path: Path) -> None:
    module = addon("first.installing")
    wheel = write_wheel(tmp_path, "print('the small backend')")
    directory = tmp_path / "environment"
    installation, titles = install(module, wheel=wheel, directory=directory, wheel_folder=tmp_path)
    assert installation.error is None
    assert titles == ["Making an environment", "Downloading and installing", "Checking it"]
    assert any("Successfully installed mien" in line for line in installation.lines)
    process = addon("backend_process")
    assert process.installed_from(directory) == wheel.name
    assert not (directory / "downloads").exists()
    reader = module.LineReader(process.find_backend(str(directory)))
    while reader.poll() is None:
        time.sleep(0.02)
    assert list(reader.lines) == ["the small backend"]
    process.remove_environment(directory)
    assert not process.is_installed(directory) and not directory.exists()


def test_says_what_is_missing(addon: Addon, tmp_path: Path) -> None:
    module = addon("first.installing")
    wheel = write_wheel(tmp_path, "", requires="Requires-Dist: mien-no-such-package\n")
    directory = tmp_path / "environment"
    installation, _ = install(module, wheel=wheel, directory=directory, wheel_folder=tmp_path)
    assert "A package is missing for this Python" in installation.error
    assert any("mien-no-such-package" in line for line in installation.lines)
    assert not addon("backend_process").is_installed(directory)


def test_cancelled_installation_leaves_nothing(addon: Addon, tmp_path: Path) -> None:
    module = addon("first.installing")
    wheel = write_wheel(tmp_path, "")
    directory = tmp_path / "environment"
    plan = module.InstallPlan(
        wheel=wheel, python=Path(sys.executable), directory=directory, wheel_folder=tmp_path
    )
    installation = module.Installation(plan)
    deadline = time.monotonic() + 120
    while not directory.exists():
        assert time.monotonic() < deadline
        installation.poll()
        time.sleep(0.01)
    installation.cancel()
    assert installation.is_finished and installation.error == "Cancelled."
    assert not directory.exists()


def test_python_that_is_none(addon: Addon, tmp_path: Path) -> None:
    module = addon("first.installing")
    installation, _ = install(
        module,
        wheel=write_wheel(tmp_path, ""),
        directory=tmp_path / "environment",
        python=tmp_path / "python",
    )
    assert "cannot be started" in installation.error
    assert "from 3.11 to 3.13" in installation.error


PIP = """Processing ./mien-0.1.0-py3-none-any.whl
Collecting torch>=2.6 (from mien==0.1.0)
  Downloading https://download.pytorch.org/whl/cpu/torch-2.13.0.whl.metadata (27 kB)
Downloading https://download.pytorch.org/whl/cpu/torch-2.13.0.whl (190.0 MB)
"""
"""What pip 24 prints up to the first large file."""


def test_bar_follows_the_bytes_that_arrive(addon: Addon, tmp_path: Path) -> None:
    downloads, environment = tmp_path / "downloads", tmp_path / "environment"
    progress = addon("first.progress").InstallProgress(400.0, downloads, environment)
    assert progress.status == "Looking up packages" and progress.fraction == 0.0
    for line in PIP.splitlines():
        progress.take(line)
    assert progress.downloaded_mb == 0.0
    file = downloads / "pip-unpack-x1y2" / "torch-2.13.0.whl"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        stream.truncate(95_000_000)
    assert progress.downloaded_mb == pytest.approx(95.0)
    assert progress.status == "Downloading torch, 95 of about 400 MB"
    assert progress.fraction == pytest.approx(0.8 * 95 / 400)
    progress.take("  Using cached scipy-1.17.1-cp311-cp311-win_amd64.whl (35.3 MB)")
    assert progress.downloaded_mb == pytest.approx(190.0), "the file before it is whole"
    progress.take("Downloading tqdm-4.67.1-py3-none-any.whl (500 kB)")
    assert progress.downloaded_mb == pytest.approx(225.3)
    progress.take("Installing collected packages: torch, Scipy, typing_extensions, mien")
    assert progress.status == "Unpacking, 0 of 4 packages"
    assert progress.fraction == pytest.approx(0.8)
    packages = environment / "lib" / "python3.11" / "site-packages"
    for name in (
        "scipy-1.17.1.dist-info",
        "typing_extensions-4.16.0.dist-info",
        "pip-24.dist-info",
    ):
        (packages / name).mkdir(parents=True)
    assert progress.status == "Unpacking, 2 of 4 packages"
    assert progress.fraction == pytest.approx(0.9)


def test_more_than_was_expected_does_not_fill_the_bar(addon: Addon, tmp_path: Path) -> None:
    progress = addon("first.progress").InstallProgress(100.0, tmp_path, tmp_path)
    progress.take("Downloading torch-2.13.0.whl (1.9 GB)")
    progress.take("Downloading numpy-2.0.whl (17 MB)")
    assert progress.fraction == pytest.approx(0.8)
    assert "of about 1917 MB" in progress.status


def test_offline_folder_is_looked_at_first(addon: Addon, tmp_path: Path) -> None:
    installing = addon("first.installing")
    error = addon("backend_process").BackendError
    with pytest.raises(error, match="no folder"):
        installing.wheels_in(tmp_path / "missing")
    with pytest.raises(error, match="holds no wheels"):
        installing.wheels_in(tmp_path)
    wheel = write_wheel(tmp_path, "")
    assert installing.wheels_in(tmp_path) == 1
    plan = {"wheel": wheel, "python": Path(sys.executable), "directory": tmp_path / "e"}
    offline = installing.InstallPlan(**plan, wheel_folder=tmp_path)
    assert offline.steps()[1][1][-1] == str(wheel), "what the folder lacks is not asked for"
    (tmp_path / "openvino-2026.4.1-cp311-cp311-win_amd64.whl").touch()
    assert offline.steps()[1][1][-1] == f"{wheel}[cpu]"
    assert installing.InstallPlan(**plan, compute="cuda").steps()[1][1][-1] == str(wheel)


def test_size_is_said_and_compared_with_the_disk(addon: Addon, tmp_path: Path) -> None:
    sizes = addon("first.sizes")
    for (platform, compute), size in sizes.SIZES.items():
        assert size.disk_mb > size.download_mb > 100
        assert sizes.install_size(compute, platform) is size
    small, huge = sizes.InstallSize(100, 200), sizes.InstallSize(10, 10**12)
    assert sizes.size_text(small) == "About 0.1 GB to download, 0.2 GB on disk."
    assert sizes.size_text(small, is_offline=True) == "About 0.2 GB on disk."
    assert "Estimated" in sizes.size_text(sizes.InstallSize(1, 2, is_measured=False))
    assert sizes.lack_of_space(sizes.InstallSize(0, 1), tmp_path / "not" / "yet") == ""
    assert "make room first" in sizes.lack_of_space(huge, tmp_path)


def test_intel_macs_are_told_before_anything_is_downloaded(addon: Addon) -> None:
    why_not = addon("first.installing").why_not
    assert "Connect" in why_not("darwin", "x86_64")
    assert (
        why_not("darwin", "arm64") == why_not("linux", "x86_64") == why_not("win32", "AMD64") == ""
    )
