"""Eager forwards with adapters: each row as with merged weights of its own, the others untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter, adapter_table
from imagegen.engine.adapters.span_hooks import RowsNotFirstError, SpanHooks
from tests.unit.engine.adapters.toys import CHANNELS, TOKENS, WIDTH, Toy, adapter, inputs, merged

ROWS = 6


def run(
    module: nn.Module, hooks: SpanHooks, table: AdapterTable | None, *given: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        if table is not None:
            hooks.begin(module, table)
        try:
            return module(*given)  # type: ignore[no-any-return]
        finally:
            hooks.end()


def test_rows_get_their_own_updates_and_no_others() -> None:
    one, other = adapter(1), adapter(2, rank=3, without_conv=True)
    table = adapter_table([(2, ()), (1, ((one, 0.5),)), (2, ((one, 1.0), (other, -0.7)))], ROWS)
    module, given = Toy(), inputs(ROWS)
    outputs = run(module, SpanHooks(), table, *given)
    alone, first = Toy()(*given), merged(module, {one: 0.5})(*given)
    stack = merged(module, {one: 1.0, other: -0.7})(*given)
    for output, without, with_one, with_both in zip(outputs, alone, first, stack, strict=True):
        assert torch.equal(output[:2], without[:2])
        torch.testing.assert_close(output[2:3], with_one[2:3])
        torch.testing.assert_close(output[3:5], with_both[3:5])
        assert torch.equal(output[5:], without[5:])


def test_afterwards_nothing_of_it_is_left() -> None:
    module, hooks, given = Toy(), SpanHooks(), inputs(ROWS)
    run(module, hooks, adapter_table([(ROWS, ((adapter(1), 1.0),))], ROWS), *given)
    for output, expected in zip(run(module, hooks, None, *given), Toy()(*given), strict=True):
        assert torch.equal(output, expected)


def test_a_forward_that_fails_leaves_no_table_behind() -> None:
    module, hooks = Toy(), SpanHooks()
    table = adapter_table([(2, ((adapter(1), 1.0),))], 2)
    with pytest.raises(RuntimeError):
        run(module, hooks, table, torch.zeros(2, TOKENS, WIDTH + 1), inputs(2)[1])
    for output, expected in zip(run(module, hooks, None, *inputs(2)), Toy()(*inputs(2)), strict=True):
        assert torch.equal(output, expected)


def test_a_layer_has_one_hook_however_many_adapters_there_were() -> None:
    module, hooks = Toy(), SpanHooks()
    for seed in range(5):
        run(module, hooks, adapter_table([(2, ((adapter(seed), 1.0),))], 2), *inputs(2))
    assert len(module.linear._forward_hooks) == len(module.conv._forward_hooks) == 1


def test_rows_that_are_not_first_are_an_error_unless_all_get_the_same() -> None:
    module, hooks, given = Toy(), SpanHooks(), inputs(ROWS)
    one = adapter(1, without_conv=True)
    with pytest.raises(RowsNotFirstError, match="layer linear works on 6 rows in a forward of 3"):
        run(module, hooks, adapter_table([(1, ()), (2, ((one, 1.0),))], 3), *given)
    outputs = run(module, hooks, adapter_table([(3, ((one, 1.0),))], 3), *given)
    torch.testing.assert_close(outputs[0], merged(module, {one: 1.0})(*given)[0])


def test_a_layer_that_no_adapter_of_the_forward_touches_may_work_on_anything() -> None:
    """Once any adapter had been on such a layer, every other one failed there."""
    module, hooks = Toy(), SpanHooks()
    run(module, hooks, adapter_table([(ROWS, ((adapter(1), 1.0),))], ROWS), *inputs(ROWS))
    other = ComponentAdapter("other", {"conv": adapter(2).layers["conv"]})
    tokens, pixels = inputs(ROWS)[0], inputs(3)[1]
    outputs = run(module, hooks, adapter_table([(1, ()), (2, ((other, 1.0),))], 3), tokens, pixels)
    expected = Toy()(tokens, pixels)
    assert torch.equal(outputs[0], expected[0])
    assert torch.equal(outputs[1][:1], expected[1][:1])
    assert not torch.equal(outputs[1][1:], expected[1][1:])


def test_tokens_of_all_rows_may_lie_behind_each_other() -> None:
    one = adapter(1, without_conv=True)
    table = adapter_table([(1, ()), (1, ((one, 1.0),))], 2)
    given = inputs(ROWS)
    outputs = run(Toy(), SpanHooks(tokens_behind_each_other=True), table, *given)
    assert torch.equal(outputs[0][:3], Toy()(*given)[0][:3])
    torch.testing.assert_close(outputs[0][3:], merged(Toy(), {one: 1.0})(*given)[0][3:])


def test_a_scale_of_0_computes_nothing() -> None:
    endless = ComponentAdapter("", {"linear": LowRank(torch.full((1, WIDTH), torch.inf), torch.ones(WIDTH, 1))})
    outputs = run(Toy(), SpanHooks(), adapter_table([(2, ((endless, 0.0),))], 2), *inputs(2))
    assert torch.equal(outputs[0], Toy()(*inputs(2))[0])


def test_outputs_that_are_not_contiguous_get_their_updates_too() -> None:
    module, one = Toy(), adapter(1)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tokens, image = inputs(4)
    outputs = run(
        module,
        SpanHooks(),
        adapter_table([(2, ()), (2, ((one, 1.0),))], 4),
        tokens,
        image.to(memory_format=torch.channels_last),
    )
    torch.testing.assert_close(outputs[1][2:], merged(Toy(), {one: 1.0})(tokens, image)[1][2:])
    assert outputs[1].shape == (4, CHANNELS, *image.shape[2:])


def test_input_by_name_is_found() -> None:
    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = Toy().linear

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.linear(input=tokens)  # type: ignore[no-any-return]

    one = adapter(1, without_conv=True)
    table = adapter_table([(2, ((one, 1.0),))], 2)
    tokens = inputs(2)[0]
    module = ByName()
    hooks = SpanHooks()
    hooks.begin(module, table)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.relu(module(tokens)), merged(Toy(), {one: 1.0})(*inputs(2))[0])
