"""An administrator's command is parsed, and what it lacks is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.administration import AdminRequest, parse_admin_request
from imagegen.api.errors import InvalidArgument


def arrays(command: str | None = None, level: Any = None, **texts: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if command is not None:
        texts["command"] = command
    for name, text in texts.items():
        given[name] = np.array([text.encode()], dtype=np.object_)
    if level is not None:
        given["level"] = np.atleast_1d(np.array(level, np.int32))
    return given


def test_a_command_and_its_level() -> None:
    assert parse_admin_request(arrays("sleep")) == AdminRequest("sleep", 1)
    assert parse_admin_request(arrays("sleep", 2)) == AdminRequest("sleep", 2)
    assert parse_admin_request(arrays("wake")).command == "wake"


def test_an_adapter_is_loaded_by_name_and_path_and_unloaded_by_name() -> None:
    loaded = parse_admin_request(arrays("load_lora", lora_name="outline", lora_path="org/outline"))
    assert loaded == AdminRequest("load_lora", lora_name="outline", lora_path="org/outline")
    unloaded = parse_admin_request(arrays("unload_lora", lora_name="outline"))
    assert unloaded == AdminRequest("unload_lora", lora_name="outline")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (arrays(), "command: missing; it is one of sleep, wake, status"),
        (arrays("Sleep"), "command: 'Sleep' is not one of sleep, wake, status"),
        (arrays("sleep", 3), "level: 3 is not one of 1, 2"),
        (arrays("sleep", [1, 2]), "level: shape"),
        (arrays("load_lora"), "lora_name: missing; load_lora needs it"),
        (arrays("load_lora", lora_path="/a"), "lora_name: missing; load_lora needs it"),
        (arrays("load_lora", lora_name="a"), "lora_path: missing; load_lora needs it"),
        (arrays("unload_lora", lora_path="/a"), "lora_name: missing; unload_lora needs it"),
        (arrays("load_lora", lora_name="", lora_path="/a"), r"lora_name: 0 characters; 1\.\.256"),
        (arrays("load_lora", lora_name="a" * 257, lora_path="/a"), r"lora_name: 257 characters; 1\.\.256"),
        (arrays("load_lora", lora_name="a", lora_path=""), r"lora_path: 0 characters; 1\.\.2048"),
        (arrays("load_lora", lora_name="a", lora_path="/" * 2049), r"lora_path: 2049 characters; 1\.\.2048"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parse_admin_request(given)
