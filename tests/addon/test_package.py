"""The zip and what it is made of."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build_addon

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "wheels"
WITHOUT_BPY = ("shot", "client", "backend_process", "shared.session", "shared.conventions")
WITHOUT_BPY += ("first.installing", "first.report", "first.sample")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_addon.build(tmp_path_factory.mktemp("first"), CACHE)


def test_same_sources_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = build_addon.build(tmp_path, CACHE)
    assert again.read_bytes() == archive.read_bytes()


def test_holds_wheels_for_every_platform_and_python(archive: Path) -> None:
    names = [n for n in zipfile.ZipFile(archive).namelist() if n.startswith("wheels/")]
    tags = {"linux": "x86_64", "win": "amd64", "macosx_11_0": "arm64", "macosx_10": "x86_64"}
    for python in ("cp311", "cp313"):
        for package in build_addon.WHEELS:
            here = [n for n in names if n.startswith(f"wheels/{package}-") and python in n]
            for system, machine in tags.items():
                # One of pyzmq's wheels serves both kinds of Mac.
                universal = [n for n in here if "macosx" in system and "universal2" in n]
                own = [n for n in here if system in n and machine in n]
                assert own or universal, f"no {package} for {python} on {system} {machine}"
    assert not any("abi3" in name for name in names), "Blender 5.2 refuses such a zip"


def test_manifest_lists_exactly_the_bundled_wheels(archive: Path) -> None:
    content = zipfile.ZipFile(archive)
    manifest = content.read("blender_manifest.toml").decode()
    for name in content.namelist():
        if name.startswith("wheels/"):
            assert f'"./{name}"' in manifest
    assert manifest.count("./wheels/") == sum(n.startswith("wheels/") for n in content.namelist())
    assert f'version = "{build_addon.version()}"' in manifest
    assert [n for n in content.namelist() if n.startswith("backend_wheel/mien-")]
    assert 'blender_version_min = "4.2.0"' in manifest


def test_retagged_wheels_are_intact(archive: Path, tmp_path: Path) -> None:
    content = zipfile.ZipFile(archive)
    retagged = [n for n in content.namelist() if "cp313.cp314-none" in n]
    assert len(retagged) == 3
    for name in retagged:
        content.extract(name, tmp_path)
        with zipfile.ZipFile(tmp_path / name) as wheel:
            record = next(n for n in wheel.namelist() if n.endswith(".dist-info/RECORD"))
            about = wheel.read(record.replace("RECORD", "WHEEL")).decode()
            assert "abi3" not in about and "Tag: cp313-none-" in about
            rows = [row.rsplit(",", 2) for row in wheel.read(record).decode().split()]
            assert {row[0] for row in rows} == set(wheel.namelist())
            for path, digest, size in rows:
                if path == record:
                    continue
                data = wheel.read(path)
                found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                assert (digest, size) == (f"sha256={found.decode()}", str(len(data))), path


def test_blender_finds_the_zip_valid(archive: Path) -> None:
    tool = build_addon.blender_ext_tool()
    assert tool is not None
    done = subprocess.run(
        [sys.executable, str(tool), "validate", str(archive)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_that_know_no_bpy(package_folder: Path) -> None:
    code = "import importlib, sys\nsys.modules['bpy'] = None\n"
    code += f"sys.path.insert(0, {str(package_folder.parent)!r})\n"
    for name in WITHOUT_BPY:
        code += f"importlib.import_module('{package_folder.name}.{name}')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_states_its_licence() -> None:
    for path in (REPOSITORY / "blender_addon").rglob("*.py"):
        assert path.read_text("utf-8").startswith("# SPDX-License-Identifier: GPL-3.0-or-later")
