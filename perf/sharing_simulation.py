"""`python -m perf.sharing_simulation`: whom should a forward be shared with, by how full the device is?

The hub itself, on a clock that only forwards move: no model and no server, the same numbers on every machine. It is
where `FUTURE` of `sharing.py` comes from.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from imagegen.launch.model_repository import MODEL_REPOSITORY
from perf.report import table
from perf.traces import SHORT_STEPS, Planned, closed_loop_shares, poisson_trace

sys.path.append(str(MODEL_REPOSITORY / "diffusion" / "1"))  # where Triton finds it too
from imagegen.engine import sharing
from imagegen.engine.executor import Hub, Limits, PipelineRun

_REQUESTS, _CLIENTS, _LOAD, _SLOTS, _SEED = 2000, 8, 0.8, 16, 1
_TRIED = (math.inf, 1.0, 2.0, sharing.FUTURE, 8.0)


@dataclass(frozen=True)
class Device:
    """How long things take on a device, in milliseconds.

    Attributes:
        fixed_ms, row_ms: of a forward, whatever its rows and for each.
        begin_ms, end_ms: text encoding, and VAE and pixels, of an image.
        step_ms: the pipeline's own code, of a step and image.
    """

    fixed_ms: float
    row_ms: float
    begin_ms: float = 2.5
    end_ms: float = 5.5
    step_ms: float = 0.5

    @property
    def capacity_per_s(self) -> float:
        """Requests of the mix per second, one at a time."""
        ends_ms = self.begin_ms + self.end_ms
        steps = [planned.num_inference_steps for planned in poisson_trace(_REQUESTS, 1.0, _SEED)]
        return 1000 / (ends_ms + statistics.mean(steps) * (self.fixed_ms + 2 * self.row_ms + self.step_ms))


DEVICES = {
    "not full (a launch-bound model)": Device(12.5, 0.9),
    "half full (the bundled checkpoint at 64x64 on one core)": Device(6.0, 2.2),
    "full (the bundled checkpoint at 128x128 on one core)": Device(5.8, 8.8, end_ms=13.5),
}


@dataclass(frozen=True)
class _Call:
    rows: int = 2
    pixels: int = 2
    signature: str = "all alike"


def simulate(
    device: Device, *, load: float | None, counts: float = sharing.FUTURE
) -> tuple[list[float], list[float], float]:
    """Run the hub on the mix of `perf.traces`.

    Args:
        device: what things cost.
        load: arrivals as a share of what is done one at a time; None for a closed loop of 8 clients.
        counts: how often a forward's fixed cost counts; infinite to leave nobody out, whatever it costs.

    Returns:
        Milliseconds of the short requests, of the long ones, and requests per second.
    """
    clock_ms = 0.0
    short_ms: list[float] = []
    long_ms: list[float] = []

    def forward(calls: Sequence[_Call]) -> Sequence[None]:
        nonlocal clock_ms
        clock_ms += device.fixed_ms + device.row_ms * sum(call.rows for call in calls) + device.step_ms * len(calls)
        return [None] * len(calls)

    def draw(steps: int) -> None:
        nonlocal clock_ms
        clock_ms += device.begin_ms
        for _ in range(steps):
            hub.call(_Call())
        clock_ms += device.end_ms

    def done(steps: int, since_ms: float, result: Any, error: BaseException | None) -> None:
        assert error is None, error
        (short_ms if steps == SHORT_STEPS else long_ms).append(clock_ms - since_ms)

    fixed_rows = device.fixed_ms / device.row_ms * counts / sharing.FUTURE  # the hub counts it FUTURE times
    hub = Hub(forward, Limits(), fixed_rows=lambda _: fixed_rows)
    waiting = deque(_planned(device, load))
    while waiting or hub.active:
        if load is not None and not hub.active:
            clock_ms = max(clock_ms, waiting[0].due_s * 1000)
        room = _CLIENTS if load is None else _SLOTS
        while waiting and hub.active < room and (load is None or waiting[0].due_s * 1000 <= clock_ms):
            planned = waiting.popleft()
            steps = planned.num_inference_steps
            since_ms = clock_ms if load is None else planned.due_s * 1000
            hub.submit(PipelineRun(partial(draw, steps), partial(done, steps, since_ms), expected_calls=steps))
        hub.tick()
    return short_ms, long_ms, _REQUESTS / clock_ms * 1000


def _planned(device: Device, load: float | None) -> list[Planned]:
    if load is not None:
        return poisson_trace(_REQUESTS, load * device.capacity_per_s, _SEED)
    return [planned for share in closed_loop_shares(1, _REQUESTS, _SEED) for planned in share]


def main() -> int:
    """Print a table for each device."""
    columns = (
        "a fixed cost counts",
        *(f"{kind} {figure} ms" for kind in ("short", "long") for figure in ("p50", "p95")),
        "8 clients: requests/s",
        "short p95 ms",
    )
    for name, device in DEVICES.items():
        rows = []
        for times in _TRIED:
            short_ms, long_ms, _ = simulate(device, load=_LOAD, counts=times)
            closed_ms, _, per_s = simulate(device, load=None, counts=times)
            figures = [np.percentile(values, q) for values in (short_ms, long_ms) for q in (50, 95)]
            told = "everybody shares" if math.isinf(times) else f"{times:g} times"
            rows.append([told, *(round(figure) for figure in figures), per_s, round(np.percentile(closed_ms, 95))])
        print(f"## Device {name}\n\n{_LOAD:.0%} load, then a closed loop\n\n{table(columns, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
