"""An engine for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from imagegen.engine import Engine
from tests.unit.tiny_engine import Gate, pipelines, tiny_engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine with a tiny pipeline and one thread of torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tiny_engine() as made:
        yield made
    torch.set_num_threads(threads)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Holds back the denoiser's forwards."""
    made = Gate()
    remove = made.put_before(pipelines().tasks["text-to-image"].pipeline.unet)
    yield made
    made.open()
    remove()
