"""Copies between the host and a device do not wait for what the device has still to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from imagegen.engine.transfer import HostCopy, receive, to_device
from tests.accelerator import DEVICE, TORCH_DEVICE, Kind, device_on_this_thread
from tests.unit.engine.executor_toys import Model, Toy, executor_of


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    with torch.no_grad(), device_on_this_thread():
        DEVICE.counters.reset()
        yield


def there(value: float) -> torch.Tensor:
    return torch.full((3,), value, device=TORCH_DEVICE)


def test_tensors_in_containers_move_and_all_else_stays() -> None:
    on_device = there(1)
    value = {"a": [torch.ones(2), on_device, 3], "b": (None, torch.tensor(1)), "c": "x"}
    moved = to_device(value, TORCH_DEVICE)
    assert moved["a"][0].device == moved["b"][1].device == TORCH_DEVICE
    assert moved["a"][1] is on_device
    assert (moved["a"][2], moved["b"][0], moved["c"]) == (3, None, "x")
    assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
    assert to_device(value, torch.device("cpu")) is value


def test_outside_a_run_the_host_waits_once_for_several_tensors() -> None:
    one, other = receive(there(1), there(2))
    assert (one.tolist(), other.tolist()) == ([1] * 3, [2] * 3)
    assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 1


def test_what_is_on_the_host_is_there() -> None:
    tensor = torch.ones(2)
    copy = HostCopy([tensor])
    assert copy.arrived()
    assert copy.tensors()[0] is tensor


def test_a_run_that_waits_for_a_copy_lets_the_others_forward() -> None:
    order: list[str] = []

    def forward(calls: list[Toy]) -> list[int]:
        order.append("forward")
        return Model()(calls)

    executor = executor_of(forward, Limits())  # type: ignore[arg-type]

    def reads() -> list[float]:
        executor.call(Toy())
        result: list[float] = receive(there(5))[0].tolist()
        order.append("read")
        return result

    def goes_on() -> int:
        return sum(executor.call(Toy()) for _ in range(3))

    results: list[object] = []
    for run in (reads, goes_on):
        executor.submit(PipelineRun(run, lambda result, error: results.append(error or result)))
    while executor.tick():
        pass
    assert order == ["forward", "read", "forward", "forward"]
    assert results == [[5.0] * 3, 6]
    assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
