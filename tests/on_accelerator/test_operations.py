"""The device refuses what a GPU refuses, and counts what a GPU would wait for, by the line that caused it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator import DEVICE, NAME, TORCH_DEVICE, Event, Kind, PretendTensor, device_on_this_thread

HERE = Path(__file__)


def line_of(mark: str) -> str:
    """The line of this file that ends with a mark."""
    (number,) = [n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}")]
    return f"tests/on_accelerator/{HERE.name}:{number}"


def there(*shape: int) -> torch.Tensor:
    return torch.ones(shape).to(NAME)


def planted_mixture() -> None:
    weight, latents = torch.ones(4), there(2, 4)
    latents * weight  # planted mixture


def planted_synchronisation() -> None:
    latents = there(2, 4)
    if latents.isfinite().all():  # planted synchronisation
        latents += 1


def test_a_planted_mixture_of_devices_is_refused_with_its_operation_and_line() -> None:
    with device_on_this_thread(), pytest.raises(RuntimeError, match="same device") as caught:
        planted_mixture()
    assert "aten.mul.Tensor" in str(caught.value)
    assert line_of("planted mixture") in str(caught.value)


def test_a_planted_synchronisation_is_counted_at_its_line() -> None:
    with device_on_this_thread():
        planted_synchronisation()
    assert DEVICE.counters.by_line(Kind.SYNCHRONISATION)[line_of("planted synchronisation")] == 1
    assert DEVICE.counters.by_line(Kind.TO_HOST) == {line_of("planted synchronisation"): 1}


REFUSED: dict[str, Callable[[torch.Tensor], Any]] = {
    "matrix": lambda x: x @ torch.ones(4, 2),
    "concatenated": lambda x: torch.cat([x, torch.ones(1, 4)]),
    "embedding": lambda x: torch.nn.functional.embedding(torch.tensor([0]), x),
    "a number beside a matrix product": lambda x: torch.index_select(x, 0, torch.tensor(0)),
    "host with a number of the device": lambda x: torch.ones(3) * x[0, 0],
    "attention": lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, torch.ones(2, 4)),
    "host generator": lambda x: torch.randn(2, device=x.device, generator=torch.Generator()),
    "in place": lambda x: x.add_(torch.ones(4)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_kind_of_mixture_is_refused(name: str) -> None:
    with device_on_this_thread(), pytest.raises(RuntimeError, match=f"{HERE.name}:.*(same device|generator)"):
        REFUSED[name](there(2, 4))


def test_numpy_takes_no_tensor_of_the_device() -> None:
    with device_on_this_thread(), pytest.raises(TypeError, match="copy it to the host first"):
        there(2).numpy()


# An operation, and its launches, synchronisations, copies to the device and to the host.
COUNTED: dict[str, tuple[Callable[[torch.Tensor], Any], tuple[int, int, int, int]]] = {
    "a kernel": (lambda x: x * 2 + 1, (2, 0, 0, 0)),
    "a number of the host": (lambda x: x * torch.tensor(2.0), (1, 0, 0, 0)),
    "views": (lambda x: x.reshape(4, 2).T[0].expand(3, 4)[None], (0, 0, 0, 0)),
    "memory without a kernel": (lambda x: torch.empty(3, device=x.device), (0, 0, 0, 0)),
    "filled there": (lambda x: torch.zeros(3, device=x.device), (1, 0, 0, 0)),
    "another type": (lambda x: x.to(torch.float16), (1, 0, 0, 0)),
    "in place through a view": (lambda x: x[0].add_(1), (1, 0, 0, 0)),
    "attention": (
        lambda x: torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        (1, 0, 0, 0),
    ),
    "attention, all by name": (
        lambda x: torch.nn.functional.scaled_dot_product_attention(query=x[None], key=x[None], value=x[None]),
        (1, 0, 0, 0),
    ),
    "item": (lambda x: x[0, 0].item(), (0, 1, 0, 1)),
    "truth": (lambda x: bool(x[0, 0] > 0), (1, 1, 0, 1)),
    "list": (lambda x: x.tolist(), (0, 1, 0, 1)),
    "nonzero": (lambda x: x.nonzero(), (1, 1, 0, 1)),
    "index by a mask": (lambda x: x[x > 0], (2, 1, 0, 0)),
    "index of the host": (lambda x: x[torch.tensor([0, 1])], (1, 1, 1, 0)),
    "index by a list": (lambda x: x[:, [0, 1]], (1, 1, 1, 0)),
    "a table of the host by a number of the device": (lambda x: torch.ones(9)[x[0, 0].long()], (1, 1, 0, 1)),
    "numbers to the device": (lambda x: torch.tensor([1.0, 2.0], device=x.device), (0, 1, 1, 0)),
    "numbers of the device in a new tensor": (lambda x: torch.tensor([x[0, 0]], device=x.device), (0, 2, 1, 1)),
    "waiting copy to the device": (lambda x: torch.ones(3).to(x.device), (0, 1, 1, 0)),
    "copy to the device": (lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True), (0, 0, 1, 0)),
    "waiting copy to the host": (lambda x: x.cpu(), (0, 1, 0, 1)),
    "copy to the host": (lambda x: x.to("cpu", non_blocking=True), (0, 0, 0, 1)),
    "copied into": (lambda x: x[0].copy_(torch.zeros(4)), (0, 1, 1, 0)),
    "on the host alone": (lambda x: (torch.ones(3) * 2).tolist(), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_an_operation_costs(name: str) -> None:
    operation, expected = COUNTED[name]
    with device_on_this_thread():
        x = there(2, 4)
        DEVICE.counters.reset()
        operation(x)
    kinds = (Kind.LAUNCH, Kind.SYNCHRONISATION, Kind.TO_DEVICE, Kind.TO_HOST)
    assert tuple(DEVICE.counters.total(kind) for kind in kinds) == expected


@pytest.mark.parametrize("name", sorted(COUNTED.keys() - {"memory without a kernel"}))
def test_the_numbers_are_those_of_the_host(name: str) -> None:
    operation = COUNTED[name][0]
    with device_on_this_thread():  # for `pin_memory`, which torch on a CPU does not have
        expected = operation(torch.ones(2, 4))
        result = operation(there(2, 4))
        DEVICE.synchronise()
        if isinstance(result, PretendTensor):
            assert result.device == TORCH_DEVICE
            result = result.cpu()
    assert torch.equal(torch.as_tensor(result), torch.as_tensor(expected))


def test_a_copy_holds_nothing_of_use_before_an_event_behind_it_has_passed() -> None:
    with device_on_this_thread():
        there_first = there(3)
        copied = there_first.to("cpu", non_blocking=True)
        there_first.add_(1)  # behind the copy
        event = Event()
        event.record(TORCH_DEVICE)
        assert not torch.equal(copied, torch.ones(3))
        assert not event.query()
        assert event.query()
        assert torch.equal(copied, torch.ones(3))
    assert DEVICE.counters.total(Kind.TO_HOST) == 1


def test_modules_and_copies_of_them_stay_on_the_device() -> None:
    with device_on_this_thread():
        layer = torch.nn.Linear(4, 2)
        for name, parameter in list(layer._parameters.items()):
            assert parameter is not None
            moved: Any = parameter.detach().to(NAME)
            moved._is_param = True
            layer._parameters[name] = moved
        twin = copy.deepcopy(layer)
        assert isinstance(twin.weight, torch.nn.Parameter)
        assert twin.weight.device == TORCH_DEVICE
        assert torch.equal(layer(there(1, 4)).cpu(), twin(there(1, 4)).cpu())
