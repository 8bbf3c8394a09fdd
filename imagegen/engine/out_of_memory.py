"""What it means, on every device, that there is no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
_CPU_OUT_OF_MEMORY = "can't allocate memory"  # torch's CPU allocator raises a plain RuntimeError


@contextmanager
def memory_errors() -> Iterator[None]:
    """Around what takes memory: that there is none is one of `OUT_OF_MEMORY`."""
    try:
        yield
    except RuntimeError as error:
        if _CPU_OUT_OF_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise
