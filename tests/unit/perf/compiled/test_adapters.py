"""Forwards with adapters are timed in turns, compared, and judged by the slowest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from perf.adapters.networks import TimedNetwork
from perf.compiled import adapters as subject
from perf.compiled.adapters import AOT, WITHOUT, Found, Settings, section

SETTINGS = Settings(rounds=5, warmup=0, networks=("flux",), rows=(1, 2), counts=(1, 2), ranks=(2,))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleDict({"to_q": nn.Linear(3, 3)})

    def forward(self, hidden_states: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        return (self.transformer_blocks["to_q"](hidden_states),)


def found(speedup: float, *faults: str) -> Found:
    return Found("flux", 2, 1, 16, 10.0, {AOT: speedup, WITHOUT: 1.5}, faults)


@pytest.mark.parametrize(
    ("speedups", "rounds", "met"), [((1.3, 1.0), 5, True), ((1.9, 0.9), 5, False), ((2.0,), 4, None)]
)
def test_the_slowest_forward_counts(speedups: tuple[float, ...], rounds: int, met: bool | None) -> None:
    made = section(replace(SETTINGS, rounds=rounds), [found(each) for each in speedups], {"flux": "Flux"})
    assert [target.met for target in made.targets] == [met]


def test_the_report_has_each_forward_and_the_faults() -> None:
    without = Found("flux", 0, 0, 0, 0.0, {}, ["a is failed"])
    made = section(SETTINGS, [found(1.25, "differs"), without], {"flux": "Flux"})
    assert "| Flux | 16 | 2 | 1 | 10.00 | 1.25 | 1.50 |" in made.paragraphs[1]
    assert made.faults == ["differs", "a is failed"]


@pytest.mark.parametrize(("factor", "faults"), [(1.0, 0), (1.01, 3)])
def test_ways_are_measured_and_compared(
    factor: float, faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Compiled:
        """Multiplies the outputs of the module that it is for."""

        def __init__(self, modules: dict[str, nn.Module], *_: Any) -> None:
            for module in modules.values():
                module.register_forward_hook(lambda _, __, output: (output[0] * factor,))

        def take_updates(self, layers: dict[str, tuple[str, ...]]) -> None:
            assert layers == {"flux": ("transformer_blocks.to_q",)}

        def wait(self) -> None:
            pass

        close = wait

        def states(self) -> dict[str, str]:
            return {"key": "ready"}

    network = TimedNetwork("toy", Block, lambda rows: {"hidden_states": torch.randn(rows, 3)}, 64)
    monkeypatch.setattr(subject, "networks", lambda _: {"flux": network})
    monkeypatch.setattr(subject, "CompiledDenoisers", Compiled)
    made = subject.measure(SETTINGS, tmp_path)
    assert len(made.faults) == faults
    assert [(one["rows"], one["count"]) for one in made.raw["found"]] == [(1, 1), (2, 1), (2, 2)]
