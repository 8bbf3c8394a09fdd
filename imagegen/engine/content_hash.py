"""Keys that are equal exactly when two values are: tensors by content, everything else by type and value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from imagegen.engine.host_tensor import origin_of
from imagegen.engine.transfer import receive

_DIGEST_BYTES = 16
_SCALARS = (bool, int, float, str, bytes, torch.dtype, torch.device, type(None))

# Pipelines pass the same rope ids at every step; the device is asked for their bytes once.
_keys: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_row_keys: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def tensor_key(tensor: torch.Tensor) -> Hashable:
    """Shape, dtype, device and a 128-bit hash of the content; 0-d tensors and empty ones too.

    The key of an unchanged tensor object is remembered. The content is read back from a device only where it is not
    known from the host that it came from; a run of an executor lets others go on meanwhile.
    """
    return _remembered(_keys, tensor, _key)


def row_key(tensor: torch.Tensor) -> Hashable | None:
    """The content key that all rows of a tensor [B, ...] share; None when they differ. Remembered likewise."""
    return _remembered(_row_keys, tensor, _key_of_equal_rows)


def content_key(value: Any) -> Hashable:
    """A key for tensors, scalars, strings, None, dtypes, devices, and lists, tuples and dicts of them.

    Raises:
        TypeError: anything else, for instance a generator or a KV cache.
    """
    if isinstance(value, _SCALARS):
        return (type(value), value)  # 1, 1.0 and True are equal in Python
    if isinstance(value, torch.Tensor):
        return tensor_key(value)
    if isinstance(value, (list, tuple)):
        return (type(value), tuple(content_key(element) for element in value))
    if isinstance(value, dict):
        return (type(value), tuple((name, content_key(element)) for name, element in value.items()))
    raise TypeError(f"{type(value).__name__} has no content key")


def _remembered(
    table: WeakTensorKeyDictionary, tensor: torch.Tensor, compute: Callable[[torch.Tensor], Hashable]
) -> Hashable:
    if tensor.is_inference():  # has no version counter that would tell of a change in place
        return compute(tensor)
    version, key = table[tensor] if tensor in table else (None, None)  # noqa: SIM401 (untyped get)
    if version != tensor._version:
        key = compute(tensor)
        table[tensor] = (tensor._version, key)
    return key


def _key(tensor: torch.Tensor) -> Hashable:
    return (tuple(tensor.shape), tensor.dtype, tensor.device, _digest(tensor))


def _key_of_equal_rows(tensor: torch.Tensor) -> Hashable | None:
    host = _on_host(tensor)
    if not bool((host == host[:1]).all()):
        return None
    return (tuple(tensor.shape[1:]), tensor.dtype, tensor.device, _digest(host[0]))


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    known = origin_of(tensor)
    return known if known is not None else receive(tensor.detach())[0]


def _digest(tensor: torch.Tensor) -> bytes:
    flat = _on_host(tensor).detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=_DIGEST_BYTES).digest()
