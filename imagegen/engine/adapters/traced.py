"""Tensors that remember which keys of a file they were made from, whatever is computed with them.

diffusers' converters rename, split, stack and scale, and some drop what they do not know. With these one sees what
became of each matrix, and an error can name the key that lies in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class TracedTensor(torch.Tensor):
    """A tensor with the keys that it comes from.

    Attributes:
        sources: the keys of the file's tensors whose elements, or whose value as a factor, it has.
    """

    sources: frozenset[str] = frozenset()

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute as ever; what comes out has the sources of all that went in."""
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        if isinstance(result, TracedTensor | tuple | list):
            _mark(result, _sources((args, tuple((kwargs or {}).values()))))
        return result


def traced(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, sharing their memory, each with its key as its source."""
    made: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        made[key] = tensor.as_subclass(TracedTensor)
        made[key].sources = frozenset({key})  # type: ignore[attr-defined]
    return made


def _mark(result: Any, sources: frozenset[str]) -> None:
    if isinstance(result, TracedTensor):
        result.sources = sources
    elif isinstance(result, tuple | list):
        for part in result:
            _mark(part, sources)


def _sources(value: Any) -> frozenset[str]:
    if isinstance(value, TracedTensor):
        return value.sources
    if isinstance(value, tuple | list):
        return frozenset().union(*map(_sources, value))
    return frozenset()
