"""A forward's shape knows what a package depends on, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.compiled.forward_shape import ForwardShape, forward_shape
from imagegen.engine.merge_rules import merge, rule_of

ROWS = 3


def merged(given: dict[str, Any], rows: int = ROWS) -> ForwardShape | None:
    rules = {name: rule_of(name, value, rows) for name, value in given.items()}
    return forward_shape(rules, {name: merge(rules[name], [value], rows) for name, value in given.items()})


def everything(rows: int = ROWS, side: int = 2) -> dict[str, Any]:
    return {
        "sample": torch.randn(rows, 4, side, side),
        "img_ids": torch.randn(5, 3),
        "img_shapes": [[(1, side, side)]] * rows,
        "down_block_additional_residuals": (torch.randn(rows, 2), torch.randn(rows, 7)),
        "added_cond_kwargs": {"text_embeds": torch.randn(rows, 8), "other": None},
        "return_dict": False,
        "scale": 1.5,
    }


def test_rows_and_contents_do_not_matter_and_all_else_does() -> None:
    shape = merged(everything())
    assert shape == merged(everything(rows=5), rows=5)
    assert hash(shape) == hash(merged(everything()))
    assert repr(shape) == repr(merged(everything()))
    for name, other in (
        ("sample", torch.randn(ROWS, 4, 2, 2, dtype=torch.float64)),
        ("img_ids", torch.randn(6, 3)),
        ("return_dict", True),
        ("added_cond_kwargs", {"other": None}),
        ("down_block_additional_residuals", [torch.randn(ROWS, 2), torch.randn(ROWS, 7)]),
    ):
        assert merged({**everything(), name: other}) != shape
    assert merged(everything(side=4)) != shape


def test_tensors_go_out_and_in_again() -> None:
    given = everything()
    given["sample"] = given["sample"].transpose(2, 3)
    shape = merged(given)
    assert shape is not None
    tensors = shape.tensors(given)
    assert all(tensor.is_contiguous() for tensor in tensors)
    back = shape.with_tensors(tensors)
    assert back.pop("img_shapes") == given.pop("img_shapes")[:1]
    assert back.keys() == given.keys()
    assert torch.equal(back["sample"], given["sample"])
    assert type(back["down_block_additional_residuals"]) is tuple
    assert back["added_cond_kwargs"]["other"] is None
    assert (back["return_dict"], back["scale"]) == (False, 1.5)


def test_examples_have_the_forward_s_shapes() -> None:
    shape = merged(everything())
    assert shape is not None
    examples = shape.examples(6, torch.device("cpu"))
    expected = shape.tensors(everything(rows=6))
    assert [(e.shape, e.dtype) for e in examples] == [(e.shape, e.dtype) for e in expected]
    assert shape.has_rows() == [tensor.shape[0] == 6 for tensor in expected]


@pytest.mark.parametrize("value", [[torch.zeros(2, 1), torch.zeros(3, 1), torch.zeros(4, 1)]])
def test_rows_of_different_lengths_have_no_shape(value: Any) -> None:
    assert merged({"x": value, "t": torch.zeros(ROWS)}) is None


def test_what_is_not_plain_has_no_shape() -> None:
    assert forward_shape({"kind": ("same", 0)}, {"kind": torch.float32}) is None
    assert forward_shape({"kind": ("same", 0)}, {"kind": [1, object()]}) is None
