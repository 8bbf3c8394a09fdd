"""Log lines are JSON whatever a client sent."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from imagegen.openai.log import JsonLines


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (7, 7),
        (2**63, 2**63),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (True, True),
        ("a\n\ud800", "a\n?"),
        (float("inf"), None),
        ({"x": 2**70}, {"x": str(2**70)}),
    ],
)
def test_a_line_is_json_whatever_is_in_it(sent: Any, shown: Any) -> None:
    record = logging.makeLogRecord({"msg": "request", "n": sent})
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["n"] == shown


def test_a_line_has_the_message_and_the_fields() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "two\nlines \ud800", (), None)
    record.__dict__["path"] = "/\ud800"
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "x",
        "message": "two\nlines ?",
        "path": "/?",
    }
