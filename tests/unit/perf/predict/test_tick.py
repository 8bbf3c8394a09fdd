"""A tick is the merged forward and what each request adds beside it, whichever the family."""

from __future__ import annotations

import pytest

from perf.gpu.flops import forward_flops
from perf.predict.tick import Tick, count_tick
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

SIDE_PX = 64


@pytest.fixture(scope="module", params=SMALL_SHAPES)
def ticks(request: pytest.FixtureRequest) -> tuple[str, dict[int, Tick]]:
    shape = SMALL_SHAPES[request.param]
    return request.param, {requests: count_tick(shape, requests, SIDE_PX) for requests in (1, 8)}


def test_the_forwards_arithmetic_is_that_of_its_rows(ticks: tuple[str, dict[int, Tick]]) -> None:
    name, by_requests = ticks
    shape = SMALL_SHAPES[name]
    row_flops = forward_flops(shape, SIDE_PX)
    rows = shape.rows_per_image // shape.calls_per_step
    for requests, tick in by_requests.items():
        flops = sum(kernel.flops for kernel in tick.forward)
        assert flops == requests * rows * row_flops


def test_more_requests_are_more_work_but_no_more_launches_of_the_forward(ticks: tuple[str, dict[int, Tick]]) -> None:
    _, by_requests = ticks
    one, eight = by_requests[1], by_requests[8]
    assert one.flops < eight.flops
    assert one.bytes < eight.bytes < 8 * one.bytes
    assert one.launches < eight.launches
    assert len(eight.forward) < 2 * len(one.forward)
    assert (one.step, one.decode) == (eight.step, eight.decode)


def test_arguments_are_put_together_once_a_tick(ticks: tuple[str, dict[int, Tick]]) -> None:
    _, by_requests = ticks
    assert [kernel.name for kernel in by_requests[1].merging] == ["_to_copy"]  # its timestep, from the host
    assert {kernel.name for kernel in by_requests[8].merging} == {"cat", "_to_copy"}
    assert len(by_requests[8].merging) < 8


def test_a_request_takes_its_own_step_beside_the_forward(ticks: tuple[str, dict[int, Tick]]) -> None:
    name, by_requests = ticks
    kernels = [kernel.name for kernel in by_requests[1].step]
    assert 2 <= len(kernels) <= 20
    assert kernels[:3] == (["sub", "mul", "add"] if SMALL_SHAPES[name].rows_per_image == 2 else kernels[:3])  # guidance


def test_a_tick_adds_up() -> None:
    tick = count_tick(SMALL_SHAPES["Qwen-Image"], 8, SIDE_PX)
    assert tick.calls_per_step == 2
    assert tick.launches == len(tick.forward) + len(tick.merging) + 8 * len(tick.step) / 2
