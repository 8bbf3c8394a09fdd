"""Lag of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from imagegen.openai.loop_lag import measure_loop_lag
from imagegen.openai.metrics import FrontendMetrics


def test_what_a_timer_is_late_is_observed() -> None:
    metrics = FrontendMetrics()
    late_s = [0.0, 0.5, -0.1]  # a clock may be corrected
    now_s = 10.0

    def clock() -> float:
        return now_s

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        if not late_s:
            raise asyncio.CancelledError
        now_s += seconds + late_s.pop(0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(measure_loop_lag(metrics.loop_lag, clock=clock, sleep=sleep))
    text = metrics.text().decode()
    assert "imagegen_frontend_loop_lag_seconds_count 3.0" in text
    assert "imagegen_frontend_loop_lag_seconds_sum 0.5" in text
