"""Arrays become Triton's tensors and come back."""

from __future__ import annotations

import numpy as np

from imagegen.triton.tensors import to_arrays, to_tensors
from tests.unit.triton.python_backend import prompt


def test_names_and_values_come_back() -> None:
    arrays = {"n": np.array([2], np.int32), "prompt": prompt("ä")}
    back = to_arrays(to_tensors(arrays))
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())
