"""An id goes along as a header for load balancers, where it may stand in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferInput

from imagegen_client import InternalError
from imagegen_client.transport import admin_inputs, id_headers, parse_admin_state


def test_an_id_becomes_a_header() -> None:
    assert id_headers("mine 1.a_b") == {"x-request-id": "mine 1.a_b"}


@pytest.mark.parametrize("request_id", ["", " ", "zwölf", "two\nlines", "a\x7f"])
def test_what_cannot_stand_in_a_header_is_left_out(request_id: str) -> None:
    assert id_headers(request_id) is None


class Response:
    """What a server responded, one output alone."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def as_numpy(self, name: str) -> Any:
        return np.array([self._text], dtype=np.object_) if name == "state" else None


def test_an_administrators_inputs_have_a_level_only_where_one_is_given() -> None:
    names = [[tensor.name() for tensor in admin_inputs(InferInput, "sleep", "key", level)] for level in (None, 2)]
    assert names == [["command", "admin_key"], ["command", "admin_key", "level"]]


def test_an_administrators_inputs_name_an_adapter_and_where_it_lies() -> None:
    inputs = admin_inputs(InferInput, "load_lora", "key", lora_name="outline", lora_path="/a/outline.safetensors")
    assert [tensor.name() for tensor in inputs] == ["command", "admin_key", "lora_name", "lora_path"]
    inputs = admin_inputs(InferInput, "unload_lora", "key", lora_name="outline")
    assert [tensor.name() for tensor in inputs] == ["command", "admin_key", "lora_name"]


def test_the_state_is_an_object() -> None:
    assert parse_admin_state(Response(b'{"instances": []}')) == {"instances": []}


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"1"])
def test_another_state_cannot_be_read(text: bytes) -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        parse_admin_state(Response(text))
