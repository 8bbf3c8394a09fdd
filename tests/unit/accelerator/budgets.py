"""What a request may cost on a device, by tick and in all, outside the merged forward. docs/engine.md has the table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from imagegen.engine import Engine
from tests.accelerator import DEVICE, Counters, Kind

FEW_STEPS, MORE_STEPS = 6, 10  # so many that all solvers have all their orders in the steps between
_TICKS = MORE_STEPS - FEW_STEPS


@dataclass(frozen=True)
class Budget:
    """Of one request.

    Attributes:
        launches: a tick.
        noise: copies to the device a tick: what the seed defines and the host draws.
        calls: denoiser calls a tick: each merged forward has one more copy to the device, the timesteps of all.
        to_host: copies to the host in all: the image, what the pipeline itself reads, and what only it knew of the
            content of keys (rope ids, masks).
    """

    launches: int
    noise: int = 0
    calls: int = 1
    to_host: int = 1


MOST_LAUNCHES = 20  # a denoiser call

SCHEDULERS: dict[str, Budget] = {  # with Stable Diffusion
    "ddim": Budget(10),
    "ddpm": Budget(9, noise=1),
    "deis": Budget(16),
    "dpmpp_2m": Budget(14),
    "dpmpp_sde": Budget(11, noise=1),
    "euler": Budget(11),
    "euler_ancestral": Budget(10, noise=1),
    "heun": Budget(24, calls=2),
    "pndm": Budget(16),
    "unipc": Budget(19),
}

FAMILIES: dict[str, Budget] = {  # with the checkpoint's own scheduler
    "sd": Budget(10),
    "sdxl": Budget(11),
    "sd3": Budget(6),
    "flux": Budget(2, to_host=3),
    "pixart-sigma": Budget(15),
    "sana": Budget(6),
    "lumina2": Budget(10, calls=2),
    "qwen-image": Budget(5, to_host=3),
    "z-image": Budget(8, to_host=3),
}


@dataclass(frozen=True)
class Cost:
    """What a request took, by kind and line of source.

    Attributes:
        tick: for each tick; a line that runs in some ticks alone has a fraction.
        request: for the whole of it, with FEW_STEPS.
    """

    tick: dict[Kind, dict[str, float]]
    request: dict[Kind, Counter[str]]

    def over(self, budget: Budget) -> list[str]:
        """What is not within a budget, with the lines that cost it."""
        most = {
            Kind.LAUNCH: budget.launches,
            Kind.SYNCHRONISATION: 0,
            Kind.TO_DEVICE: budget.noise + budget.calls,
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
        return found


def cost_of(engine: Engine, denoiser: Any, **options: Any) -> Cost:
    """What a request of one image takes, alone on the device, its prompt remembered."""
    engine.generate("a red cat", seed=1, num_inference_steps=1, **options)
    few, more = (_counted(engine, denoiser, steps, options) for steps in (FEW_STEPS, MORE_STEPS))
    ticks = {}
    for kind in Kind:
        lines = more[kind] | few[kind]
        changes = {line: (more[kind][line] - few[kind][line]) / _TICKS for line in lines}
        ticks[kind] = {line: change for line, change in changes.items() if change}
    return Cost(ticks, few)


def _counted(engine: Engine, denoiser: Any, steps: int, options: dict[str, Any]) -> dict[Kind, Counter[str]]:
    DEVICE.counters.reset()
    with DEVICE.counters.forwards_of(denoiser):
        engine.generate("a red cat", seed=1, num_inference_steps=steps, **options)
    return {kind: DEVICE.counters.by_line(kind, Counters.OUTSIDE) for kind in Kind}
