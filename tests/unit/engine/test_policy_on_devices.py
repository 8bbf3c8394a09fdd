"""Policy, scheduler and slots on devices that are not full, half full and full, on a clock that only forwards move.

No model and no server, so the same numbers on every machine: leaving long images out of short ones' forwards is worth
it where rows cost, and harmless where they do not; and only while nobody waits for a slot. It is where the policy's
constants come from.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

import pytest

from imagegen.engine.policy import Prefer, WeightedShortestProcessingTime
from imagegen.engine.slots import Slots
from perf.policy.simulation import (
    Device,
    Load,
    MakePolicy,
    Outcome,
    full_batches,
    ignoring_the_line,
    preferring,
    simulate,
    simulate_static_batches,
)
from perf.summaries import Summary
from perf.workload import SHORT_STEPS

DEVICES = {
    "not full (a launch-bound model)": Device(12.5, 0.9),
    "half full (the bundled checkpoint at 64x64 on one core)": Device(6.0, 2.2),
    "full (the bundled checkpoint at 128x128 on one core)": Device(5.8, 8.8, end_ms=13.5),
}
NOT_FULL, HALF_FULL, FULL = DEVICES.values()
PREFER: tuple[Prefer, ...] = get_args(Prefer)
POLICIES: dict[str, MakePolicy] = {
    "before": ignoring_the_line,
    "everybody": full_batches,
    **{prefer: preferring(prefer) for prefer in PREFER},
}
REQUESTS = 600
EVERY_DEVICE = pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
EVERY_PREFERENCE = pytest.mark.parametrize("prefer", PREFER)


@cache
def outcome(device: Device, load: float | None, policy: str, visible: int | None = None) -> Outcome:
    """Of Poisson arrivals at a share of what full batches can do; None for a closed loop of 8 clients."""
    sent = Load(REQUESTS, rate_per_s=0.0 if load is None else load * device.per_s(8))
    in_order = policy in ("before", "everybody")
    return simulate(device, sent, POLICIES[policy], in_order=in_order, visible=visible)


def summary(device: Device, load: float | None, policy: str) -> Summary:
    return outcome(device, load, policy).summary


@EVERY_DEVICE
@EVERY_PREFERENCE
@pytest.mark.parametrize("load", [0.8, 1.2, None])
def test_every_request_ends_and_no_call_waits_longer_than_the_policy_says(
    device: Device, prefer: Prefer, load: float | None
) -> None:
    found = outcome(device, load, prefer)
    assert [record.num_inference_steps for record in found.records].count(SHORT_STEPS) == 0.7 * REQUESTS
    assert len(found.records) == REQUESTS
    assert max(found.waits) <= WeightedShortestProcessingTime.starvation_limit + 16


@EVERY_DEVICE
@EVERY_PREFERENCE
@pytest.mark.parametrize("visible", [None, 1])
def test_while_somebody_waits_for_a_slot_no_row_is_left_empty(
    device: Device, prefer: Prefer, visible: int | None
) -> None:
    """Also where no more than one that waits can be seen, as behind Triton's queue."""
    found = outcome(device, 1.2, prefer, visible)
    with_backlog = [
        (images, could) for images, could in zip(found.forward_images, found.backlogs, strict=True) if could
    ]
    assert len(with_backlog) > 100
    assert all(images == could for images, could in with_backlog)


@EVERY_DEVICE
@EVERY_PREFERENCE
def test_nobody_is_begun_later_than_the_slots_say(device: Device, prefer: Prefer) -> None:
    """Of those ahead in line, and of all that come later: in overload the line is a few hundred long."""
    for place, index in enumerate(outcome(device, 1.2, prefer).begun):
        assert place <= (Slots.OVERTAKING + 1) * (index + 1)


@EVERY_DEVICE
@EVERY_PREFERENCE
def test_in_overload_throughput_is_that_of_full_batches(device: Device, prefer: Prefer) -> None:
    assert summary(device, 1.2, prefer).requests_per_s > 0.97 * summary(device, 1.2, "everybody").requests_per_s


@EVERY_DEVICE
@EVERY_PREFERENCE
def test_in_overload_the_short_wait_much_less_than_before_and_the_long_hardly_longer(
    device: Device, prefer: Prefer
) -> None:
    before, now = summary(device, 1.2, "before"), summary(device, 1.2, prefer)
    assert now.short_p95_ms < before.short_p95_ms / 2
    assert now.long_p95_ms < 1.15 * before.long_p95_ms


@EVERY_DEVICE
def test_at_four_fifths_both_kinds_do_better_than_with_static_batches(device: Device) -> None:
    static = simulate_static_batches(device, Load(REQUESTS, rate_per_s=0.8 * device.per_s(8))).summary
    balanced = summary(device, 0.8, "balanced")
    assert balanced.short_p95_ms < static.short_p95_ms / 8
    assert balanced.long_p50_ms < static.long_p50_ms or device is FULL


def test_on_a_device_that_is_half_full_short_ones_are_done_in_time() -> None:
    """One on which a short image takes 54 ms alone."""
    assert summary(HALF_FULL, 0.8, "balanced").short_p95_ms < 300


@pytest.mark.parametrize("load", [0.4, 0.6, 0.8])
def test_the_preference_is_a_trade_of_short_against_long_ones(load: float) -> None:
    latency, balanced, throughput = (summary(HALF_FULL, load, prefer) for prefer in PREFER)
    assert latency.short_p50_ms < balanced.short_p50_ms < 1.01 * throughput.short_p50_ms
    assert latency.short_p95_ms < 1.1 * balanced.short_p95_ms < 1.1 * throughput.short_p95_ms
    assert latency.long_p50_ms > 1.02 * max(balanced.long_p50_ms, throughput.long_p50_ms)
    assert balanced.long_p50_ms < 1.03 * throughput.long_p50_ms


@pytest.mark.parametrize(("prefer", "share"), [("latency", 0.9), ("balanced", 0.95), ("throughput", 0.99)])
@EVERY_DEVICE
def test_in_a_closed_loop_throughput_is_near_that_of_full_batches(device: Device, prefer: Prefer, share: float) -> None:
    assert summary(device, None, prefer).requests_per_s > share * summary(device, None, "everybody").requests_per_s


def test_the_short_wait_much_less_on_a_full_device_and_the_long_hardly_more() -> None:
    everybody, balanced = summary(FULL, 0.6, "everybody"), summary(FULL, 0.6, "balanced")
    assert balanced.short_p95_ms < everybody.short_p95_ms / 2
    assert balanced.short_p50_ms < everybody.short_p50_ms / 1.35
    assert balanced.long_p50_ms < everybody.long_p50_ms * 1.1
