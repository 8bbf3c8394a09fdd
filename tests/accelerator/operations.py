"""Runs one operation of the device on the host, as strictly as a GPU would: refuses, counts, accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from tests.accelerator.counters import Kind
from tests.accelerator.device import DEVICE, NAME, TORCH_DEVICE
from tests.accelerator.memory import Allocation
from tests.accelerator.source_line import source_line
from tests.accelerator.tensor import PretendTensor

HOST = torch.device("cpu")

# What gives the host a number, or a shape that depends on values: CUDA waits for it.
_WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_linalg_check_errors"),
    *("_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount"),
}
_INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}  # whose indices may be on the host
_COPIES = {"_to_copy", "copy_", "copy"}
_NO_KERNEL = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "lift_fresh", "lift"}


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation.

    Args:
        func: of torch's own, as `__torch_dispatch__` is given it.
        args, kwargs: with tensors of the device, of the host, or both.

    Raises:
        RuntimeError: it mixes tensors of the device and of the host.
        torch.OutOfMemoryError: its result passes the limit.
    """
    if func is torch.ops.aten._pin_memory.default:
        return args[0]  # all memory of the host is as good as pinned
    tensors = list(_tensors((args, kwargs)))
    device = kwargs.get("device")
    to_device = device is not None and torch.device(device).type == NAME
    if not to_device and not any(isinstance(tensor, PretendTensor) for tensor in tensors):
        return func(*args, **kwargs)
    name = func.overloadpacket.__name__
    if name in _COPIES:
        source = args[1] if name != "_to_copy" else args[0]
        target = args[0] if name != "_to_copy" else None
        target_device = device if target is None else target.device
        if target_device is not None and torch.device(target_device).type != source.device.type:
            return _copy(func, args, kwargs, source, to_device or isinstance(target, PretendTensor))
    else:
        _refuse_mixed(func, name, args, kwargs, tensors)
        _refuse_host_generator(func, kwargs)
    host_kwargs = {key: _host(value) for key, value in kwargs.items() if key != "pin_memory"}
    if to_device:
        host_kwargs["device"] = HOST
    host_args = tuple(map(_host, args))
    result = func(*host_args, **host_kwargs)
    if name in _WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        if name != "_local_scalar_dense":  # a copy alone
            DEVICE.counters.count(Kind.LAUNCH)
        DEVICE.counters.count(Kind.TO_HOST)
        DEVICE.synchronise()
    elif name in _INDEXES:
        _count_indices(args[1])
    return _finished(func, name, host_args, host_kwargs, tensors, result)


def run_as_one(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function of torch that a device has one kernel for, such as attention."""
    tensors = list(_tensors((args, kwargs)))
    _refuse_mixed(function, "", args, kwargs, tensors)
    host_args, host_kwargs = _host(args), _host(kwargs)
    return _finished(function, "", host_args, host_kwargs, tensors, function(*host_args, **host_kwargs))


def _finished(
    func: Any, name: str, host_args: Any, host_kwargs: dict[str, Any], tensors: list[torch.Tensor], result: Any
) -> Any:
    """The result as tensors of the device, its launch counted."""
    wrappers = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
    known = {id(tensor.host): tensor for tensor in wrappers}
    storages = {tensor.host.untyped_storage()._cdata: tensor.allocation for tensor in wrappers}
    fresh: list[torch.Tensor] = []
    wrapped = _wrapped(result, known, storages, fresh)
    is_view = not fresh and not func._schema.is_mutable if hasattr(func, "_schema") else False
    if not is_view and name not in _NO_KERNEL and name not in _WAITS:
        DEVICE.counters.count(Kind.LAUNCH)
        if DEVICE.clock is not None:
            moved_bytes = sum(tensor.nbytes for tensor in (*tensors, *fresh))
            DEVICE.clock.launch(func, host_args, host_kwargs, result, moved_bytes)
    return wrapped


def _wrapped(
    value: Any, known: dict[int, PretendTensor], storages: dict[int, Allocation], fresh: list[torch.Tensor]
) -> Any:
    if isinstance(value, torch.Tensor):
        if id(value) in known:  # written in place
            same = known[id(value)]
            if same.shape != value.shape or same.stride() != value.stride():
                raise NotImplementedError(f"a change of shape in place, at {source_line()}")
            return same
        storage = value.untyped_storage()
        allocation = storages.get(storage._cdata)
        if allocation is None:
            allocation = storages[storage._cdata] = DEVICE.memory.allocate(storage.nbytes())
            fresh.append(value)
        return PretendTensor(value, allocation)
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(element, known, storages, fresh) for element in value)
    return value


def _copy(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], source: torch.Tensor, to_device: bool) -> Any:
    """Copy between the host and the device; without `non_blocking` the host waits for all that is queued, as CUDA's."""
    asynchronous = bool(kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    DEVICE.counters.count(Kind.TO_DEVICE if to_device else Kind.TO_HOST)
    if DEVICE.clock is not None:
        DEVICE.clock.queue(source.nbytes / DEVICE.clock.bytes_per_s)
    host_kwargs = {key: HOST if key == "device" else value for key, value in kwargs.items() if key != "pin_memory"}
    result = func(*map(_host, args), **host_kwargs)
    if not asynchronous:
        DEVICE.synchronise()
    if func.overloadpacket.__name__ == "copy_":
        return args[0]
    if to_device:
        return PretendTensor(result, DEVICE.memory.allocate(result.untyped_storage().nbytes()))
    return DEVICE.copy_later(result) if asynchronous else result


def _refuse_mixed(
    func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[torch.Tensor]
) -> None:
    """A number of the host, [], may stand beside tensors of the device in what goes element by element; indices may."""
    pointwise = torch.Tag.pointwise in getattr(func, "tags", ()) or name in ("fill_", "fill", *_INDEXES)
    indices = {id(tensor) for tensor in _tensors(args[1])} if name in _INDEXES else set()
    for tensor in tensors:
        on_host = not isinstance(tensor, PretendTensor)
        if on_host and id(tensor) not in indices and not (pointwise and not tensor.ndim):
            raise RuntimeError(
                f"{func} at {source_line()}: a tensor {list(tensor.shape)} of the host beside tensors of"
                f" {TORCH_DEVICE}; all must be on the same device"
            )


def _refuse_host_generator(func: Any, kwargs: dict[str, Any]) -> None:
    generator = kwargs.get("generator")
    if generator is not None:
        raise RuntimeError(f"{func} at {source_line()}: a generator of the {generator.device.type} on {TORCH_DEVICE}")


def _count_indices(indices: Any) -> None:
    for index in _tensors(indices):
        if not isinstance(index, PretendTensor):
            DEVICE.counters.count(Kind.TO_DEVICE)
            DEVICE.synchronise()
        elif index.dtype in (torch.bool, torch.uint8):  # turned into numbers by `nonzero`
            DEVICE.synchronise()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for element in value:
            yield from _tensors(element)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _host(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.host
    if isinstance(value, list | tuple):
        return type(value)(map(_host, value))
    if isinstance(value, dict):
        return {key: _host(element) for key, element in value.items()}
    return value
