"""Counts the kernels of a computation on the device `meta`: how many, their arithmetic, the bytes they move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_NO_KERNEL = {
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::_unsafe_view",
    "aten::detach",
    "aten::lift_fresh",
}
"""Ops that only make a tensor's description. Views are known by their schema."""


@dataclass(frozen=True)
class Kernel:
    """One operation of the device.

    Attributes:
        name: of the op in torch.
        flops: floating-point operations of matrix products and convolutions, a multiply-add counting as two; 0 of
            everything else, which memory bounds.
        bytes: read and written, each tensor once.
    """

    name: str
    flops: int
    bytes: int


class KernelCount:
    """A context that notes each kernel of what runs on `meta` in it. What is on the host beside it does not count.

    Attention is one kernel that reads queries, keys and values and writes its output, as on a GPU: `meta` itself would
    write out every score. Enter `torch.no_grad()` too, not inference mode, in which ops that consist of others are seen
    instead of these.

    Attributes:
        kernels: in their order.
    """

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self._stack = ExitStack()

    def __enter__(self) -> KernelCount:
        self._stack.enter_context(_Fused(self.kernels))
        self._stack.enter_context(_Ops(self.kernels))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()


class _Ops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, kernels: list[Kernel]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kernels = kernels

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = func._schema.name
        if name in _NO_KERNEL or _is_view(func):
            return output
        read = list(_tensors((args, kwargs)))
        written = list(_tensors(output))
        if not any(tensor.is_meta for tensor in (*read, *written)):
            return output
        if name == "aten::copy_":
            read = read[1:]  # what is written over is not read
        flops = flop_registry.get(func._overloadpacket)
        self._kernels.append(
            Kernel(
                name.removeprefix("aten::"),
                int(flops(*args, **kwargs, out_val=output)) if flops is not None else 0,
                sum(_bytes(tensor) for tensor in (*read, *written)),
            )
        )
        return output


class _Fused(TorchFunctionMode):
    """What is one kernel on a GPU, and several ops on `meta`."""

    def __init__(self, kernels: list[Kernel]) -> None:
        super().__init__()
        self._kernels = kernels

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in (torch.nn.functional.rms_norm, torch.rms_norm):
            return self._rms_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """query [..., heads, L, D], key [..., heads, S, D], value [..., heads, S, E] to [..., heads, L, E]."""
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        products = math.prod(query.shape[:-1]) * key.shape[-2]
        flops = 2 * products * (query.shape[-1] + value.shape[-1])
        self._note("scaled_dot_product_attention", flops, query, key, value, attn_mask, output)
        return output

    def _rms_norm(
        self, input: torch.Tensor, normalized_shape: Any, weight: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        output = torch.empty_like(input)
        self._note("rms_norm", 0, input, weight, output)
        return output

    def _note(self, name: str, flops: int, *moved: torch.Tensor | None) -> None:
        tensors = [tensor for tensor in moved if tensor is not None]
        if any(tensor.is_meta for tensor in tensors):
            self._kernels.append(Kernel(name, flops, sum(map(_bytes, tensors))))


def _is_view(func: Any) -> bool:
    """Whether all that it returns is what it was given, unchanged."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def _bytes(tensor: torch.Tensor) -> int:
    """Of its distinct elements: what was expanded is read once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in sizes if stride) * tensor.element_size()
