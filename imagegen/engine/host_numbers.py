"""While a scheduler steps: its numbers stay on the host, products wait for the sum they are for, noise does not wait.

c * x            a Product, no launch
y - c * x        one launch instead of two
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from imagegen.engine.transfer import to_device

_TIMES = (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__)
_PLUS = (torch.add, torch.Tensor.add, torch.Tensor.__add__)
_MINUS = (torch.sub, torch.Tensor.sub, torch.Tensor.__sub__)
_SHARED = ("device", "dtype", "ndim", "shape")  # by a product and its tensor
_SUM_OF_PARTS = "k,bkc...->bc..."  # UniPC's, of [B, K, C, ...] by K weights


class HostNumbers(TorchFunctionMode):
    """Within it a scheduler of diffusers computes with numbers of the host, although it puts them on the device.

    Attributes:
        needed: whether there was a number, or noise, that was to go to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.needed = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        if func in _TIMES and (product := _product(*args)) is not None:
            return product
        if func in _PLUS and isinstance(args[1], Product):
            return args[1].added_to(args[0])
        if func in _MINUS and isinstance(args[1], Product):
            return args[1].subtracted_from(args[0])
        if func is torch.stack and _on_device(args[0][0]):
            return tuple(args[0])  # for the sum below, the only one that a scheduler asks for
        if func is torch.einsum and isinstance(args[2], tuple):
            return _weighted_sum(*args)
        if func is torch.ones and prod(args[0] if isinstance(args[0], tuple) else args) == 1:
            self.needed = True
            kwargs = {name: value for name, value in kwargs.items() if name != "device"}
        return func(*computed(args), **computed(kwargs))

    def _to(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)
        if _on_device(tensor) or device is None or device.type == "cpu":
            return tensor.to(*args, **kwargs)
        self.needed = True
        tensor = tensor if dtype is None else tensor.to(dtype)
        moved: torch.Tensor = tensor if tensor.ndim <= 1 else to_device(tensor, device)  # noise has more dimensions
        return moved


class Product:
    """A tensor of the device times a number of the host, computed when it is known what for."""

    __slots__ = ("_number", "_tensor")

    def __init__(self, tensor: torch.Tensor, number: Any) -> None:
        self._tensor = tensor
        self._number = number

    def value(self) -> torch.Tensor:
        """The product."""
        return torch.multiply(self._tensor, self._number)  # by this name it is computed at once

    def __mul__(self, number: Any) -> Any:
        return Product(self._tensor, self._number * number) if _is_number(number) else self.value() * computed(number)

    __rmul__ = __mul__

    def added_to(self, other: Any) -> torch.Tensor:
        """other + self."""
        return torch.add(computed(other), self._tensor, alpha=float(self._number))

    def subtracted_from(self, other: Any) -> torch.Tensor:
        """other - self."""
        return torch.sub(computed(other), self._tensor, alpha=float(self._number))

    def __sub__(self, other: Any) -> torch.Tensor:
        return other.subtracted_from(self) if isinstance(other, Product) else self.value() - other

    __add__ = __radd__ = added_to
    __rsub__ = subtracted_from

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*computed(args), **computed(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tensor if name in _SHARED else self.value(), name)


def computed(value: Any) -> Any:
    """A value without products, those in lists and tuples computed too."""
    if isinstance(value, Product):
        return value.value()
    if type(value) in (list, tuple):
        return type(value)(map(computed, value))
    if type(value) is dict:
        return {name: computed(part) for name, part in value.items()}
    return value


def _product(one: Any, other: Any) -> Product | None:
    if _is_number(other) and _on_device(one):
        return Product(one, other)
    if isinstance(other, Product) and _is_number(one):
        return Product(other._tensor, other._number * one)
    return Product(other, one) if _is_number(one) and _on_device(other) else None


def _weighted_sum(equation: str, weights: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> Any:
    if equation != _SUM_OF_PARTS or _on_device(weights):
        raise NotImplementedError(f"a scheduler's sum {equation}")
    total: Any = Product(parts[0], weights[0])
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + Product(part, weight)
    return total


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and not value.ndim and value.is_cpu)


def _on_device(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not value.is_cpu
