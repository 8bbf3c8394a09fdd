"""The load is the same for every server, has the promised mix, and arrives like a Poisson process."""

from __future__ import annotations

import statistics

import pytest

from perf.control_images import edges_png
from perf.traces import closed_loop_trace, poisson_trace, with_adapters, with_controls
from perf.workload import LONG_STEPS, SHORT_STEPS


def test_the_same_seed_gives_the_same_trace() -> None:
    assert poisson_trace(50, 3.0, 1, 64) == poisson_trace(50, 3.0, 1, 64)
    assert poisson_trace(50, 3.0, 1, 64) != poisson_trace(50, 3.0, 2, 64)
    assert closed_loop_trace(20, 1, 64) == closed_loop_trace(20, 1, 64)
    assert closed_loop_trace(20, 1, 64) != closed_loop_trace(20, 2, 64)


def test_another_rate_only_stretches_time() -> None:
    slow, fast = poisson_trace(50, 1.0, 1, 64), poisson_trace(50, 2.0, 1, 64)
    for one, other in zip(slow, fast, strict=True):
        assert one.due_s == pytest.approx(2 * other.due_s)
        assert one.request == other.request


@pytest.mark.parametrize("requests", [10, 75, 1000])
def test_seven_of_ten_are_short_exactly(requests: int) -> None:
    steps = [planned.request.num_inference_steps for planned in poisson_trace(requests, 1.0, requests, 64)]
    assert steps.count(SHORT_STEPS) == round(0.7 * requests)
    assert steps.count(LONG_STEPS) == requests - round(0.7 * requests)


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_is_exact_however_short_the_trace(seed: int) -> None:
    """Left to chance, 48 requests at 80 % load came at 70 to 84 %."""
    assert poisson_trace(48, 3.2, seed, 64)[-1].due_s == pytest.approx(15)


def test_gaps_are_exponential() -> None:
    """Mean and standard deviation are both 1 / rate; arrivals at fixed distances would have no deviation."""
    due_s = [planned.due_s for planned in poisson_trace(20_000, 4.0, 7, 64)]
    gaps_s = [after - before for before, after in zip([0.0, *due_s], due_s, strict=False)]
    assert min(gaps_s) > 0
    assert statistics.mean(gaps_s) == pytest.approx(0.25, rel=0.03)
    assert statistics.stdev(gaps_s) == pytest.approx(0.25, rel=0.03)


def test_every_request_is_its_own() -> None:
    requests = [planned.request for planned in closed_loop_trace(48, 3, 64)]
    assert len({request.prompt for request in requests}) == 48
    assert len({request.seed for request in requests}) == 48
    assert {request.size for request in requests} == {(64, 64)}


def test_adapters_take_turns_and_nothing_else_changes() -> None:
    plain = closed_loop_trace(5, 1, 64)
    planned = with_adapters(plain, ["a", "b"])
    assert [one.request.lora for one in planned] == ["a", "b", "a", "b", "a"]
    assert planned[1].request.values() == plain[1].request.values() | {"lora": "b"}
    assert with_adapters(plain, ()) == plain


@pytest.mark.parametrize("requests", [40, 48, 60])
def test_half_of_the_short_and_half_of_the_long_ones_get_a_control_image_and_nothing_else_changes(
    requests: int,
) -> None:
    plain = closed_loop_trace(requests, 1, 64)
    planned = with_controls(plain)
    assert planned == with_controls(plain)
    for steps in (SHORT_STEPS, LONG_STEPS):
        images = [one.request.control_image for one in planned if one.request.num_inference_steps == steps]
        assert [bool(image) for image in images] == [True, False] * (len(images) // 2)
    for before, after in zip(plain, planned, strict=True):
        more = {"control_image": edges_png(before.request.seed, 64)} if after.request.control_image else {}
        assert after.request.values() == before.request.values() | more
        assert after.due_s == before.due_s
