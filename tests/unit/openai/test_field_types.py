"""What a text of a form stands for, by the type of its field, and what JSON may say there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from imagegen.openai.field_types import ControlScale, Flag, Images, Integer, Number, Seed
from imagegen.openai.form_fields import FormText


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (Integer, 2, 2),
        (Integer, 2.0, 2),
        (Integer, FormText("-2"), -2),
        (Number, 2, 2.0),
        (Number, FormText("2.5e1"), 25.0),
        (Flag, FormText("TRUE"), True),
        (Images, "https://a/", "https://a/"),
        (Images, ["https://a/", "QUJD"], ["https://a/", "QUJD"]),
        (Images, [b"a file", b""], [b"a file", b""]),
    ],
)
def test_what_is_taken(kind: Any, given: Any, value: Any) -> None:
    taken = TypeAdapter(kind).validate_python(given, strict=True)
    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Integer, FormText("2.0")),
        (Integer, "2"),
        (Number, FormText("nan")),
        (Flag, FormText("yes")),
        (Flag, 1),
        (Images, ""),
        (Images, ["a", ""]),
        (Images, ["a", 7]),
        (Images, {"image_url": "https://a/"}),
    ],
)
def test_what_is_not(kind: Any, given: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(given, strict=True)


def test_the_schemas_say_the_ranges_and_nothing_of_files() -> None:
    assert TypeAdapter(Seed).json_schema()["minimum"] == 0
    assert TypeAdapter(ControlScale).json_schema()["maximum"] == 2
    one, several = TypeAdapter(Images).json_schema()["anyOf"]
    assert one == several["items"] == {"type": "string", "minLength": 1}
