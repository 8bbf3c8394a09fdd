"""Arrays as Triton's tensors. BYTES travel as object arrays of `bytes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from imagegen.api.tensors import Arrays


def to_tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
    """Triton's tensors of arrays by name."""
    return [pb_utils.Tensor(name, array) for name, array in arrays.items()]


def to_arrays(tensors: list[Any]) -> Arrays:
    """Arrays by name of Triton's tensors, whose memory they share."""
    return {tensor.name(): tensor.as_numpy() for tensor in tensors}
