"""Who shares the next forward: the images that are soonest done, and others as far as they are worth their time.

A forward takes longer the more rows it has, so whoever joins it makes the others wait. On a device that is not full a
row adds next to nothing, and everybody should join; on a full one an image with 4 steps left should not pay for one
with 50. So each call weighs 1 / (steps left), and of the most urgent ones so many share as give the most weight per
second: the order that keeps the mean wait shortest (W. E. Smith, Naval Research Logistics Quarterly 3, 1956), by groups
instead of one by one. Rows that only pad a forward to a bucket are not seen here.

`perf/sharing_simulation.py` is where `FUTURE` comes from; the other constants matter less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_ENDS = 4
"""What an image takes besides its denoiser calls (text encoding, VAE), counted in calls."""

FUTURE = 4.0
"""How often a forward's fixed cost counts. Once would be best for the images that are here; but a forward that is
shared also leaves more time for those that are still to come. With four a device that is not full loses nothing."""

_PATIENCE = 32
"""Forwards after which a call that was left out goes before all others."""

_EQUAL = 1 - 1e-9  # what sums of equal numbers may differ by


def urgency(calls_left: int, forwards_waited: int) -> float:
    """What it is worth to do a call now, more than 0.

    Args:
        calls_left: of its image, this one included; 1 or more.
        forwards_waited: of any signature, since it began to wait.
    """
    if forwards_waited >= _PATIENCE:
        return 1 / _ENDS
    return 1 / (_ENDS + calls_left)


def worth_sharing(urgencies: Sequence[float], rows: Sequence[int], fixed_rows: float) -> int:
    """How many of the waiting calls, from the first, should share a forward; 1 or more.

    Calls of equal urgency and rows all do.

    Args:
        urgencies: of the calls, the most urgent first; at least one.
        rows: of each.
        fixed_rows: what a forward costs whatever its size, in rows; infinite when rows cost nothing.
    """
    if math.isinf(fixed_rows):
        return len(urgencies)
    best_count, best_worth = 1, 0.0
    weight, cost = 0.0, FUTURE * fixed_rows
    for count, (more, its_rows) in enumerate(zip(urgencies, rows, strict=True), 1):
        weight += more
        cost += its_rows
        if weight / cost >= best_worth * _EQUAL:
            best_count, best_worth = count, weight / cost
    return best_count
