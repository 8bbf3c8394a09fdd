"""JSON bodies, strictly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_frontend.errors import BadRequest
from openai_frontend.json_body import parse_object


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
        b'\xef\xbb\xbf{"a": 1}',
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


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_whatever_comes_it_is_read_or_refused(noise: bytes) -> None:
    for body in (noise, b'{"a": ' + noise + b"}"):
        with contextlib.suppress(BadRequest):
            assert isinstance(parse_object(body), dict)
