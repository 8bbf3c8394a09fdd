"""Ranks with adapters: each gets those that its rows ask for, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import ComponentAdapter
from imagegen.engine.collate import describe, forward


class DoublingByLayer(torch.nn.Module):
    """A denoiser with a layer: 2 x for each row of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(2 * torch.eye(3))

    def forward(self, sample: Any, timestep: Any = None) -> Any:
        return (self.layer(sample),)


def adding(value: float) -> ComponentAdapter:
    """An adapter of which a scale of 1 adds value * x."""
    return ComponentAdapter(str(value), {"layer": LowRank(torch.eye(3), value * torch.eye(3))})


@pytest.mark.parametrize("parallelism", ["rows", "context"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_rows_have_their_adapters_on_whichever_rank(group_of: Any, parallelism: str, ranks: int) -> None:
    one, other = adding(1), adding(10)
    module = DoublingByLayer()
    group = group_of(SimpleNamespace(unet=module), ranks, parallelism=parallelism)
    updates = [(), ((one, 1.0),), ((other, 0.5),), ((one, -1.0), (other, 1.0)), ()]
    for _ in range(3):
        calls = [
            describe(module, (torch.full((1, 3), float(row)),), {}, 1, updates=its) for row, its in enumerate(updates)
        ]
        with torch.no_grad():
            outputs = forward(calls, ranks=group)
        assert [output[0][0, 0].item() for output in outputs] == [0, 3, 14, 33, 8]
    sent = [other_rank.adapters._numbers for other_rank in group._others]
    assert all(len(numbers) <= 2 for numbers in sent)
    assert any(len(numbers) for numbers in sent)
