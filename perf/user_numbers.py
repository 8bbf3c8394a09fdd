"""How many users there are at each moment of a load test: a ramp, a steady crowd, a burst, the crowd again."""

from __future__ import annotations

BURST = 3
"""Times the crowd's users."""
_RAMP_ENDS, _BURST_BEGINS, _BURST_ENDS = 0.3, 0.5, 0.7  # shares of the test's duration


def users_at(second: float, crowd: int, duration_s: float) -> int | None:
    """How many users there are to be; None when the test is over.

    Args:
        second: since the start.
        crowd: users outside the ramp and the burst.
        duration_s: of the whole test.
    """
    if second >= duration_s:
        return None
    share = second / duration_s
    if share < _RAMP_ENDS:
        return max(1, round(crowd * share / _RAMP_ENDS))
    return crowd * BURST if _BURST_BEGINS <= share < _BURST_ENDS else crowd
