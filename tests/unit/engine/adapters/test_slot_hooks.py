"""Compiled forwards with adapters: the same as with merged weights, and compiled no more than twice."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter_table import AdapterTable, adapter_table
from imagegen.engine.adapters.slot_hooks import SlotHooks
from imagegen.engine.adapters.span_hooks import RowsNotFirstError
from tests.unit.engine.adapters.toys import Toy, adapter, inputs, merged

ROWS = 6
SLOTS, RANK = 3, 4


class Compiled:
    """A toy that is compiled, with hooks, and how often it was."""

    def __init__(self) -> None:
        self.graphs = 0
        self.plain = Toy()
        self.module = Toy()
        self.hooks = SlotHooks(self.module, SLOTS, RANK)
        torch.compiler.reset()

        def count(graph: Any, _: Any) -> Callable[..., Any]:
            self.graphs += 1
            return graph.forward  # type: ignore[no-any-return]

        self.module.compile(backend=count)

    def __call__(self, table: AdapterTable | None, rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            if table is not None:
                self.hooks.begin(self.module, table)
            try:
                return self.module(*inputs(rows))  # type: ignore[no-any-return]
            finally:
                self.hooks.end()


@pytest.fixture
def compiled() -> Compiled:
    return Compiled()


def test_rows_get_their_own_updates_and_no_others(compiled: Compiled) -> None:
    one, other = adapter(1), adapter(2, rank=4, without_conv=True)
    calls = [(2, ()), (1, ((one, 0.5),)), (2, ((one, 1.0), (other, -0.7)))]
    table = adapter_table(calls, ROWS)  # the last row is padding
    outputs = compiled(table)
    alone = compiled.plain(*inputs(ROWS))
    first = merged(compiled.plain, {one: 0.5})(*inputs(ROWS))
    stack = merged(compiled.plain, {one: 1.0, other: -0.7})(*inputs(ROWS))
    for output, without, with_one, with_both in zip(outputs, alone, first, stack, strict=True):
        assert torch.equal(output[:2], without[:2])
        torch.testing.assert_close(output[2:3], with_one[2:3])
        torch.testing.assert_close(output[3:5], with_both[3:5])
        assert torch.equal(output[5:], without[5:])


def test_two_graphs_are_enough_for_whatever_comes_and_goes(compiled: Compiled) -> None:
    """A compiler that starts anew for each other partition of rows, or each adapter, takes longer than the images."""
    adapters = [adapter(seed, rank=1 + seed % RANK) for seed in range(8)]
    compiled(None)
    for index, each in enumerate(adapters):
        compiled(adapter_table([(index % 3 + 1, ((each, 1.0),)), (1, ())], ROWS))
        compiled(adapter_table([(2, ((each, 0.1), (adapters[0], 2.0))), (4, ((adapters[0], 1.0),))], ROWS))
        compiled(None)
    assert compiled.graphs == 2


def test_a_slot_is_used_again_and_nothing_of_its_last_adapter_stays(compiled: Compiled) -> None:
    large = [adapter(seed, rank=RANK) for seed in range(SLOTS)]
    compiled(adapter_table([(2, ((each, 1.0),)) for each in large], ROWS))
    small = adapter(9, rank=1, without_conv=True)
    outputs = compiled(adapter_table([(ROWS, ((small, 1.0),))], ROWS))
    for output, expected in zip(outputs, merged(compiled.plain, {small: 1.0})(*inputs(ROWS)), strict=True):
        torch.testing.assert_close(output, expected)


def test_slots_keep_no_adapter_alive(compiled: Compiled) -> None:
    each = adapter(1)
    gone = weakref.ref(each)
    compiled(adapter_table([(ROWS, ((each, 1.0),))], ROWS))
    del each
    gc.collect()
    assert gone() is None


def test_slots_can_be_freed_and_come_back_without_a_graph_more(compiled: Compiled) -> None:
    one = adapter(1)
    table = adapter_table([(ROWS, ((one, 1.0),))], ROWS)
    expected = compiled(table)
    compiled.hooks.free()
    assert compiled.hooks._state.layers == {}
    graphs = compiled.graphs
    for output, before in zip(compiled(table), expected, strict=True):
        assert torch.equal(output, before)
    assert compiled.graphs == graphs


def test_rows_that_are_not_first_are_an_error() -> None:
    module = Toy()
    hooks = SlotHooks(module, SLOTS, RANK)
    one = adapter(1)
    same = adapter_table([(2, ((one, 1.0),))], 2)
    table = adapter_table([(1, ()), (1, ((one, 1.0),))], 2)
    assert table is not None
    assert same is not None
    hooks.begin(module, same)
    with torch.no_grad():
        torch.testing.assert_close(module(*inputs(6)), merged(Toy(), {one: 1.0})(*inputs(6)))
    hooks.begin(module, table)
    with torch.no_grad(), pytest.raises(RowsNotFirstError, match="layer linear works on 6 rows in a forward of 2"):
        module(*inputs(6))
