"""Content keys are equal exactly where two values are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.content_hash import content_key, row_key

SAMPLES = (
    *(None, True, 1, 1.0, "1", b"1", (1,), [1], {"a": 1}, {"b": 1}, torch.float32, torch.device("cpu")),
    *(torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(6), torch.zeros(2, 3, dtype=torch.int32)),
    *(torch.ones(2, 3), torch.tensor(0.0), torch.zeros(0), torch.zeros(2, 3, dtype=torch.complex64)),
    *(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor(True)),
)


def test_it_tells_values_apart_that_compare_equal() -> None:
    assert len({content_key(value) for value in SAMPLES}) == len(SAMPLES)


def test_it_goes_by_content() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    assert content_key(base.T) == content_key(base.T.contiguous())
    assert content_key(base[1:]) == content_key(base[1:].clone())


def test_a_tensor_changed_in_place_gets_another() -> None:
    tensor = torch.zeros(3)
    before = content_key(tensor)
    tensor[1] = 1
    assert content_key(tensor) != before


def test_inference_tensors_have_one() -> None:
    with torch.inference_mode():
        tensor = torch.zeros(3)
        assert content_key(tensor) == content_key(torch.zeros(3))
        tensor[0] = 1
        assert content_key(tensor) != content_key(torch.zeros(3))


@pytest.mark.parametrize("value", [object(), torch.Generator(), {1, 2}, [object()]])
def test_other_things_have_none(value: Any) -> None:
    with pytest.raises(TypeError, match="has no content key"):
        content_key(value)


def test_rows_have_a_key_in_common_only_when_they_are_equal() -> None:
    row = torch.arange(6.0).reshape(2, 3)
    assert row_key(torch.stack([row, row])) == row_key(torch.stack([row])) == content_key(row)
    assert row_key(torch.stack([row, row + 1])) is None
