"""Fields of a body: which one is at fault, and what the schema says of each."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from imagegen.api import limits, tensors
from imagegen.openai.errors import BadRequest
from imagegen.openai.fields import EditJson, GenerationFields, NvExt, parse_fields
from imagegen.openai.form_fields import FormText


def parse(**given: Any) -> GenerationFields:
    return parse_fields(GenerationFields, {"prompt": "x"} | given)


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
        ({"reference_image": 7}, "reference_image"),
        ({"control_image": ["a", 7]}, "control_image"),
        ({"control_image": ""}, "control_image"),
        ({"control_type": {"canny": 1}}, "control_type"),
        ({"control_scale": "1"}, "control_scale"),
        ({"control_preprocess": 1}, "control_preprocess"),
        ({"return_control": "true"}, "return_control"),
        ({"nvext": {"control_end": [True]}}, "nvext.control_end"),
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
        parse_fields(EditJson, {"prompt": "x", "images": [{"image_url": "https://a/"}]} | given)
    assert refused.value.param == param


def test_texts_are_read_only_where_a_form_sends_nothing_else() -> None:
    assert parse_fields(GenerationFields, {"prompt": "x", "n": FormText("2")}).n == 2
    with pytest.raises(BadRequest, match="n: "):
        parse(n="2")


NO_INTEGERS = [
    "1_0",
    " 1",
    "1 ",
    "1.0",
    "+1",
    "١",
    "１",
    "1e1",
    "true",
    "0x10",
    "inf",
    "nan",
    "01",
    "1,0",
    "--1",
    "-",
    "1\n",
    "2.5",
]
NO_NUMBERS = [
    "1_0.5",
    " 1",
    "+1.5",
    "١",
    "0x10",
    "inf",
    "-inf",
    "nan",
    "NaN",
    "Infinity",
    "true",
    "01.5",
    ".5",
    "5.",
    "1,5",
    "1e",
    "",
]


@pytest.mark.parametrize(
    "name", ["n", "num_inference_steps", "output_compression", "timeout_ms", "seed", "partial_images"]
)
@pytest.mark.parametrize("text", NO_INTEGERS)
def test_a_text_of_a_form_that_is_no_integer_is_refused(name: str, text: str) -> None:
    sent = FormText(text)
    for given in ({name: sent}, {"nvext": {name: sent}} if name in NvExt.model_fields else {name: sent}):
        with pytest.raises(BadRequest) as refused:
            parse_fields(GenerationFields, {"prompt": "x"} | given)
        assert refused.value.param is not None
        assert refused.value.param.removeprefix("nvext.") == name
        assert "as in 10" in str(refused.value)


@pytest.mark.parametrize("name", ["guidance_scale", "strength", "control_scale", "control_end"])
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_a_text_of_a_form_that_is_no_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=f"{name}: .* as in 7.5") as refused:
        parse_fields(GenerationFields, {"prompt": "x", name: FormText(text)})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "2", 2),
        ("n", "0", 0),
        ("n", "-3", -3),
        ("seed", "9223372036854775807", 2**63 - 1),
        ("guidance_scale", "7", 7.0),
        ("guidance_scale", "-0.5", -0.5),
        ("guidance_scale", "1e1", 10.0),
        ("strength", "0.25", 0.25),
        ("stream", "true", True),
        ("stream", "False", False),
    ],
)
def test_a_text_of_a_form_is_read_as_json_writes_it(name: str, text: str, value: Any) -> None:
    assert getattr(parse_fields(GenerationFields, {"prompt": "x", name: FormText(text)}), name) == value


def test_several_seeds_of_a_form() -> None:
    assert parse_fields(GenerationFields, {"prompt": "x", "seed": [FormText("1"), FormText("2")]}).seed == [1, 2]
    with pytest.raises(BadRequest, match="seed"):
        parse_fields(GenerationFields, {"prompt": "x", "seed": [FormText("1"), FormText("1_0")]})


@pytest.mark.parametrize("digits", [25, 5000])
def test_a_number_of_very_many_digits_is_refused_or_left_to_the_tensor(digits: int) -> None:
    given = {"prompt": "x", "n": FormText("9" * digits)}
    with contextlib.suppress(BadRequest):
        assert parse_fields(GenerationFields, given).n == int("9" * digits)


def test_none_is_as_good_as_absent() -> None:
    with pytest.raises(BadRequest) as refused:
        parse_fields(GenerationFields, {"prompt": None})
    assert refused.value.code == "missing_field"
    with pytest.raises(BadRequest) as refused:
        parse_fields(GenerationFields, {"prompt": "x", "colour": None})
    assert refused.value.code == "unknown_field"


def test_the_schema_shows_the_rules() -> None:
    properties = GenerationFields.model_json_schema()["properties"]
    assert properties["n"]["maximum"] == limits.MAX_N
    for tensor in tensors.INPUTS:
        if tensor.name in properties and tensor.name not in ("response_format", "return_control"):
            assert properties[tensor.name]["description"] == tensor.rule
