"""Server-sent events."""

from __future__ import annotations

import orjson

from imagegen.openai import sse


def test_data_is_one_line() -> None:
    assert sse.event("a.b", {"x": "1\n2"}) == b'event: a.b\ndata: {"x":"1\\n2"}\n\n'


def test_json_that_is_written_already_goes_in_as_it_is() -> None:
    assert sse.event("a", {"x": orjson.Fragment(b'"QUJD"')}) == b'event: a\ndata: {"x":"QUJD"}\n\n'


def test_a_comment_is_no_event() -> None:
    assert sse.COMMENT.startswith(b":")
    assert sse.COMMENT.endswith(b"\n\n")
