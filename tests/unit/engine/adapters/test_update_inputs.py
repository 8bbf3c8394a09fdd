"""Adapters as inputs of a network: rows get their own and no others, whatever comes and goes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from imagegen.engine.adapters import update_inputs as subject
from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter, adapter_table
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.adapters.span_hooks import RowsNotFirstError
from imagegen.engine.adapters.update_inputs import (
    UpdateInputs,
    dynamic_dimensions,
    empty_matrices,
    examples,
    take_updates,
)
from tests.unit.engine.adapters.toys import Toy, adapter, inputs, merged

LAYERS = ("conv", "linear")
ROWS = 6
CPU = torch.device("cpu")


class Trial:
    """A network that takes updates, one that does not, and the inputs of the former."""

    def __init__(self, make: type[nn.Module] = Toy, layers: tuple[str, ...] = LAYERS) -> None:
        self.plain = make()
        self.module = make()
        self.module.load_state_dict(self.plain.state_dict())
        self.take = take_updates(self.module, layers)
        self.inputs = UpdateInputs(layers)

    def __call__(self, table: AdapterTable | None, *given: torch.Tensor) -> Any:
        assert table is not None
        assert self.inputs.fit(table)
        with torch.no_grad():
            self.take(self.inputs.tensors(self.plain, table))
            return self.module(*given)


def test_rows_get_their_own_updates_and_no_others() -> None:
    trial = Trial()
    one, other = adapter(1), adapter(2, rank=4, without_conv=True)
    table = adapter_table([(2, ()), (1, ((one, 0.5),)), (2, ((one, 1.0), (other, -0.7)))], ROWS)
    outputs = trial(table, *inputs(ROWS))  # the last row is padding
    assert isinstance(trial.plain, Toy)
    alone = trial.plain(*inputs(ROWS))
    first = merged(trial.plain, {one: 0.5})(*inputs(ROWS))
    stack = merged(trial.plain, {one: 1.0, other: -0.7})(*inputs(ROWS))
    for output, without, with_one, with_both in zip(outputs, alone, first, stack, strict=True):
        assert torch.equal(output[:2], without[:2])
        torch.testing.assert_close(output[2:3], with_one[2:3])
        torch.testing.assert_close(output[3:5], with_both[3:5])
        assert torch.equal(output[5:], without[5:])


def test_where_all_rows_get_the_same_padding_does_too() -> None:
    trial, one = Trial(), adapter(1)
    table = adapter_table([(2, ((one, 1.0),))], ROWS)
    assert table is not None
    assert table.whole
    assert isinstance(trial.plain, Toy)
    for output, expected in zip(
        trial(table, *inputs(ROWS)), merged(trial.plain, {one: 1.0})(*inputs(ROWS)), strict=True
    ):
        torch.testing.assert_close(output, expected)


class Convolutions(nn.Module):
    """Of one place, with steps, with padding around one place, and of several with everything."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Conv2d(4, 6, 1)
        self.steps = nn.Conv2d(4, 6, 1, stride=2)
        self.around = nn.Conv2d(4, 6, 1, padding=1)
        self.wide = nn.Conv2d(4, 6, (3, 1), stride=2, padding=(2, 1), dilation=2)
        self.vector = nn.Linear(4, 6)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return *(layer(image) for layer in (self.place, self.steps, self.around, self.wide)), self.vector(
            image[..., 0, 0]
        )


def test_layers_of_all_kinds_give_what_eager_ones_do() -> None:
    def matrices(seed: int, rank: int, *more: int) -> LowRank:
        generator = torch.Generator().manual_seed(seed)
        shapes = (rank, 4, *more), (6, rank, *[1] * len(more))
        return LowRank(*(torch.randn(shape, generator=generator) for shape in shapes))

    convolutions = {"place": (1, 1), "steps": (1, 1), "around": (1, 1), "wide": (3, 1)}
    torch.manual_seed(0)
    trial = Trial(Convolutions, (*convolutions, "vector"))

    def made(seed: int) -> ComponentAdapter:
        layers = {name: matrices(seed, seed, *kernel) for name, kernel in convolutions.items()}
        return ComponentAdapter(f"{seed}", {**layers, "vector": matrices(seed, 1 + seed)})

    one, other = made(1), made(2)
    table = adapter_table([(1, ()), (1, ((one, 0.5),)), (2, ((one, 1.0), (other, -0.7)))], 4)
    image = torch.randn(4, 4, 5, 5)
    with torch.no_grad(), applied(trial.plain, table):
        expected = trial.plain(image)
    torch.testing.assert_close(trial(table, image), expected)


def test_matrices_are_copied_for_new_adapters_alone() -> None:
    """Batches that take turns would copy all of them at each forward."""
    trial = Trial()
    one, other = adapter(1), adapter(2)
    tables = [adapter_table([(1, ((each, 1.0),)), (1, ())], 2) for each in (one, other)]
    for table in tables:
        trial(table, *inputs(2))
    matrices = trial.inputs._matrices
    for table in tables:
        trial(table, *inputs(2))
    assert trial.inputs._matrices is matrices
    trial.inputs.free()
    for table, each in zip(tables, (one, other), strict=True):
        assert isinstance(trial.plain, Toy)
        expected = merged(trial.plain, {each: 1.0})(*inputs(2))
        torch.testing.assert_close(trial(table, *inputs(2))[0][:1], expected[0][:1])


def test_adapters_that_are_gone_are_not_kept() -> None:
    trial = Trial()
    gone = [adapter(seed, rank=4) for seed in range(5)]
    references = [weakref.ref(each) for each in gone]
    for each in gone:
        trial(adapter_table([(2, ((each, 1.0),))], 2), *inputs(2))
    del gone, each
    gc.collect()
    assert [reference() for reference in references] == [None] * 5
    trial(adapter_table([(2, ((adapter(9, rank=2), 1.0),))], 2), *inputs(2))
    assert len(trial.inputs._matrices[0]) == 2


def test_one_for_another_layer_does_not_fit() -> None:
    table = adapter_table([(1, ((adapter(1, without_conv=True), 1.0),)), (1, ((adapter(2), 1.0),))], 2)
    assert table is not None
    assert UpdateInputs(LAYERS).fit(table)
    assert not UpdateInputs(("linear",)).fit(table)


def test_rows_that_are_not_first_are_an_error() -> None:
    trial = Trial()
    with pytest.raises(RowsNotFirstError, match="layer linear works on 6 rows in a forward of 2"):
        trial(adapter_table([(2, ((adapter(1), 1.0),))], 2), *inputs(6))


def test_what_a_network_is_exported_with_has_the_form_of_what_it_gets() -> None:
    one = adapter(1, rank=4)
    table = adapter_table([(2, ((one, 1.0),))], 2)
    assert table is not None
    given, example = UpdateInputs(LAYERS).tensors(Toy(), table), examples(Toy(), LAYERS, 2, CPU)
    dynamic = dynamic_dimensions(LAYERS)
    assert [each.dtype for each in given] == [each.dtype for each in example]
    for one_given, one_example, free in zip(given, example, dynamic, strict=True):
        fixed = [dimension for dimension in range(one_given.ndim) if dimension not in free]
        assert [one_given.shape[each] for each in fixed] == [one_example.shape[each] for each in fixed]


def test_without_room_for_the_matrices_the_next_forward_lays_them_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, one = Trial(), adapter(1)
    table = adapter_table([(2, ((one, 1.0),))], 2)

    def full(layer: Any, lines: int) -> Any:
        if isinstance(layer, nn.Linear):
            raise MemoryError
        return empty_matrices(layer, lines)

    with monkeypatch.context() as patch:
        patch.setattr(subject, "empty_matrices", full)
        with pytest.raises(MemoryError):
            trial(table, *inputs(2))
    assert isinstance(trial.plain, Toy)
    expected = merged(trial.plain, {one: 1.0})(*inputs(2))
    torch.testing.assert_close(trial(table, *inputs(2)), expected)
