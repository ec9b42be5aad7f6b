"""Build the Blender extension: `python build_addon.py` writes dist/mien-VERSION.zip.

The zip holds blender_addon/, shared/ inside it, the wheels of ZeroMQ and msgspec for every
platform and Python that Blender 4.2 to 5.2 has, and the backend's own wheel, which the add-on
installs when it is asked to. The same sources and wheels give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ADDON = ROOT / "blender_addon"
SHARED = ROOT / "shared"

WHEELS = {"pyzmq": "27.3.0", "msgspec": "0.20.0"}
"""What the add-on itself imports, besides what Blender brings."""

PYTHONS = ("311", "313")
"""Blender 4.2 to 5.0 has Python 3.11, 5.1 and 5.2 have 3.13."""

PLATFORMS = {
    "linux-x64": ("manylinux2014_x86_64", "manylinux_2_28_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64",),
    "macos-x64": ("macosx_10_15_x86_64",),
}

ABI3 = re.compile(r"-cp312-abi3-")
"""pyzmq's wheel for 3.12 and later. Blender refuses a zip with both it and one for 3.11."""
RETAG = ("cp313.cp314", "none")
"""The tags that it gets instead."""

TIME = (1980, 1, 1, 0, 0, 0)
"""Time of every file in an archive: the earliest that a zip can state."""

SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def version() -> str:
    """Return the version of shared/version.py."""
    text = (SHARED / "version.py").read_text("utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise SystemExit("shared/version.py states no __version__")
    return match[1]


def assemble(destination: Path) -> Path:
    """Copy the add-on and shared/ to a folder, which is then the add-on's Python package."""
    ignore = shutil.ignore_patterns(*SKIPPED, "*.pyc")
    shutil.copytree(ADDON, destination, ignore=ignore, dirs_exist_ok=True)
    shutil.copytree(SHARED, destination / "shared", ignore=ignore, dirs_exist_ok=True)
    shutil.copyfile(ROOT / "LICENSES" / "GPL-3.0-or-later.txt", destination / "LICENSE")
    return destination


def write_manifest(package: Path, wheels: list[str]) -> None:
    """Write version and wheels into the manifest of an assembled package."""
    path = package / "blender_manifest.toml"
    text = path.read_text("utf-8")
    listed = "".join(f'\n  "./wheels/{name}",' for name in sorted(wheels))
    for pattern, value in (
        (r'^# build_addon.py writes.*\nversion = ".*"$', f'version = "{version()}"'),
        (r"^wheels = \[\]$", f"wheels = [{listed}\n]"),
    ):
        text, count = re.subn(pattern, lambda _, v=value: v, text, flags=re.MULTILINE)
        if count != 1:
            raise SystemExit(f"{ADDON.name}/{path.name} has no line like {pattern!r}")
    path.write_text(text, "utf-8", newline="\n")


def bundled_wheels(cache: Path) -> list[Path]:
    """Return the wheels of WHEELS for every platform and Python, downloaded where missing."""
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    stamp = downloads / "-".join(f"{k}{v}" for k, v in sorted(WHEELS.items()))
    if not stamp.exists():
        for file in downloads.iterdir():
            file.unlink()
        for python in PYTHONS:
            for platform, tags in PLATFORMS.items():
                print(f"downloading wheels for {platform}, Python 3.{python[1:]}", flush=True)
                _download(downloads, python, tags)
        stamp.touch()
    ready = cache / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    for wheel in sorted(downloads.glob("*.whl")):
        if ABI3.search(wheel.name):
            _retag(wheel, ready)
        else:
            shutil.copyfile(wheel, ready / wheel.name)
    return sorted(ready.glob("*.whl"))


def _download(folder: Path, python: str, tags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    command += [part for tag in tags for part in ("--platform", tag)]
    command += ["--dest", str(folder), *(f"{k}=={v}" for k, v in WHEELS.items())]
    subprocess.run(command, check=True)


def _retag(wheel: Path, folder: Path) -> None:
    """Write a wheel for the stable ABI again with the tags of RETAG."""
    name = ABI3.sub(f"-{RETAG[0]}-{RETAG[1]}-", wheel.name)
    platform = name.removesuffix(".whl").rsplit("-", 1)[1]
    tags = [
        f"{python}-{RETAG[1]}-{system}"
        for python in RETAG[0].split(".")
        for system in platform.split(".")
    ]
    with zipfile.ZipFile(wheel) as source:
        files = [item for item in source.namelist() if not item.endswith("/")]
        contents = {item: source.read(item) for item in files}
    record = next(item for item in contents if item.endswith(".dist-info/RECORD"))
    about = record.removesuffix("RECORD") + "WHEEL"
    lines = [x for x in contents[about].decode().splitlines() if x and not x.startswith("Tag:")]
    contents[about] = "\n".join([*lines, *(f"Tag: {tag}" for tag in tags), ""]).encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(contents[about]).digest()).rstrip(b"=")
    rows = [
        f"{about},sha256={digest.decode()},{len(contents[about])}"
        if row.startswith(about + ",")
        else row
        for row in contents[record].decode().splitlines()
    ]
    contents[record] = "\n".join([*rows, ""]).encode()
    _write_zip(folder / name, contents.items())


def backend_wheel(folder: Path) -> Path:
    """Build the backend's own wheel, the same from the same sources."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        source.mkdir()
        # A copy, so that no leftovers of earlier builds get in.
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            shutil.copyfile(ROOT / name, source / name)
        for name in ("backend", "shared"):
            ignore = shutil.ignore_patterns(*SKIPPED, "*.pyc")
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--wheel-dir", temporary, str(source)]
        if _has_setuptools():
            command.append("--no-build-isolation")
        environment = dict(os.environ, SOURCE_DATE_EPOCH="315532800")
        subprocess.run(command, check=True, env=environment)
        built = next(Path(temporary).glob("mien-*.whl"))
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(built) as archive:
            contents = [(name, archive.read(name)) for name in archive.namelist()]
        target = folder / built.name
        _write_zip(target, contents)
        return target


def _has_setuptools() -> bool:
    """Say whether this environment can build the wheel by itself, without any download."""
    try:
        installed = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        return False
    return int(installed.split(".")[0]) >= 77


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _write_zip(target: Path, contents: object) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(contents):  # type: ignore[call-overload]
            item = zipfile.ZipInfo(name, TIME)
            item.compress_type = zipfile.ZIP_DEFLATED
            item.external_attr = 0o644 << 16
            archive.writestr(item, data)


def validate(package: Path) -> None:
    """Let Blender's own tool judge the manifest, where Blender is installed as a module."""
    tool = blender_ext_tool()
    if tool is None:
        print("not validated: bpy is not installed in this environment")
        return
    subprocess.run([sys.executable, str(tool), "validate", str(package)], check=True)


def blender_ext_tool() -> Path | None:
    """Return the path of Blender's blender_ext.py beside bpy, without importing it."""
    for entry in sys.path:
        found = sorted(
            Path(entry or ".").glob("bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
        )
        if found:
            return found[0]
    return None


def build(output: Path, cache: Path) -> Path:
    """Build the zip and return its path."""
    with tempfile.TemporaryDirectory() as temporary:
        package = assemble(Path(temporary) / "mien")
        wheels = bundled_wheels(cache)
        (package / "wheels").mkdir()
        for wheel in wheels:
            shutil.copyfile(wheel, package / "wheels" / wheel.name)
        write_manifest(package, [wheel.name for wheel in wheels])
        # Not listed in the manifest: Blender must not unpack it into its own Python.
        backend_wheel(package / "backend_wheel")
        validate(package)
        output.mkdir(parents=True, exist_ok=True)
        target = output / f"mien-{version()}.zip"
        _write_zip(target, _files(package))
    return target


def main() -> None:
    """Build, and say where the zip is and how large."""
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zip")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".cache" / "wheels", help="folder for the wheels"
    )
    arguments = parser.parse_args()
    target = build(arguments.output, arguments.cache)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
