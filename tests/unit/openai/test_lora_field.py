"""The adapters of a request in each of their forms, and what is no form of them by the path of the part at fault."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import jsonschema_rs
import pytest

from imagegen.api.loras import LoraChoice
from imagegen.openai.errors import BadRequest
from imagegen.openai.form_fields import FormText
from imagegen.openai.lora_field import FORM_SCHEMA, JSON_SCHEMA, lora_tensors, parse_lora

ACCEPTED: list[tuple[Any, list[tuple[str, float]]]] = [
    ("outline", [("outline", 1.0)]),
    ({"name": "outline"}, [("outline", 1.0)]),
    ({"name": "outline", "scale": None}, [("outline", 1.0)]),
    ({"name": "outline", "scale": 0.8}, [("outline", 0.8)]),
    ({"scale": -4, "name": "outline"}, [("outline", -4.0)]),
    (["outline", {"name": "dusk", "scale": 0}], [("outline", 1.0), ("dusk", 0.0)]),
    ([], []),
    (None, []),
]
REFUSED: list[tuple[Any, str, str]] = [
    (7, "lora", "int; it is a name, an object of name and scale, or a list of them"),
    (True, "lora", "bool; it is"),
    (["a", ["b"]], "lora[1]", "list; it is"),
    ([None], "lora[0]", "NoneType; it is"),
    ({}, "lora.name", "missing"),
    ({"scale": 1}, "lora.name", "missing"),
    ({"name": None}, "lora.name", "missing"),
    ({"name": 7}, "lora.name", "int; it is a text"),
    ([{"name": ["a"]}], "lora[0].name", "list; it is a text"),
    ({"name": "a", "scale": "0.8"}, "lora.scale", "str; it is a number"),
    ({"name": "a", "scale": True}, "lora.scale", "bool; it is a number"),
    ({"name": "a", "scale": float("nan")}, "lora.scale", r"outside the allowed range, -4\.\.4"),
    ({"name": "a", "scale": float("-inf")}, "lora.scale", "outside"),
    ({"name": "a", "scale": 4.01}, "lora.scale", "outside"),
    (["x", {"name": "a", "scale": -(10**400)}], "lora[1].scale", "outside"),
    *(
        (
            {"name": "a", key: "x"},
            f"lora.{key}",
            "requests name adapters that the server offers; paths are for the admin",
        )
        for key in ("path", "local_path", "int_id", "url", "weight_name", "")
    ),
]


@pytest.mark.parametrize(("value", "parsed"), ACCEPTED)
def test_each_form(value: Any, parsed: list[tuple[str, float]]) -> None:
    assert parse_lora(value, "lora") == tuple(LoraChoice(name, scale) for name, scale in parsed)
    assert jsonschema_rs.is_valid(JSON_SCHEMA, value)


@pytest.mark.parametrize(("value", "param", "problem"), REFUSED)
def test_what_is_no_form_is_named_by_its_path(value: Any, param: str, problem: str) -> None:
    with pytest.raises(BadRequest, match=problem) as refused:
        parse_lora(value, "lora")
    assert (refused.value.status, refused.value.param) == (400, param)
    assert str(refused.value).startswith(f"{param}: ")
    with pytest.raises(BadRequest) as refused:
        parse_lora(value, "nvext.lora")
    assert refused.value.param == f"nvext.{param}"


@pytest.mark.parametrize("value", [value for value, *_ in REFUSED])
def test_the_schema_forbids_it_too(value: Any) -> None:
    with suppress(ValueError):  # of what no JSON can say
        assert not jsonschema_rs.is_valid(JSON_SCHEMA, value)


@pytest.mark.parametrize("value", [["a", "a"], ["a", "b", "c", "d", "e"], "", "x" * 257])
def test_the_schema_forbids_what_the_server_refuses(value: Any) -> None:
    assert parse_lora(value, "lora")
    assert not jsonschema_rs.is_valid(JSON_SCHEMA, value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("outline", [("outline", 1.0)]),
        ("outline:0.8", [("outline:0.8", 1.0)]),
        ("7", [("7", 1.0)]),
        ('"outline"', [("outline", 1.0)]),
        ('{"name": "outline", "scale": 0.8}', [("outline", 0.8)]),
        ('["outline", {"name": "dusk", "scale": 2}]', [("outline", 1.0), ("dusk", 2.0)]),
        ("[]", []),
    ],
)
def test_a_text_of_a_form_is_a_name_or_json(text: str, parsed: list[tuple[str, float]]) -> None:
    assert parse_lora(FormText(text), "lora") == tuple(LoraChoice(name, scale) for name, scale in parsed)


def test_several_texts_of_a_form_are_a_list() -> None:
    texts = [FormText("outline"), FormText('{"name": "dusk", "scale": 0.5}'), FormText('"sketch"')]
    assert [lora.name for lora in parse_lora(texts, "lora")] == ["outline", "dusk", "sketch"]
    assert jsonschema_rs.is_valid(FORM_SCHEMA, ["outline", "dusk"])


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        (FormText("{"), "lora", "invalid_json"),
        (FormText('"'), "lora", "invalid_json"),
        (FormText('{"name": "a", "scale": NaN}'), "lora", "invalid_json"),
        (FormText('{"name": "a", "name": "b"}'), "name", "duplicate_field"),
        (FormText('{"name": "a", "path": "/a"}'), "lora.path", "unknown_field"),
        (FormText('"\\ud800"'), "lora", "invalid_json"),
        (FormText("[" + "1," * 64 + "1]"), "lora", "invalid_value"),
        (FormText("[" * 100_000), "lora", "invalid_json"),
        ([FormText("a"), FormText('["b"]')], "lora[1]", "invalid_type"),
        ([FormText("a"), FormText("{]")], "lora[1]", "invalid_json"),
    ],
)
def test_a_text_that_begins_as_json_and_is_none_is_refused(value: Any, param: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_lora(value, "lora")
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize("text", ['{"name": "a"}', "[", '"a"', ""])
def test_the_schema_of_a_form_shows_names_alone(text: str) -> None:
    assert not jsonschema_rs.is_valid(FORM_SCHEMA, text)


def test_tensors_have_scales_only_where_one_is_not_1() -> None:
    assert lora_tensors(()) == {}
    assert lora_tensors((LoraChoice("a"), LoraChoice("b"))) == {"lora": ["a", "b"]}
    assert lora_tensors((LoraChoice("a"), LoraChoice("b", 0.5))) == {"lora": ["a", "b"], "lora_scale": [1.0, 0.5]}
