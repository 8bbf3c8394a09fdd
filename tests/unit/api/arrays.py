"""Inputs as Triton delivers them, and requests of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagegen.api import tensors
from imagegen.api.limits import RequestLimits
from imagegen.api.request import ImageRequest, parse_request

LIMITS = RequestLimits(max_num_inference_steps=100, max_guidance_scale=30.0, max_side_px=2048, max_area_px=1024 * 1024)
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


def parse(granularity_px: int = 8, **values: Any) -> ImageRequest:
    """Parse a request with a prompt and these inputs."""
    given_values = {"prompt": ["a cat"], **values}
    return parse_request(
        {name: tensor(name, v) for name, v in given_values.items() if v is not None},
        LIMITS,
        granularity_px=granularity_px,
    )
