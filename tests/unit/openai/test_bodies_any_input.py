"""Whatever a client sends as a body is a request or an error of ours: JSON, forms, and any values of any fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.openai.errors import ApiError, BadRequest
from imagegen.openai.fields import EditFields, EditJson, NvExt
from imagegen.openai.form import read_form
from imagegen.openai.images_request import ImagesRequest, RequestParser
from imagegen.openai.json_body import parse_object
from imagegen.openai.openai_values import RULES, UNSUPPORTED_FIELDS
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings
from imagegen_client import GenerateArguments, InvalidArgument

PARSER = RequestParser(Settings(), ServedModel(None))
EXAMPLES = settings(max_examples=50, deadline=None, derandomize=True, database=None)
BOUNDARY = b"frontier"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
likely = st.sampled_from(
    [value for rule in RULES for value in rule.values]
    + ["64x64", "euler", "progress", "https://a/", {"name": "a", "scale": 0.5}, ["a", {"name": "b"}]]
)
names = st.sampled_from([*EditJson.model_fields, *NvExt.model_fields, *UNSUPPORTED_FIELDS, "colour", ""])
objects = st.dictionaries(names, likely | json_values, max_size=8)
requests = st.builds(
    lambda outer, inner, prompt: outer | ({"nvext": inner} if inner else {}) | ({"prompt": prompt} if prompt else {}),
    objects,
    st.none() | objects,
    st.none() | st.text(min_size=1, max_size=20),
)


def is_usable(made: ImagesRequest) -> None:
    """Its values are tensors, or are refused by the name of the field."""
    given_values = {name: value for name, value in made.values.items() if value is not None}
    with suppress(InvalidArgument):
        assert GenerateArguments(**given_values).tensors()
    assert json.dumps([made.warnings, made.quality, made.stream, made.partial_images])


def read(content_type: bytes, body: bytes, size: int) -> dict[str, Any]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(read_form(content_type.decode("latin-1"), pieces(), 1000))


@EXAMPLES
@given(st.binary(max_size=200), st.integers(0, 40))
def test_any_bytes_as_json(noise: bytes, place: int) -> None:
    whole = b'{"prompt": "x", "nvext": {"seed": [1, 2]}, "n": 1}'
    for body in (noise, whole[:place] + noise + whole[place:], whole[:place] + noise):
        with suppress(BadRequest):
            assert json.dumps(parse_object(body), ensure_ascii=False).encode()


@EXAMPLES
@given(requests)
def test_any_values_of_any_fields(given: dict[str, Any]) -> None:
    for parse in (PARSER.generation, lambda fields: PARSER.edit(fields, as_json=True)):
        with suppress(ApiError):
            is_usable(parse(given))


@EXAMPLES
@given(json_values)
def test_any_json_that_is_an_object_is_judged(value: Any) -> None:
    with suppress(ApiError):
        is_usable(PARSER.generation(parse_object(json.dumps(value).encode())))


part_names = st.sampled_from([*EditFields.model_fields, "image", "mask", "nvext"])
suffixes = st.sampled_from(["", "", "[]", "[0]", "[7]", "[seed]", "[seed][]", "[", "]", "[x]"])
dispositions = st.sampled_from(
    [
        'form-data; name="%s"',
        "form-data; name=%s",
        'form-data; name="%s"; filename=""',
        'form-data; filename="a;b\\".png"; name="%s"',
        "FORM-DATA; NAME = \"%s\"; filename*=UTF-8''%%41",
        'form-data; name="%s',
        'attachment; name="%s"',
        "%s",
    ]
)
texts = st.sampled_from(
    [
        *(b"", b"1", b"true", b"64x64", b"1_0", b'{"seed": 1}', b"[1]", b"\xff", b"\xef\xbb\xbf{}", b"x" * 1001),
        *(b'{"name": "a"}', b'["a"]', b'"a"'),
    ]
)
parts = st.tuples(dispositions, part_names, suffixes, texts | st.binary(max_size=30))


def part(disposition: str, name: str, suffix: str, data: bytes) -> bytes:
    line = f"Content-Disposition: {disposition % (name + suffix)}\r\n\r\n".encode()
    return b"--" + BOUNDARY + b"\r\n" + line + data + b"\r\n"


@EXAMPLES
@given(st.lists(parts, max_size=6), st.sampled_from([b"--", b"", b"--\r\nafter"]), st.integers(1, 99))
def test_any_parts_of_a_form(made: list[tuple[str, str, str, bytes]], end: bytes, size: int) -> None:
    body = b"".join(part(*one) for one in made) + b"--" + BOUNDARY + end + b"\r\n"
    with suppress(ApiError):
        fields = read(b"multipart/form-data; boundary=" + BOUNDARY, body, size)
        for parse in (lambda given: PARSER.edit(given, as_json=False), PARSER.variation):
            with suppress(ApiError):
                is_usable(parse(fields))


@EXAMPLES
@given(st.binary(max_size=80))
def test_any_content_type_of_a_form(parameters: bytes) -> None:
    with suppress(ApiError):
        read(b"multipart/form-data;" + parameters, b"--a\r\n\r\n--a--\r\n", 7)
