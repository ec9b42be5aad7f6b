"""A stand-in for a second device: CUDA's rules of which tensors may meet, kept on the processor.

Tensors that come from `to(device)`, from a factory with `device=`, or from such tensors lie on the
stand-in. Where one meets a tensor of the host in one operation, or is made an array without
`cpu()`, CUDA raises, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

FACTORIES = {
    torch.zeros, torch.ones, torch.full, torch.empty, torch.arange, torch.eye, torch.tensor,
    torch.as_tensor, torch.linspace, torch.rand, torch.randn,
}  # fmt: skip
TO_HOST = {Tensor.cpu}
LEAVES = {Tensor.numpy, Tensor.__array__}
MAY_MIX = {Tensor.__getitem__, Tensor.__setitem__, Tensor.copy_}
"""An index may come from the host, and a copy goes across."""


class OtherDevice(TorchFunctionMode):
    """Within it the rules hold."""

    def __init__(self) -> None:
        super().__init__()
        self.there = WeakTensorKeyDictionary()
        self.n_operations = 0
        """Operations on tensors of the stand-in."""

    def put(self, value: Tensor) -> Tensor:
        """A copy of a tensor on the stand-in."""
        copy = value.clone()
        self.there[copy] = True
        return copy

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES:
            return self._mark(func(*args, **kwargs), "device" in kwargs)
        given = list(_tensors((args, kwargs)))
        there = [self.there.get(tensor, False) for tensor in given]
        if func in LEAVES and any(there):
            raise AssertionError("a tensor of the device was made an array without cpu()")
        if func in TO_HOST:
            return self._mark(func(*args, **kwargs).clone(), False)
        if func is Tensor.to and not any(isinstance(value, torch.dtype) for value in args[1:]):
            other = args[1]
            onto = self.there.get(other, False) if isinstance(other, Tensor) else True
            if str(other) == "cpu" and not isinstance(other, torch.device):
                onto = False
            return self._mark(func(*args, **kwargs).clone(), onto)
        if any(there):
            self.n_operations += 1
            mixed = [t for t, on in zip(given, there, strict=True) if not on and t.ndim > 0]
            if mixed and func not in MAY_MIX:
                raise AssertionError(f"{func} mixes tensors of two devices")
            if func in MAY_MIX and not there[0]:
                raise AssertionError(f"{func} writes or reads a tensor of the host by the device")
        return self._mark(func(*args, **kwargs), any(there))

    def _mark(self, result: Any, on: bool) -> Any:
        for tensor in _tensors(result):
            if on:
                self.there[tensor] = True
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
