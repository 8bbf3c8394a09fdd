"""What a package is built for: the arguments of a merged forward without their contents and their number of rows.

A *node* describes one argument:

    ("rows", dtype, shape of a row)     a tensor whose first dimension is the rows, as many as there are
    ("fixed", dtype, shape)             any other tensor
    ("value", text)                     anything plain, as Python writes it: part of the code that is built
    ("list", kind, nodes)               a list or tuple
    ("dict", ((key, node), ...))
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from imagegen.engine.merge_rules import MergeRule

_PLAIN = (bool, int, float, str)
_KINDS = {"list": list, "tuple": tuple}


@dataclass(frozen=True)
class ForwardShape:
    """The arguments of a forward, each by its node, in order of their names. Equal in every process: see `repr`."""

    arguments: tuple[tuple[str, tuple[Any, ...]], ...]

    def has_rows(self) -> list[bool]:
        """For each tensor, in order, whether its first dimension is the rows."""
        return [node[0] == "rows" for _, argument in self.arguments for node in _tensor_nodes(argument)]

    def tensors(self, arguments: Mapping[str, Any]) -> list[torch.Tensor]:
        """The tensors of a forward of this shape, in order. Contiguous: compiled code reads them as if they were."""
        return [tensor.contiguous() for name, node in self.arguments for tensor in _tensors(node, arguments[name])]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
        """The arguments by name: the opposite of `tensors`."""
        rest = iter(tensors)
        return {name: _value(node, rest) for name, node in self.arguments}

    def examples(self, rows: int, device: torch.device) -> list[torch.Tensor]:
        """Tensors as a forward of so many rows has them, of zeros."""
        shapes = [
            (node[1], (rows, *node[2]) if node[0] == "rows" else node[2])
            for _, argument in self.arguments
            for node in _tensor_nodes(argument)
        ]
        return [torch.zeros(shape, dtype=getattr(torch, dtype), device=device) for dtype, shape in shapes]


def forward_shape(rules: Mapping[str, MergeRule], arguments: Mapping[str, Any]) -> ForwardShape | None:
    """The shape of a merged forward; None of one that cannot be compiled, as with rows of different lengths.

    Args:
        rules: by which the arguments were merged.
        arguments: by name, merged.
    """
    try:
        return ForwardShape(tuple((name, _node(rules[name], arguments[name])) for name in sorted(arguments)))
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    """An argument is of a kind that has no node."""


def _node(rule: MergeRule, value: Any) -> tuple[Any, ...]:
    kind = rule[0]
    if kind == "rows":
        return ("rows", _name(value.dtype), tuple(value.shape[1:]))
    if kind == "repeat":  # the same for each row, so that one says it all
        return _plain(value[:1])
    if kind == "list":
        return ("list", rule[1].__name__, tuple(map(_node, rule[2], value)))
    if kind == "dict":
        return ("dict", tuple((key, _node(part, value[key])) for key, part in rule[1]))
    if kind != "same":
        raise _NotPlainError
    if isinstance(value, torch.Tensor):
        return ("fixed", _name(value.dtype), tuple(value.shape))
    return _plain(value)


def _plain(value: Any) -> tuple[Any, ...]:
    if not _is_plain(value):
        raise _NotPlainError
    return ("value", repr(value))


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in _PLAIN


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _tensor_nodes(node: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if node[0] in ("rows", "fixed"):
        yield node
    elif node[0] == "list":
        for part in node[2]:
            yield from _tensor_nodes(part)
    elif node[0] == "dict":
        for _, part in node[1]:
            yield from _tensor_nodes(part)


def _tensors(node: tuple[Any, ...], value: Any) -> Iterator[torch.Tensor]:
    if node[0] in ("rows", "fixed"):
        yield value
    elif node[0] == "list":
        for part, element in zip(node[2], value, strict=True):
            yield from _tensors(part, element)
    elif node[0] == "dict":
        for key, part in node[1]:
            yield from _tensors(part, value[key])


def _value(node: tuple[Any, ...], tensors: Iterator[torch.Tensor]) -> Any:
    if node[0] in ("rows", "fixed"):
        return next(tensors)
    if node[0] == "list":
        return _KINDS[node[1]](_value(part, tensors) for part in node[2])
    if node[0] == "dict":
        return {key: _value(part, tensors) for key, part in node[1]}
    return ast.literal_eval(node[1])
