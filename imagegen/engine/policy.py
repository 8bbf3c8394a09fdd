"""Weighted shortest processing time: images that are nearly finished go first, and others join as far as it pays.

A forward takes longer the more rows it has, so whoever joins it makes the others wait. On a device that is not full a
row adds next to nothing, and everybody should join; on a full one an image with 4 steps left should not pay for one
with 50. So each call weighs 1 / (calls left), and of the most urgent calls so many share a forward as give the most
weight per second. That order keeps the mean wait shortest (W. E. Smith, Naval Research Logistics Quarterly 3, 1956);
here it is applied to groups instead of single jobs. Rows that only pad a forward to a bucket are not counted.

All of that holds while nobody waits for a slot. Once somebody does, leaving rows of a forward empty makes the line
longer than it need be, for everybody: then forwards are filled, still those first that have least left to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Prefer: TypeAlias = Literal["latency", "balanced", "throughput"]
"""What a deployment prefers where latency of short requests and throughput are at odds."""

AMORTIZATION: dict[Prefer, float] = {"latency": 2.0, "balanced": 8.0, "throughput": math.inf}
"""By what is preferred; see `WeightedShortestProcessingTime`."""

_ROUNDING = 1 - 1e-9  # sums of equal numbers may differ by this factor


def _rows_cost_nothing(batch_key: Hashable) -> float:
    return math.inf


def _nobody_waits() -> bool:
    return False


@dataclass(frozen=True)
class WeightedShortestProcessingTime:
    """The default policy of the `Scheduler`.

    A call that was passed over for `starvation_limit` forwards goes before all that were not, and of those that were,
    nobody gets ahead of it any more. `Scheduler` says what follows for how long a call waits.

    Attributes:
        fixed_rows: what a forward of a batch key costs whatever its size, in rows; infinite when rows cost nothing.
        overhead_calls: what an image takes besides its denoiser calls (text encoding, VAE), counted in calls.
        amortization: how often a forward's fixed cost counts. Once would be best for the images that are here; but a
            forward that is shared also leaves more time for those still to come. With four a device that is not full
            loses nothing, and with eight long requests lose next to nothing on any
            (`tests/unit/engine/test_policy_on_devices.py` shows it). Infinite lets everybody share.
        starvation_limit: forwards after which a call that was left out goes before all others.
        line: whether requests wait for a slot; asked once a forward.
    """

    fixed_rows: Callable[[Hashable], float] = _rows_cost_nothing
    overhead_calls: int = 4
    amortization: float = 8.0
    starvation_limit: int = 32
    line: Callable[[], bool] = _nobody_waits

    def urgency(self, calls_left: int, forwards_waited: int) -> float:
        """What it is worth to run a call now, more than 0.

        Args:
            calls_left: calls that its image still has to make, this one included; 1 or more.
            forwards_waited: forwards of any batch key since the call began to wait.
        """
        if forwards_waited >= self.starvation_limit:
            return 1 / self.overhead_calls
        return 1 / (self.overhead_calls + calls_left)

    def sharing(self, urgencies: Sequence[float], rows: Sequence[int], batch_key: Hashable) -> int:
        """How many of the waiting calls, from the first, share the next forward; 1 or more.

        All do while requests wait for a slot, and calls of equal urgency and rows always.

        Args:
            urgencies: of the calls, the most urgent first; at least one.
            rows: of each call.
            batch_key: which they have in common.
        """
        if self.line() or math.isinf(self.amortization):
            return len(urgencies)
        fixed_rows = self.fixed_rows(batch_key)
        if math.isinf(fixed_rows):
            return len(urgencies)
        best_count, best_value = 1, 0.0
        weight, cost = 0.0, self.amortization * fixed_rows
        for count, (its_urgency, its_rows) in enumerate(zip(urgencies, rows, strict=True), 1):
            weight += its_urgency
            cost += its_rows
            if weight / cost >= best_value * _ROUNDING:
                best_count, best_value = count, weight / cost
        return best_count
