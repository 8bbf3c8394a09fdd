"""The simulation does what it says, and no more: its clock moves by what a device costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perf.policy.simulation import (
    Device,
    Load,
    Simulation,
    full_batches,
    ignoring_the_line,
    mean_images,
    preferring,
    simulate,
    simulate_static_batches,
)
from perf.traces import mixed_steps_mean
from perf.workload import LONG_STEPS, SHORT_STEPS

DEVICE = Device(6.0, 2.0, begin_ms=2.0, end_ms=4.0, step_ms=0.5)
ALONE_MS = {steps: 2.0 + steps * 10.5 + 4.0 for steps in (SHORT_STEPS, LONG_STEPS)}


def test_one_client_waits_for_nobody() -> None:
    outcome = simulate(DEVICE, Load(20, clients=1), preferring("balanced"))
    for record in outcome.records:
        assert record.latency_s * 1000 == pytest.approx(ALONE_MS[record.num_inference_steps])
    assert outcome.waits == [0] * len(outcome.forward_images)
    assert outcome.summary.requests_per_s == pytest.approx(DEVICE.per_s(1))


def test_eight_clients_that_share_everything_reach_what_a_device_can_do() -> None:
    outcome = simulate(DEVICE, Load(800), full_batches)
    assert outcome.summary.requests_per_s == pytest.approx(DEVICE.per_s(8), rel=0.02)
    assert mean_images(outcome) > 7.8


def test_static_batches_are_answered_when_all_of_them_are_done() -> None:
    outcome = simulate_static_batches(DEVICE, Load(8))
    short, long = 6, 2
    whole_ms = 8 * 6.0 + SHORT_STEPS * DEVICE.forward_ms(short) + LONG_STEPS * DEVICE.forward_ms(long)
    assert {round(record.latency_s * 1000, 3) for record in outcome.records} == {round(whole_ms, 3)}


def test_a_batch_is_what_has_come() -> None:
    outcome = simulate_static_batches(DEVICE, Load(20, rate_per_s=0.1))
    assert set(outcome.forward_images) == {1}
    assert len(outcome.records) == 20


def test_the_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    load = Load(100, rate_per_s=5.0)
    outcomes = [simulate(DEVICE, each, preferring("latency")).summary for each in (load, load, replace(load, seed=2))]
    assert outcomes[0] == outcomes[1] != outcomes[2]


@pytest.mark.parametrize("in_order", [True, False])
def test_slots_are_given_in_order_or_least_work_first(in_order: bool) -> None:
    """One slot, and all come at the same time; the first gets the slot at once."""
    load = Load(10, clients=10)
    steps = [planned.request.num_inference_steps for planned in load.trace()]
    begun = Simulation(DEVICE, load, ignoring_the_line, slots=1, in_order=in_order).run().begun
    assert begun == (list(range(10)) if in_order else [0, *sorted(range(1, 10), key=steps.__getitem__)])


def test_only_as_many_are_seen_as_a_server_takes_out_of_its_queue() -> None:
    load = Load(200, rate_per_s=2 * DEVICE.per_s(8))
    seen, all_of_them = (simulate(DEVICE, load, preferring("balanced"), visible=visible) for visible in (1, None))
    assert seen.begun != all_of_them.begun
    assert seen.summary.short_p95_ms > all_of_them.summary.short_p95_ms


def test_the_mean_of_steps_is_that_of_a_trace() -> None:
    steps = [planned.request.num_inference_steps for planned in Load(100).trace()]
    assert sum(steps) / 100 == pytest.approx(mixed_steps_mean())
