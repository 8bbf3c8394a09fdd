"""Inputs as Triton delivers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagegen.api import tensors

Array = npt.NDArray[Any]
DTYPES: dict[str, Any] = {
    "STRING": np.object_,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "BOOL": np.bool_,
}


def tensor(name: str, values: Any) -> Array:
    """An input as Triton delivers it."""
    row = next(row for row in tensors.INPUTS if row.name == name)
    if row.data_type == "STRING":
        values = [value.encode() if isinstance(value, str) else value for value in values]
    return np.array(values, dtype=DTYPES[row.data_type])
