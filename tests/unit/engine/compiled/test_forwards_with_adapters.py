"""Forwards in which rows have adapters run by packages of their own, where these are for the adapters' layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter, adapter_table
from imagegen.engine.adapters.update_inputs import take_updates
from tests.unit.engine.compiled.test_compiled_forward import Trial
from tests.unit.engine.compiled.toys import Toy

LAYERS = ("inner", "outer")


def with_adapter(rows: int = 2, layers: tuple[str, ...] = LAYERS, seed: int = 1) -> AdapterTable:
    """The last row has one; layers of the toy are square."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {name: LowRank(*(torch.randn(shape, generator=generator) for shape in ((2, 4), (4, 2)))) for name in layers}
    table = adapter_table([(rows - 1, ()), (1, ((ComponentAdapter(f"{seed}", pairs), 1.0),))], rows)
    assert table is not None
    return table


def updating(module: Toy, tensors: list[torch.Tensor]) -> Any:
    """Code that takes updates where it is given some."""
    if len(tensors) > 2:
        module = Toy()
        take_updates(module, LAYERS)(tensors[2:])
    return module(*tensors[:2])


def test_forwards_with_adapters_have_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, updating)
    trial.forward.take_updates(LAYERS)
    for table in (with_adapter(), with_adapter(), with_adapter(seed=2), None, None):
        trial.run(table=table)
    assert trial.by == ["eager", "package", "package", "eager", "package"]
    assert (trial.loads, trial.states) == (2, ["ready", "ready"])
    trial.forward.release()
    trial.run(table=with_adapter(rows=4), rows=4)
    assert trial.by[-1] == "package"


def test_it_is_built_for_the_layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, there=False)
    trial.forward.take_updates(LAYERS)
    trial.run()
    trial.run(table=with_adapter())
    trial.forward.take_updates(LAYERS)
    trial.run(table=with_adapter(seed=2))
    assert [job.layers for _, job, _ in trial.orders] == [(), LAYERS]
    assert len({key for key, _, _ in trial.orders}) == 2


@pytest.mark.parametrize("known", [(), ("inner",)])
def test_adapters_for_other_layers_run_eagerly(monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...]) -> None:
    trial = Trial(monkeypatch, updating)
    trial.forward.take_updates(known)
    trial.run(table=with_adapter())
    trial.run(table=with_adapter())
    assert (trial.by, trial.states) == (["eager", "eager"], [])


def test_one_without_the_updates_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial(monkeypatch, lambda module, tensors: module(*tensors[:2]))
    trial.forward.take_updates(LAYERS)
    trial.run(table=with_adapter())
    trial.run()
    trial.run()
    assert (trial.states, trial.by) == (["failed", "ready"], ["eager", "eager", "package"])
    assert "it differs from the eager forward" in caplog.text
