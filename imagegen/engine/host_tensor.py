"""Tensors of the host that a pipeline will move to a device: it does not wait there, and the copy stays known."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from imagegen.engine.transfer import to_device

_origins: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # of copies on a device: their version, and the original


class HostTensor(torch.Tensor):
    """A tensor of the host. A part of it is one too; what is computed from it is a tensor like any other.

    Not by methods of its own: torch takes a tensor with a Python `__getitem__` for a list.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.Tensor.to:
                return _moved(*args, **(kwargs or {}))
            result = func(*args, **(kwargs or {}))
            return _part(result) if func in _PARTS else result


_PARTS = (torch.Tensor.__getitem__, torch.Tensor.unbind)  # the second is what a loop calls


def plain(value: Any) -> Any:
    """A tensor of the host as one like any other, whose operations take no detour over Python; all else as it came."""
    if type(value) is not HostTensor:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(torch.Tensor)


def _part(value: Any) -> Any:
    return value.as_subclass(HostTensor) if isinstance(value, torch.Tensor) else tuple(map(_part, value))


def _moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)
    original: torch.Tensor = plain(tensor)
    original = original if dtype is None else original.to(dtype)
    if device is None or device.type == "cpu":
        return original
    moved: torch.Tensor = to_device(original, device)
    _origins[moved] = (moved._version, original)
    return moved


def origin_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """What a tensor of a device is an unchanged copy of, on the host; None where that is not known."""
    if not _origins or tensor.is_cpu or tensor.is_inference() or tensor not in _origins:
        return None
    version, origin = _origins[tensor]
    return origin if version == tensor._version else None
