"""A tensor of the host goes to a device without waiting, and the copy's content is known without reading it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from imagegen.engine.content_hash import tensor_key
from imagegen.engine.host_tensor import HostTensor, origin_of, plain
from tests.accelerator import DEVICE, NAME, Kind, device_on_this_thread


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    with torch.no_grad(), device_on_this_thread():
        DEVICE.counters.reset()
        yield


def ids() -> torch.Tensor:
    return torch.arange(6).reshape(2, 3).as_subclass(HostTensor)


def test_a_copy_is_keyed_by_its_content_without_reading_it_back() -> None:
    moved = ids().to(NAME)
    key = tensor_key(moved)
    assert DEVICE.counters.total(Kind.TO_HOST) == DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
    assert key == tensor_key(torch.arange(6).reshape(2, 3).to(NAME))
    assert key != tensor_key((ids() + 1).to(NAME))


def test_a_copy_that_was_changed_is_read() -> None:
    moved = ids().to(NAME)
    moved.add_(1)
    assert origin_of(moved) is None
    assert tensor_key(moved) == tensor_key((torch.arange(6).reshape(2, 3) + 1).to(NAME))


def test_parts_are_tensors_of_the_host_too() -> None:
    tensor = ids()
    for part in (tensor[0], tensor[:, :2], tensor[0, 0][None], *tensor):
        assert type(part) is HostTensor
    assert type(tensor + 1) is torch.Tensor
    assert type(tensor.to(torch.float32)) is torch.Tensor


def test_it_can_be_had_without_the_detour() -> None:
    tensor = ids()
    assert type(plain(tensor)) is torch.Tensor
    assert plain(tensor).data_ptr() == tensor.data_ptr()
    assert plain(7) == 7


def test_a_number_of_it_can_be_put_into_a_new_tensor() -> None:
    """As inpainting pipelines do with a timestep."""
    assert torch.equal(torch.tensor([ids()[1, 2]]), torch.tensor([5]))


def test_on_the_host_nothing_is_remembered() -> None:
    assert origin_of(ids().to("cpu")) is None
