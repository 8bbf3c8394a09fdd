"""Forwards are timed in turns, compared, and judged by the slowest number of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from perf.adapters.networks import TimedNetwork
from perf.compiled import forwards as subject
from perf.compiled.forwards import AOT, Found, Settings, section

SETTINGS = Settings(rounds=5, networks=("flux",), rows=(1, 2), ways=(AOT,))


class Doubling(nn.Module):
    def forward(self, hidden_states: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        return (hidden_states * 2,)


def found(speedups: dict[int, float], faults: tuple[str, ...] = ()) -> Found:
    return Found("flux", {AOT: 60.0}, 0.5, {1: 10.0, 2: 20.0}, {AOT: speedups}, faults)


@pytest.mark.parametrize(
    ("speedups", "rounds", "met"), [({1: 1.3, 2: 1.3}, 5, True), ({1: 1.9, 2: 1.2}, 5, False), ({1: 2.0}, 4, None)]
)
def test_the_slowest_number_of_rows_counts(speedups: dict[int, float], rounds: int, met: bool | None) -> None:
    made = section(replace(SETTINGS, rounds=rounds), [found(speedups)], {"flux": "Flux"})
    assert [target.met for target in made.targets] == [met]


def test_the_report_has_each_way_and_the_faults() -> None:
    made = section(SETTINGS, [found({1: 1.3, 2: 1.4}, ("differs",))], {"flux": "Flux"})
    assert "| Flux, aot | 1.30 | 1.40 |" in made.paragraphs[1]
    assert "| Flux | 60.00 | none | 0.50 |" in made.paragraphs[-1]
    assert made.faults == ["differs"]


@pytest.mark.parametrize(("factor", "faults"), [(1.0, 0), (1.01, 2)])
def test_ways_are_measured_and_compared(
    factor: float, faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Compiled:
        """Multiplies the outputs of the module that it is for."""

        def __init__(self, modules: dict[str, nn.Module], *_: Any) -> None:
            for module in modules.values():
                module.register_forward_hook(lambda _, __, output: (output[0] * factor,))

        def wait(self) -> None:
            pass

        close = wait

        def states(self) -> dict[str, str]:
            return {"key": "ready"}

    network = TimedNetwork("toy", Doubling, lambda rows: {"hidden_states": torch.randn(rows, 3)}, 64)
    monkeypatch.setattr(subject, "networks", lambda _: {"flux": network})
    monkeypatch.setattr(subject, "CompiledDenoisers", Compiled)
    made = subject.measure(SETTINGS, tmp_path)
    assert len(made.faults) == faults
    assert set(made.raw["found"][0]["speedups"][AOT]) == {1, 2}
