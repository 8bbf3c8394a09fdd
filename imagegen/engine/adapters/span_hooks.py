"""Updates of adapters in eager forwards: each layer computes them for the rows that asked for them, and no others."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
from torch.nn import functional

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter


class RowsNotFirstError(RuntimeError):
    """A layer works on something whose first dimension is not the rows, so that no row can get updates of its own."""


def layer_input(args: Any, kwargs: Any) -> torch.Tensor:
    """What a layer was called with, by position or by name."""
    given: torch.Tensor = args[0] if args else next(iter(kwargs.values()))
    return given


def tokens_a_row(name: str, given: torch.Tensor, rows: int, *, behind_each_other: bool) -> int:
    """How many of the first dimension belong to each row: 1, unless tokens of all rows lie behind each other.

    Args:
        name: of the layer.
        given: its input.
        rows: of the forward.
        behind_each_other: whether they may.

    Raises:
        RowsNotFirstError: the first dimension is not that of the rows.
    """
    count, rest = divmod(given.shape[0], rows)
    if rest or (count != 1 and not behind_each_other):
        raise RowsNotFirstError(f"layer {name} works on {given.shape[0]} rows in a forward of {rows}")
    return count


class SpanHooks:
    """The hooks on the layers of one network, and the table of the forward that runs. Holds no layer itself.

    Without a table a hook changes nothing, so that rows without adapters are bit for bit what they were before.

    Args:
        tokens_behind_each_other: the network works in some layers on the tokens of all rows behind each other, as many
            of each row.
    """

    def __init__(self, *, tokens_behind_each_other: bool = False) -> None:
        self._table: AdapterTable | None = None
        self._behind_each_other = tokens_behind_each_other
        self._covered: WeakSet[ComponentAdapter] = WeakSet()
        self._hooked: set[str] = set()

    def begin(self, module: Any, table: AdapterTable) -> None:
        """A forward of the network, with this table, comes next."""
        for adapter in table.adapters():
            self._cover(module, adapter)
        self._table = table

    def end(self) -> None:
        """The forward has ended."""
        self._table = None

    def _cover(self, module: Any, adapter: ComponentAdapter) -> None:
        """Have hooks on all layers of an adapter."""
        if adapter in self._covered:
            return
        for name in adapter.layers.keys() - self._hooked:
            module.get_submodule(name).register_forward_hook(self._hook(name), with_kwargs=True)
            self._hooked.add(name)
        self._covered.add(adapter)

    def _hook(self, name: str) -> Any:
        def add_updates(layer: Any, args: Any, kwargs: Any, output: torch.Tensor) -> None:
            if self._table is not None:
                self._add(self._table, name, layer, layer_input(args, kwargs), output)

        return add_updates

    def _add(self, table: AdapterTable, name: str, layer: Any, given: torch.Tensor, output: torch.Tensor) -> None:
        """Add the updates of a layer to its output [rows, ...] in place."""
        wanted = [
            (start, stop, adapter.layers[name], scale)
            for start, stop, updates in table.spans
            for adapter, scale in updates
            if scale and name in adapter.layers
        ]
        if not wanted:
            return
        count = 1
        if not table.whole:
            count = tokens_a_row(name, given, table.rows, behind_each_other=self._behind_each_other)
        given = given.to(wanted[0][2].down.dtype)  # all adapters of a layer have the layer's
        if wanted[0][2].down.ndim == 4 or not output.is_contiguous() or output.dtype != given.dtype:
            for start, stop, low_rank, scale in wanted:
                span = slice(None) if table.whole else slice(start * count, stop * count)
                _add_to_rows(layer, given[span], output[span], low_rank, scale)
            return
        # Without dimensions that nobody needs: with many small spans the host's time counts.
        inputs, outputs = given.reshape(-1, given.shape[-1]), output.view(-1, output.shape[-1])
        tokens = inputs.shape[0] // given.shape[0] * count  # of each row
        for start, stop, low_rank, scale in wanted:
            span = slice(None) if table.whole else slice(start * tokens, stop * tokens)
            inner = functional.linear(inputs[span], low_rank.down)  # [tokens, rank]
            outputs[span].addmm_(inner, low_rank.up.t(), alpha=scale)


def _add_to_rows(layer: Any, given: torch.Tensor, output: torch.Tensor, low_rank: LowRank, scale: float) -> None:
    """output += scale * up(down(given)), in place; `output` may be some rows of another tensor."""
    if low_rank.down.ndim == 4:
        inner = functional.conv2d(given, low_rank.down, None, layer.stride, layer.padding, layer.dilation)
        output.add_(functional.conv2d(inner, low_rank.up), alpha=scale)
    else:
        output.add_(functional.linear(functional.linear(given, low_rank.down), low_rank.up), alpha=scale)
