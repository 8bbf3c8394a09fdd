"""Updates around a forward, and what is known of a network's rows."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import torch

from imagegen.engine.adapters.adapter_table import adapter_table
from imagegen.engine.adapters.row_updates import applied, free_slots, mixes_rows, rows_not_first, use_slots
from tests.unit.engine.adapters.toys import Toy, adapter, inputs, merged


def test_only_the_forward_inside_has_updates() -> None:
    module, one = Toy(), adapter(1)
    table = adapter_table([(1, ()), (1, ((one, 1.0),))], 2)
    with torch.no_grad():
        with applied(module, table):
            inside = module(*inputs(2))
        outside = module(*inputs(2))
        with applied(module, None):
            without = module(*inputs(2))
    torch.testing.assert_close(inside[0][1:], merged(module, {one: 1.0})(*inputs(2))[0][1:])
    assert torch.equal(outside[0], Toy()(*inputs(2))[0])
    assert torch.equal(without[0], outside[0])


@pytest.mark.parametrize("slots", [False, True])
def test_a_network_is_not_kept_alive(slots: bool) -> None:
    module = Toy()
    if slots:
        use_slots(module, 2, 2)
    gone = weakref.ref(module)
    with torch.no_grad(), applied(module, adapter_table([(2, ((adapter(1), 1.0),))], 2)):
        module(*inputs(2))
    del module
    gc.collect()
    assert gone() is None


def test_that_rows_are_not_first_is_remembered_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    module = Toy()
    assert mixes_rows(module)
    with caplog.at_level(logging.WARNING):
        rows_not_first(module)
        rows_not_first(module)
    assert not mixes_rows(module)
    assert len(caplog.records) == 1
    assert "Toy" in caplog.text


def test_a_network_with_slots_gives_the_same() -> None:
    module, one, other = Toy(), adapter(1), adapter(2)
    use_slots(module, 2, 2)
    table = adapter_table([(1, ((one, 0.3),)), (1, ((other, 1.0),))], 2)
    with torch.no_grad(), applied(module, table):
        outputs = module(*inputs(2))
    torch.testing.assert_close(outputs[0][:1], merged(module, {one: 0.3})(*inputs(2))[0][:1])
    torch.testing.assert_close(outputs[1][1:], merged(module, {other: 1.0})(*inputs(2))[1][1:])


def test_memory_for_adapters_can_be_freed_of_any_network() -> None:
    module, one = Toy(), adapter(1)
    free_slots(module)
    use_slots(module, 2, 2)
    for _ in range(2):
        with torch.no_grad(), applied(module, adapter_table([(2, ((one, 1.0),))], 2)):
            outputs = module(*inputs(2))
        torch.testing.assert_close(outputs[0], merged(module, {one: 1.0})(*inputs(2))[0])
        free_slots(module)
