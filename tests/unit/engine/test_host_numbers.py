"""Numbers of the host times tensors of the device: computed when it is known what for, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from imagegen.engine.host_numbers import HostNumbers, Product, computed
from tests.accelerator import DEVICE, NAME, TORCH_DEVICE, Kind, device_on_this_thread


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    with torch.no_grad(), device_on_this_thread():
        DEVICE.counters.reset()
        yield


# What is computed of x and y, by a and b, numbers of the host; and its launches.
COMPUTED: dict[str, tuple[Callable[[Any, Any, Any, Any], Any], int]] = {
    "product": (lambda x, y, a, b: a * x, 1),
    "product of products": (lambda x, y, a, b: a * (x * b), 1),
    "sum": (lambda x, y, a, b: a * x + b * y, 2),
    "sum with a tensor": (lambda x, y, a, b: y + a * x, 1),
    "sum the other way": (lambda x, y, a, b: a * x + y, 1),
    "difference": (lambda x, y, a, b: a * x - b * y, 2),
    "difference with a tensor": (lambda x, y, a, b: y - a * x, 1),
    "difference the other way": (lambda x, y, a, b: a * x - y, 2),
    "a plain number": (lambda x, y, a, b: 2.5 * x + 1, 1),
    "quotient": (lambda x, y, a, b: (x - a * y) / b, 2),
    "product of tensors": (lambda x, y, a, b: (a * x) * y, 2),
    "method of a product": (lambda x, y, a, b: (a * x).clamp(-1, 1), 2),
    "function of a product": (lambda x, y, a, b: torch.cat([a * x, y]), 2),
    "condition": (lambda x, y, a, b: torch.where(y > 0, a * x, y), 3),
    "weighted sum": (
        lambda x, y, a, b: torch.einsum(
            "k,bkc...->bc...", torch.stack([a, b]).to(x.device), torch.stack([x, y], dim=1)
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_result_is_that_of_the_host(name: str) -> None:
    compute, launches = COMPUTED[name]
    x, y = torch.randn((2, 2, 3, 4), generator=torch.Generator().manual_seed(0)).unbind()
    a, b = torch.tensor(0.7), torch.tensor(-1.3)
    expected = compute(x, y, a, b)
    there = x.to(NAME), y.to(NAME)
    DEVICE.counters.reset()
    with HostNumbers():
        result = computed(compute(*there, a, b))
    assert result.device == TORCH_DEVICE
    assert torch.allclose(result.cpu(), expected, atol=1e-6)
    assert DEVICE.counters.total(Kind.LAUNCH) == launches


def test_noise_goes_to_the_device_and_numbers_do_not() -> None:
    with HostNumbers() as numbers:
        assert torch.tensor(1.0).to(NAME).device.type == "cpu"
        assert torch.ones((), device=NAME).device.type == "cpu"
        noise = torch.zeros(1, 2, 3).to(NAME, torch.float16)
        assert (noise.device, noise.dtype) == (TORCH_DEVICE, torch.float16)
        assert numbers.needed
    assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
    with HostNumbers() as numbers:
        assert torch.ones(2).to("cpu").device.type == "cpu"
        assert torch.ones(2, 3, device=NAME).device == TORCH_DEVICE
    assert not numbers.needed


def test_a_product_is_like_its_tensor() -> None:
    tensor = torch.ones(2, 3).to(NAME)
    with HostNumbers():
        product = tensor * torch.tensor(2.0)
        assert isinstance(product, Product)
        assert (product.shape, product.dtype, product.device) == (tensor.shape, tensor.dtype, tensor.device)
    assert computed([product])[0].tolist() == [[2.0] * 3] * 2


def test_another_sum_by_numbers_of_the_host_is_refused() -> None:
    parts = [torch.ones(1, 3).to(NAME)]
    with HostNumbers(), pytest.raises(NotImplementedError, match="k,kbc->bc"):
        torch.einsum("k,kbc->bc", torch.ones(1), torch.stack(parts))
