"""What a request takes on the device, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from imagegen.engine import Engine
from tests.accelerator import DEVICE, Counters, Kind
from tests.on_accelerator.budgets import Budget

FEW_STEPS, MORE_STEPS = 5, 7  # so many that all solvers have all their orders in the steps between
_TICKS = MORE_STEPS - FEW_STEPS


@dataclass(frozen=True)
class Cost:
    """What a request took, by kind and line of source.

    Attributes:
        tick: for each tick; a line that runs in some ticks alone has a fraction.
        request: for the whole of it, with FEW_STEPS.
        forward_waits: synchronisations in forwards, for each tick.
    """

    tick: dict[Kind, dict[str, float]]
    request: dict[Kind, Counter[str]]
    forward_waits: float

    def over(self, budget: Budget) -> list[str]:
        """What is not within a budget, with the lines that cost it."""
        most = {
            Kind.LAUNCH: budget.launches,
            Kind.SYNCHRONISATION: budget.waits,
            Kind.TO_DEVICE: budget.noise + budget.calls + budget.waits,
            Kind.TO_HOST: 0,
        }
        found = [
            f"{sum(self.tick[kind].values()):g} of {kind.value} a tick, {limit} are allowed: {self.tick[kind]}"
            for kind, limit in most.items()
            if sum(self.tick[kind].values()) > limit
        ]
        to_host = self.request[Kind.TO_HOST]
        if to_host.total() > budget.to_host:
            found.append(f"{to_host.total()} copies to the host, {budget.to_host} are allowed: {dict(to_host)}")
        if self.forward_waits > budget.forward_waits * budget.calls:
            found.append(f"{self.forward_waits:g} synchronisations in the forwards of a tick")
        return found


def cost_of(engine: Engine, *denoisers: Any, **options: Any) -> Cost:
    """What a request of one image takes, alone on the device, its prompt remembered, beside forwards of `denoisers`."""
    engine.generate("a red cat", seed=1, num_inference_steps=1, **options)
    (few, few_waits), (more, more_waits) = (
        _counted(engine, denoisers, steps, options) for steps in (FEW_STEPS, MORE_STEPS)
    )
    ticks = {}
    for kind in Kind:
        lines = more[kind] | few[kind]
        changes = {line: (more[kind][line] - few[kind][line]) / _TICKS for line in lines}
        ticks[kind] = {line: change for line, change in changes.items() if change}
    return Cost(ticks, few, (more_waits - few_waits) / _TICKS)


def _counted(
    engine: Engine, denoisers: Sequence[Any], steps: int, options: dict[str, Any]
) -> tuple[dict[Kind, Counter[str]], int]:
    DEVICE.counters.reset()
    with ExitStack() as stack:
        for denoiser in denoisers:
            stack.enter_context(DEVICE.counters.forwards_of(denoiser))
        engine.generate("a red cat", seed=1, num_inference_steps=steps, **options)
    waits = DEVICE.counters.total(Kind.SYNCHRONISATION, Counters.FORWARD)
    return {kind: DEVICE.counters.by_line(kind, Counters.OUTSIDE) for kind in Kind}, waits
