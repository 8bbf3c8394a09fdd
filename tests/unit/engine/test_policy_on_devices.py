"""The policy and the executor on devices that are not full, half full and full, on a clock that only forwards move.

No model and no server, so the same numbers on every machine: leaving long images out of short ones' forwards is worth
it where rows cost, and harmless where they do not. It is where `amortization` comes from.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from imagegen.engine.executor import Executor, PipelineRun
from imagegen.engine.policy import WeightedShortestProcessingTime
from imagegen.engine.scheduler import Limits, Scheduler
from perf.traces import Planned, closed_loop_trace, poisson_trace
from perf.workload import SHORT_STEPS

_REQUESTS, _CLIENTS, _SLOTS, _SEED, _SIDE_PX = 2000, 8, 16, 1, 64
_AMORTIZATION = WeightedShortestProcessingTime.amortization


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
        steps = [planned.request.num_inference_steps for planned in closed_loop_trace(_REQUESTS, _SEED, _SIDE_PX)]
        step_ms = self.fixed_ms + 2 * self.row_ms + self.step_ms
        return float(1000 / (self.begin_ms + self.end_ms + statistics.mean(steps) * step_ms))


DEVICES = {
    "not full (a launch-bound model)": Device(12.5, 0.9),
    "half full (the bundled checkpoint at 64x64 on one core)": Device(6.0, 2.2),
    "full (the bundled checkpoint at 128x128 on one core)": Device(5.8, 8.8, end_ms=13.5),
}


@dataclass(frozen=True)
class _Call:
    rows: int = 2
    pixels: int = 2
    batch_key: str = "all alike"


def simulate(
    device: Device, *, load: float | None, amortization: float = _AMORTIZATION
) -> tuple[list[float], list[float], float]:
    """Run the executor on the mix of `perf.traces`.

    Args:
        device: what things cost.
        load: rate of Poisson arrivals as a share of the device's capacity; None for a closed loop of 8 clients.
        amortization: how often a forward's fixed cost counts; infinite lets everybody share.

    Returns:
        Latencies of short and of long requests in milliseconds, and requests per second.
    """
    clock_ms = 0.0
    short_ms: list[float] = []
    long_ms: list[float] = []

    def forward(calls: Sequence[_Call]) -> Sequence[None]:
        nonlocal clock_ms
        clock_ms += device.fixed_ms + device.row_ms * sum(call.rows for call in calls) + device.step_ms * len(calls)
        return [None] * len(calls)

    def generate(steps: int) -> None:
        nonlocal clock_ms
        clock_ms += device.begin_ms
        for _ in range(steps):
            executor.call(_Call())
        clock_ms += device.end_ms

    def done(steps: int, since_ms: float, result: Any, error: BaseException | None) -> None:
        assert error is None, error
        (short_ms if steps == SHORT_STEPS else long_ms).append(clock_ms - since_ms)

    policy = WeightedShortestProcessingTime(lambda _: device.fixed_ms / device.row_ms, amortization=amortization)
    executor = Executor(forward, Scheduler(Limits(), policy))
    waiting = deque(_planned(device, load))
    while waiting or executor.active:
        if load is not None and not executor.active:
            clock_ms = max(clock_ms, waiting[0].due_s * 1000)
        room = _CLIENTS if load is None else _SLOTS
        while waiting and executor.active < room and (load is None or waiting[0].due_s * 1000 <= clock_ms):
            planned = waiting.popleft()
            steps = planned.request.num_inference_steps
            since_ms = clock_ms if load is None else planned.due_s * 1000
            executor.submit(PipelineRun(partial(generate, steps), partial(done, steps, since_ms), expected_calls=steps))
        executor.tick()
    return short_ms, long_ms, _REQUESTS / clock_ms * 1000


def _planned(device: Device, load: float | None) -> list[Planned]:
    if load is None:
        return closed_loop_trace(_REQUESTS, _SEED, _SIDE_PX)
    return poisson_trace(_REQUESTS, load * device.capacity_per_s, _SEED, _SIDE_PX)


NOT_FULL, HALF_FULL, FULL = DEVICES.values()


def p95(values: list[float]) -> float:
    return float(np.percentile(values, 95))


def test_the_short_wait_much_less_on_a_full_device_and_the_long_hardly_more() -> None:
    before, before_long, _ = simulate(FULL, load=0.8, amortization=math.inf)
    short, long, _ = simulate(FULL, load=0.8)
    assert p95(short) < p95(before) / 2
    assert np.median(short) < np.median(before) / 1.5
    assert np.median(long) < np.median(before_long) * 1.1


def test_the_short_wait_less_on_a_device_that_is_half_full() -> None:
    before, _, _ = simulate(HALF_FULL, load=0.8, amortization=math.inf)
    short, _, _ = simulate(HALF_FULL, load=0.8)
    assert p95(short) < p95(before) / 1.3


@pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
def test_throughput_is_kept(device: Device) -> None:
    """Within 5 %, with 8 clients."""
    _, _, before = simulate(device, load=None, amortization=math.inf)
    _, _, per_s = simulate(device, load=None)
    assert per_s > 0.95 * before


def test_every_request_ends() -> None:
    short, long, _ = simulate(NOT_FULL, load=1.5)
    assert (len(short), len(long)) == (1400, 600)
