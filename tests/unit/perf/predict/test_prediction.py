"""Time follows from counted work: a roofline on the device, launches on the host, and the slower sets the pace."""

from __future__ import annotations

import pytest

from perf.predict.kernels import Kernel
from perf.predict.prediction import DEVICES, Assumptions, Device, kernel_s, predict
from perf.predict.tick import Tick

DEVICE = Device("toy", flops=1e12, bytes=1e12)
EXACT = Assumptions(flops_share=1, bandwidth_share=1, kernel_us=1, launch_us=10, graph_us=50, request_us=100)
PRODUCT, COPY, SMALL = Kernel("mm", 10**9, 10**6), Kernel("add", 0, 10**9), Kernel("mul", 0, 1)  # 1 ms, 1 ms, 1 us
TICK = Tick(requests=4, calls_per_step=1, forward=(PRODUCT, COPY), merging=(SMALL,), step=(SMALL,) * 5, decode=(COPY,))


@pytest.mark.parametrize(
    ("kernel", "seconds"), [(PRODUCT, 1e-3), (COPY, 1e-3), (SMALL, 1e-6), (Kernel("mm", 10**6, 10**9), 1e-3)]
)
def test_a_kernel_takes_the_longest_of_arithmetic_bytes_and_the_shortest_time(kernel: Kernel, seconds: float) -> None:
    assert kernel_s(kernel, DEVICE, EXACT) == pytest.approx(seconds)


def test_shares_slow_what_they_are_of() -> None:
    half = Assumptions(flops_share=0.5, bandwidth_share=0.25)
    assert kernel_s(PRODUCT, DEVICE, half) == pytest.approx(2e-3)
    assert kernel_s(COPY, DEVICE, half) == pytest.approx(4e-3)


def test_the_device_sets_the_pace_where_the_host_is_faster() -> None:
    found = predict(TICK, 50, DEVICE, EXACT, graphs=False)
    assert found.device_s == pytest.approx(2.021e-3)
    assert found.host_s == pytest.approx((23 * 10 + 4 * 100) / 1e6)
    assert found.tick_s == found.device_s
    assert found.idle_share == 0
    assert found.images_per_s == pytest.approx(1 / (50 * 2.021e-3 / 4 + 1e-3))


def test_the_device_waits_for_a_slow_host() -> None:
    slow = Assumptions(flops_share=1, bandwidth_share=1, kernel_us=1, launch_us=1000, request_us=0)
    found = predict(TICK, 50, DEVICE, slow, graphs=False)
    assert found.tick_s == pytest.approx(23e-3)
    assert found.idle_share == pytest.approx(1 - 2.021 / 23)


def test_a_graph_replaces_the_forwards_launches_alone() -> None:
    eager, graphs = (predict(TICK, 50, DEVICE, EXACT, graphs=graphs) for graphs in (False, True))
    assert graphs.host_s == pytest.approx(eager.host_s - 2 * 10e-6 + 50e-6)
    assert graphs.device_s == eager.device_s


def test_a_step_of_two_calls_takes_two_ticks() -> None:
    two = Tick(4, 2, TICK.forward, TICK.merging, TICK.step, TICK.decode)
    found = predict(two, 50, DEVICE, EXACT, graphs=False)
    assert found.device_s == pytest.approx(2.011e-3)
    assert found.images_per_s == pytest.approx(1 / (50 * 2 * 2.011e-3 / 4 + 1e-3))


def test_devices_have_their_published_peaks() -> None:
    assert {one.name: (one.flops, one.bytes) for one in DEVICES} == {
        "H100": (989e12, 3.35e12),
        "H200": (989e12, 4.8e12),
    }


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("flops_share", 0, "above 0, up to 1"),
        ("bandwidth_share", 1.5, "above 0, up to 1"),
        ("launch_us", -1, "0 or more"),
        ("request_us", float("nan"), "0 or more"),
    ],
)
def test_an_assumption_that_cannot_be_is_refused(name: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {value} is not allowed; it is {allowed}$"):
        Assumptions(**{name: value})
