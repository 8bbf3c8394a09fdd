"""The rules between fields, as a validator of JSON Schema reads them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from imagegen.openai.schema_rules import request_rules

RULES = jsonschema_rs.validator_for(request_rules())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 10},
        {"stream": True, "partial_images": 3, "nvext": {"annotations": ["progress"]}},
        {"stream": True, "n": 1},
        {"stream": None, "partial_images": 0, "nvext": {"annotations": []}},
        {"seed": [7]},
        {"n": 2, "seed": [1, 2]},
        {"n": 3, "nvext": {"seed": [1, 2, 3]}},
        {"n": 2, "seed": 2**63 - 2},
        {"seed": 1, "nvext": None},
        {"nvext": {"seed": 1}, "seed": None},
    ],
)
def test_what_goes_together(fields: dict[str, Any]) -> None:
    assert RULES.is_valid(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True, "n": 2},
        {"partial_images": 1},
        {"stream": False, "partial_images": 1},
        {"nvext": {"annotations": ["progress"]}},
        {"seed": [1, 2]},
        {"n": 3, "seed": [1, 2]},
        {"n": 2, "nvext": {"seed": [1, 2, 3]}},
        {"n": 2, "seed": 2**63 - 1},
        {"seed": 1, "nvext": {"seed": 1}},
    ],
)
def test_what_does_not(fields: dict[str, Any]) -> None:
    assert not RULES.is_valid(fields)
