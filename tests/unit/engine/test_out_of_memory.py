"""All devices' ways to say that there is no memory are one, and other errors stay what they are."""

from __future__ import annotations

import pytest
import torch

from imagegen.engine.out_of_memory import OUT_OF_MEMORY, memory_errors


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] can't allocate memory")],
)
def test_without_memory(error: Exception) -> None:
    with pytest.raises(OUT_OF_MEMORY), memory_errors():
        raise error


def test_another_error() -> None:
    with pytest.raises(RuntimeError, match="shapes") as caught, memory_errors():
        raise RuntimeError("shapes")
    assert not isinstance(caught.value, OUT_OF_MEMORY)
