"""Counting what a call does in PyTorch on the CPU: multiply-adds, and bytes of tensors alive at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(function: Callable[[], Any]) -> int:
    """Multiply-adds of the matrix products, convolutions and distances of a call, in PyTorch on the CPU."""
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._cdist_forward: _distance_flops})
    with counter:
        function()
    return counter.get_total_flops() // 2


def _distance_flops(first: Sequence[int], second: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Two operations for each coordinate of each pair of vectors (..., n, d) and (..., m, d)."""
    return 2 * int(np.prod(first)) * int(second[-2])


def peak_bytes(function: Callable[[], Any]) -> int:
    """Largest sum of bytes of tensors made in a call and alive at the same time."""
    with _LiveTensors() as live:
        function()
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Follows the memory of every tensor that an operation returns, until the last view of it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[int, int] = {}  # address of a memory block -> tensors that show it
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        known = {x.untyped_storage().data_ptr() for x in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            block = tensor.untyped_storage()
            address = block.data_ptr()
            if address in known and address not in self.views:
                continue  # a view of something that was there before
            if address not in self.views:
                self.views[address], self.sizes[address] = 0, block.nbytes()
                self.now += block.nbytes()
                self.peak = max(self.peak, self.now)
            self.views[address] += 1
            weakref.finalize(tensor, self._gone, address)
        return result

    def _gone(self, address: int) -> None:
        self.views[address] -= 1
        if not self.views[address]:
            del self.views[address]
            self.now -= self.sizes.pop(address)


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [one for part in value for one in _tensors(part)] if isinstance(value, list | tuple) else []
