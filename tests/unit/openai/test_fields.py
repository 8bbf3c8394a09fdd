"""Fields of a body: which one is at fault, and what the schema says of each."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen.api import limits, tensors
from imagegen.openai.errors import BadRequest
from imagegen.openai.fields import EditJson, GenerationFields, parse_fields


def parse(**given: Any) -> GenerationFields:
    return parse_fields(GenerationFields, {"prompt": "x"} | given, strict=True)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"n": "1"}, "n"),
        ({"n": True}, "n"),
        ({"stream": "true"}, "stream"),
        ({"seed": "7"}, "seed"),
        ({"seed": [1, "7"]}, "seed"),
        ({"nvext": []}, "nvext"),
        ({"nvext": {"seed": 1.5}}, "nvext.seed"),
        ({"nvext": {"x": 1}}, "nvext.x"),
        ({"nvext": {"annotations": "progress"}}, "nvext.annotations"),
        ({"": 1}, ""),
        ({"x" * 5000: 1}, "x" * 500 + "…"),
    ],
)
def test_the_field_at_fault_is_named(given: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**given)
    assert refused.value.param == param


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(BadRequest) as refused:
        parse(n={"secret": "wish"})
    assert "wish" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"images": []}, "images"),
        ({"images": [{"colour": 1}]}, "images[0].colour"),
        ({"images": [{"image_url": 1}]}, "images[0].image_url"),
        ({"mask": {"colour": 1}}, "mask.colour"),
    ],
)
def test_a_nested_field_is_named_by_its_path(given: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_fields(EditJson, {"prompt": "x", "images": [{"image_url": "https://a/"}]} | given, strict=True)
    assert refused.value.param == param


def test_texts_are_read_only_where_a_form_sends_nothing_else() -> None:
    assert parse_fields(GenerationFields, {"prompt": "x", "n": "2"}, strict=False).n == 2
    with pytest.raises(BadRequest, match="n: "):
        parse(n="2")


def test_the_schema_shows_the_rules() -> None:
    properties = GenerationFields.model_json_schema()["properties"]
    assert properties["n"]["maximum"] == limits.MAX_N
    for tensor in tensors.INPUTS:
        if tensor.name in properties and tensor.name != "response_format":
            assert properties[tensor.name]["description"] == tensor.rule
