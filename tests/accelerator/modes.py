"""Makes the device known to one thread: to what creates tensors, and to what torch does outside its dispatcher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.accelerator.counters import Kind
from tests.accelerator.device import DEVICE, NAME
from tests.accelerator.operations import run, run_as_one
from tests.accelerator.tensor import PretendTensor

_ONE_KERNEL = (scaled_dot_product_attention, torch.linalg.solve, torch.quantile)
_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)  # those of vectors change a shape in place


@contextmanager
def device_on_this_thread() -> Iterator[None]:
    """A context in which the thread can use the device."""
    with _Functions(), _Operations():  # type: ignore[no-untyped-call]
        yield


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """All operations, because those that create a tensor have none that would lead them to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does to a tensor's memory without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            return _from_data(func, args, kwargs)
        if func in _ONE_KERNEL and not args and isinstance(next(iter(kwargs.values()), None), PretendTensor):
            return run_as_one(func, args, kwargs)  # diffusers names all that attention is given
        if args and isinstance(args[0], PretendTensor):
            if func is torch.Tensor.numpy:
                raise TypeError(f"can't convert {NAME} device type tensor to numpy; copy it to the host first")
            if func is torch.Tensor.tolist:
                return _read(args[0])
            if func is torch.linalg.solve:
                DEVICE.synchronise()  # it looks whether that went well
            if func in _ONE_KERNEL or (func in _PRODUCTS and any(factor.ndim == 1 for factor in args[:2])):
                return run_as_one(func, args, kwargs)
            if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
                args = (args[0], _without_lists(args[1]), *args[2:])
        return func(*args, **kwargs)


def _from_data(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A tensor from numbers, each of which may be one of the device; made on the host, then copied."""
    data = args[0] if args else kwargs["data"]
    if isinstance(data, torch.Tensor):
        return func(*args, **kwargs)
    device = kwargs.pop("device", None)
    made = func(_numbers(data), *args[1:], **kwargs)
    return made if device is None else made.to(device)


def _without_lists(index: Any) -> Any:
    """An index whose lists are tensors of the host: torch makes them so on every device."""
    if isinstance(index, tuple):
        return tuple(map(_without_lists, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _numbers(data: Any) -> Any:
    if isinstance(data, PretendTensor):
        return _read(data)
    return type(data)(map(_numbers, data)) if type(data) in (list, tuple) else data


def _read(tensor: PretendTensor) -> Any:
    """The numbers, for which the host waits."""
    DEVICE.counters.count(Kind.TO_HOST)
    DEVICE.synchronise()
    return tensor.host.tolist()
