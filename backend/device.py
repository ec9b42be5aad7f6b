"""Choosing the device to compute on."""

from __future__ import annotations

import torch

from backend.errors import BadInputError


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
