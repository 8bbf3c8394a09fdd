"""How long the device idles, by a clock that is computed."""

from __future__ import annotations

import pytest
import torch

from tests.accelerator import DEVICE, NAME, TORCH_DEVICE, Clock, Event, device_on_this_thread

LAUNCH_S = 1.0
BYTE_S = 1.0


def clock_of(flops_per_s: float = float("inf")) -> Clock:
    """Nothing has passed; a launch takes a second of the host, and a byte one of the device."""
    DEVICE.clock = Clock(launch_s=LAUNCH_S, flops_per_s=flops_per_s, bytes_per_s=1 / BYTE_S)
    return DEVICE.clock


def test_the_device_waits_for_the_host_only_where_it_has_nothing_to_do() -> None:
    with device_on_this_thread():
        x = torch.ones(1).to(NAME)
        clock = clock_of()
        for _ in range(3):
            x = x * 2  # reads four bytes and writes four: eight seconds
        assert (clock.host_s, clock.device_s) == (3, 1 + 3 * 8)
        assert clock.idle_s == 1, "before the first"


def test_a_synchronisation_makes_the_device_idle_while_the_host_goes_on() -> None:
    with device_on_this_thread():
        x = torch.ones(1).to(NAME)
        clock = clock_of()
        (x * 2).item()
        waited_s = clock.host_s
        assert waited_s == clock.device_s
        assert waited_s > LAUNCH_S
        x * 2
        assert clock.idle_s == 1 + LAUNCH_S


def test_an_operation_takes_as_long_as_its_flops_where_those_are_slower() -> None:
    with device_on_this_thread():
        x = torch.ones(10, 10).to(NAME)
        clock = clock_of(flops_per_s=0.1)
        x @ x
        assert clock.device_s == pytest.approx(LAUNCH_S + 2 * 10**3 / 0.1)


def test_an_event_has_passed_when_the_host_is_later_than_what_was_queued_before_it() -> None:
    with device_on_this_thread():
        x = torch.ones(1).to(NAME)
        clock = clock_of()
        x * 2
        event = Event()
        event.record(TORCH_DEVICE)
        assert not event.query()
        clock.host_s = clock.device_s
        assert event.query()
