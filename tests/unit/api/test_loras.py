"""Adapters come out with their scales, and what breaks a rule is refused by name; more of it is in test_request.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import MAX_LORA_NAME_CHARACTERS
from imagegen.api.loras import LoraChoice, parse_loras
from tests.unit.api.arrays import tensor


def parse(most: int = 4, **values: Any) -> tuple[LoraChoice, ...]:
    return parse_loras({name: tensor(name, given) for name, given in values.items()}, most)


def test_none_are_none() -> None:
    assert parse() == parse(most=0) == ()


@pytest.mark.parametrize(
    ("lora", "scales", "parsed"),
    [
        (["a"], None, [("a", 1.0)]),
        (["a"], [0.8], [("a", 0.8)]),
        (["b", "a"], [0.8, -4.0], [("b", 0.8), ("a", -4.0)]),
        (["b", "a", "ö/ä.safetensors"], [0.0], [("b", 0.0), ("a", 1.0), ("ö/ä.safetensors", 1.0)]),
        (["x" * MAX_LORA_NAME_CHARACTERS], [4.0], [("x" * MAX_LORA_NAME_CHARACTERS, 4.0)]),
    ],
)
def test_each_name_has_its_scale_or_1(lora: list[str], scales: list[float] | None, parsed: list[Any]) -> None:
    given: dict[str, Any] = {"lora": lora} | ({} if scales is None else {"lora_scale": scales})
    assert parse(**given) == tuple(LoraChoice(name, scale) for name, scale in parsed)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"lora": [""]}, r"lora: 0 characters; 1\.\.256"),
        ({"lora": ["x" * 257]}, r"lora: 257 characters; 1\.\.256"),
        ({"lora": [b"a\xff"]}, "lora: not valid UTF-8 at byte 1"),
        ({"lora": ["a", "b", "a"]}, "lora: 'a' is named twice; once is allowed"),
        ({"lora": ["a", "b", "c", "d", "e"]}, "lora: 5 of them; at most 4 are allowed"),
        ({"lora": []}, r"lora: shape \[0\]; 1\.\.4 elements"),
        ({"lora": [["a"]]}, r"lora: shape \[1, 1\]; 1\.\.4 elements"),
        ({"lora_scale": [1.0]}, "lora_scale: 1 scales for 0 names in lora"),
        ({"lora": ["a"], "lora_scale": [1.0, 1.0]}, "lora_scale: 2 scales for 1 names in lora"),
        ({"lora": ["a"], "lora_scale": [4.01]}, r"lora_scale: 4.01 is outside the allowed range, -4\.\.4"),
        ({"lora": ["a"], "lora_scale": [-4.01]}, "lora_scale: -4.01 is outside"),
        ({"lora": ["a"], "lora_scale": [np.nan]}, "lora_scale: nan is outside"),
        ({"lora": ["a"], "lora_scale": [-np.inf]}, "lora_scale: -inf is outside"),
        ({"lora": ["a"], "lora_scale": []}, r"lora_scale: shape \[0\]"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parse(**values)


def test_where_none_are_allowed_one_is_too_many() -> None:
    with pytest.raises(InvalidArgument, match="lora: 1 of them; at most 0 are allowed"):
        parse(most=0, lora=["a"])
