"""What is packed comes out as it went in, and equal forms have one layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput

from imagegen.engine.packing import Layout, pack

DTYPES = [
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool),
    *(torch.complex64, torch.float8_e4m3fn),
]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.to(torch.complex128), other.to(torch.complex128))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def round_trip(value: Any) -> Any:
    layout, buffer = pack(value, torch.device("cpu"))
    assert buffer.dtype == torch.uint8
    assert buffer.shape == (layout.size,)
    return Layout.from_bytes(layout.to_bytes()).unpack(buffer.clone())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0, 3)])
def test_tensors_of_any_kind(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.arange(15)[: torch.Size(shape).numel()].reshape(shape)).to(dtype)
    value = {"one": torch.ones(3, dtype=torch.bool), "tensor": tensor, "list": [tensor, (tensor.clone(), None)]}
    assert same(round_trip(value), value)


def test_whatever_else_an_argument_may_be_and_tensors_that_lie_otherwise() -> None:
    value = ((torch.arange(12).reshape(3, 4).t(), torch.ones(2, 1).expand(2, 5)), {"a": 1, "b": [None, "x", 0.5, True]})
    assert same(round_trip(value), value)


def test_an_output_of_diffusers() -> None:
    output = round_trip(Transformer2DModelOutput(sample=torch.ones(2, 3)))
    assert isinstance(output, Transformer2DModelOutput)
    assert torch.equal(output.sample, torch.ones(2, 3))


def test_the_layout_depends_on_the_form_not_on_the_numbers() -> None:
    one, other, larger = (
        pack({"x": torch.full((rows, 3), float(rows)), "t": 1}, torch.device("cpu"))[0].to_bytes() for rows in (2, 2, 3)
    )
    assert one == other
    assert one != larger
