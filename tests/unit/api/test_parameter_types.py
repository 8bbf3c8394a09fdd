"""Texts of a configuration become values; values that are none already stay as they are."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from imagegen.api.parameter_types import CommaSeparated, TrueOrFalse

NUMBERS = TypeAdapter(Annotated[tuple[int, ...], CommaSeparated])
SWITCH: TypeAdapter[bool] = TypeAdapter(TrueOrFalse)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (NUMBERS, "1024, 768", (1024, 768)),
        (NUMBERS, "", ()),
        (NUMBERS, (1, 2), (1, 2)),
        (SWITCH, "TRUE", True),
        (SWITCH, "false", False),
        (SWITCH, True, True),
    ],
)
def test_texts_and_values_are_taken(kind: TypeAdapter[Any], given: Any, value: Any) -> None:
    assert kind.validate_python(given) == value


@pytest.mark.parametrize("text", ["yes", "1", "on", ""])
def test_a_switch_is_true_or_false_and_nothing_like_it(text: str) -> None:
    with pytest.raises(ValidationError, match="it is true or false"):
        SWITCH.validate_python(text)
