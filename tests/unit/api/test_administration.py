"""An administrator's command is parsed, and what it lacks is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.administration import AdminRequest, parse_admin_request
from imagegen.api.errors import InvalidArgument


def arrays(command: str | None = None, level: Any = None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if command is not None:
        given["command"] = np.array([command.encode()], dtype=np.object_)
    if level is not None:
        given["level"] = np.atleast_1d(np.array(level, np.int32))
    return given


def test_a_command_and_its_level() -> None:
    assert parse_admin_request(arrays("sleep")) == AdminRequest("sleep", 1)
    assert parse_admin_request(arrays("sleep", 2)) == AdminRequest("sleep", 2)
    assert parse_admin_request(arrays("wake")).command == "wake"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (arrays(), "command: missing; it is one of sleep, wake, status"),
        (arrays("Sleep"), "command: 'Sleep' is not one of sleep, wake, status"),
        (arrays("sleep", 3), "level: 3 is not one of 1, 2"),
        (arrays("sleep", [1, 2]), "level: shape"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parse_admin_request(given)
