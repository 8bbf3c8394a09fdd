"""Arguments and outputs of a forward as one buffer of bytes, and what the buffer holds.

What it holds, the *layout*, is the same for all calls of a batch key and is sent once; the buffer goes from device to
device.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

_ALIGNMENT = 16  # bytes; no dtype's elements are larger


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the buffer.

    Attributes:
        start: its first byte.
        shape, dtype: its own.
    """

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """What a buffer holds.

    Attributes:
        size: of the buffer, in bytes.
    """

    size: int
    _value: Any

    def to_bytes(self) -> bytes:
        """For `from_bytes` in another process of ours. Equal layouts have equal bytes but for rare exceptions."""
        return pickle.dumps((self.size, self._value))

    @classmethod
    def from_bytes(cls, data: bytes) -> Layout:
        """Read what a process of ours wrote; of nobody else."""
        return cls(*pickle.loads(data))

    def unpack(self, buffer: torch.Tensor) -> Any:
        """What was packed; its tensors share the memory of `buffer`, uint8 [size]."""

        def tensor(place: _Place) -> torch.Tensor:
            return buffer[place.start : place.start + place.size].view(place.dtype).view(place.shape)

        return pytree.tree_map_only(_Place, tensor, self._value)


def pack(value: Any, device: torch.device) -> tuple[Layout, torch.Tensor]:
    """Put the tensors of `value` into one buffer.

    Args:
        value: tensors in containers that torch knows, with whatever else can be pickled.
        device: where the buffer is made.

    Returns:
        what it holds, and the buffer, uint8.
    """
    packed: list[tuple[_Place, torch.Tensor]] = []
    size = 0

    def place(tensor: torch.Tensor) -> _Place:
        nonlocal size
        placed = _Place(size, tuple(tensor.shape), tensor.dtype)
        packed.append((placed, tensor))
        size += -(-placed.size // _ALIGNMENT) * _ALIGNMENT
        return placed

    layout = pytree.tree_map_only(torch.Tensor, place, value)
    buffer = torch.empty(size, dtype=torch.uint8, device=device)
    for placed, tensor in packed:
        Layout(size, placed).unpack(buffer).copy_(tensor, non_blocking=True)
    return Layout(size, layout), buffer
