"""The pretend device, empty, for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.accelerator import DEVICE


@pytest.fixture(autouse=True)
def _fresh_device() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    DEVICE.counters.reset()
    DEVICE.memory.reset_peak()
    with torch.no_grad():
        yield
    DEVICE.memory.limit_bytes = DEVICE.clock = None
    torch.set_num_threads(threads)
