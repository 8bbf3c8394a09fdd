"""JSON bodies, strictly."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.openai.errors import BadRequest
from imagegen.openai.json_body import parse_object, parse_value


def test_an_object() -> None:
    assert parse_object('{"a": [1, {"b": null}], "c": "\\u00e4ä"}'.encode()) == {"a": [1, {"b": None}], "c": "ää"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_object(body)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize("body", [b'{"n": 1, "n": 1}', b'{"nvext": {"n": 1, "n": 2}}', b'{"n": 1, "\\u006e": 2}'])
def test_a_field_twice_is_named(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_object(body)
    assert (refused.value.param, refused.value.code) == ("n", "duplicate_field")


def test_a_field_twice_among_very_many_is_found_at_once() -> None:
    """Looking each up among all the others would take minutes, in which no other request is answered."""
    names = ", ".join(f'"{index}": 1' for index in range(90_000))
    with pytest.raises(BadRequest, match="7: given more than once"):
        parse_object(f'{{{names}, "7": 2}}'.encode())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"images": [1] * 65}, "images"),
        ({"prompt": "x", "seed": list(range(65))}, "seed"),
        ({"nvext": {str(index): 1 for index in range(65)}}, "nvext"),
        ({"nvext": {"annotations": ["progress"] * 65}}, "annotations"),
        ({str(index): 1 for index in range(65)}, None),
    ],
)
def test_more_items_than_any_field_takes(body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(BadRequest, match="the most is 64") as refused:
        parse_object(json.dumps(body).encode())
    assert refused.value.param == param


def test_a_body_of_a_million_parts_is_not_even_parsed() -> None:
    with pytest.raises(BadRequest, match="too many parts"):
        parse_object(b'{"a": [' + b"[],," * 1_000_000)


def test_the_longest_prompts_are_no_parts() -> None:
    prompt = "," * 32_000
    assert parse_object(json.dumps({"prompt": prompt, "negative_prompt": prompt}).encode())["prompt"] == prompt


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_whatever_comes_it_is_read_or_refused(noise: bytes) -> None:
    for body in (noise, b'{"a": ' + noise + b"}"):
        with contextlib.suppress(BadRequest):
            assert isinstance(parse_object(body), dict)


@pytest.mark.parametrize(("text", "value"), [(b'"a"', "a"), (b"[1, {}]", [1, {}]), (b"null", None), (b"7", 7)])
def test_any_value_of_a_field(text: bytes, value: Any) -> None:
    assert parse_value(text, "lora") == value


@pytest.mark.parametrize("text", [b"", b"{", b'"\xff"', b'"\\ud800"', b"NaN", b"[" * 100_000, b"," * 100_001])
def test_what_is_none_is_named_by_its_field(text: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^lora ") as refused:
        parse_value(text, "lora")
    assert (refused.value.param, refused.value.code) == ("lora", "invalid_json")


def test_a_list_of_very_many_is_refused() -> None:
    with pytest.raises(BadRequest, match="lora: has 65 items; the most is 64"):
        parse_value(b"[" + b"1," * 64 + b"1]", "lora")
