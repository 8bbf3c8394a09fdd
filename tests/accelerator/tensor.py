"""A tensor of the pretend device: it looks like one, and its numbers lie in a tensor of the host."""

from __future__ import annotations

from typing import Any

import torch

from tests.accelerator.device import DEVICE, TORCH_DEVICE
from tests.accelerator.memory import Allocation


class PretendTensor(torch.Tensor):
    """Stands for a tensor on the device.

    Attributes:
        host: the numbers.
        allocation: the bytes, held together with all views of them.
    """

    host: torch.Tensor
    allocation: Allocation

    @staticmethod
    def __new__(cls, host: torch.Tensor, allocation: Allocation) -> PretendTensor:
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=TORCH_DEVICE,
        )
        made.host = host
        made.allocation = allocation
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        from tests.accelerator.operations import run  # it makes such tensors

        return run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        copied = placed(self.host.clone())
        copied.__dict__.update({name: value for name, value in vars(self).items() if name == "_is_param"})
        memo[id(self)] = copied
        return copied

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendTensor(shape={list(self.shape)}, dtype={self.dtype})"


def placed(host: torch.Tensor) -> PretendTensor:
    """A tensor of the device with these numbers, in a storage of its own; nothing is counted but its bytes."""
    return PretendTensor(host, DEVICE.memory.allocate(host.untyped_storage().nbytes()))
