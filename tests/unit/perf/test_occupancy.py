"""Batch occupancy is read from the server's metrics."""

from __future__ import annotations

from perf.occupancy import Moment, mean_rows, read_moment

METRICS = """
# TYPE imagegen_diffusion_forwards_total counter
imagegen_diffusion_forwards_total{instance="a"} 10
imagegen_diffusion_forward_rows_sum{instance="a"} 60
imagegen_diffusion_forward_rows_count{instance="a"} 10
imagegen_diffusion_forward_rows_bucket{instance="a",le="2"} 1
imagegen_diffusion_active_requests{instance="a"} 3
"""


def test_counts_are_read() -> None:
    assert read_moment(METRICS, 5.0) == Moment(5.0, 10, 60, 3)
    assert read_moment("", 5.0) == Moment(5.0, 0, 0, 0)


def test_rows_are_those_since_the_moment_before() -> None:
    moments = [Moment(1.0, 0, 0, 0), Moment(2.0, 10, 60, 3), Moment(3.0, 10, 60, 0), Moment(4.0, 12, 64, 1)]
    assert mean_rows(moments) == [(1.0, 6.0, 3), (2.0, 0.0, 0), (3.0, 2.0, 1)]
    assert mean_rows([]) == []
