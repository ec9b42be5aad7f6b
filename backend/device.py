"""Choosing the device to compute on, and its name."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from backend.errors import BadInputError


def device_with_doubles(device: torch.device) -> torch.device:
    """The device, or the CPU for one without float64 (Apple's), which exact rasterising needs."""
    return torch.device("cpu") if device.type == "mps" else device


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA where there is one, else the CPU.

    Raises `BadInputError` for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInputError(
            f'There is no device "{name}" on this machine. Use "cpu" or "auto".'
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """Return what a person calls a device: the graphics card, or the processor and its cores."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)} ({memory:.0f} GB)"
    name = processor_name()
    if device.type != "cpu":
        return f"{name} ({device.type.upper()})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name} (CPU, {cores} threads)"


def processor_name() -> str:
    """Return the processor's model, or at least its kind ("x86_64")."""
    name = ""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        name = next((x.partition(":")[2] for x in lines if x.startswith("model name")), "")
    elif sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            name = subprocess.run(
                command, capture_output=True, text=True, timeout=5, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            pass
    elif sys.platform == "win32":
        import winreg

        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as handle:
                name = str(winreg.QueryValueEx(handle, "ProcessorNameString")[0])
        except OSError:
            pass
    return " ".join(name.split()) or platform.processor() or platform.machine()
