"""Responses are read as they come, in pieces, several over one connection; what is no HTTP is said to be none."""

from __future__ import annotations

import pytest

from perf.hostile.case import Response
from perf.hostile.http_response import NotHttp, parse_responses

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nab"
CHUNKED = b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize("data", [OK, CHUNKED, OK + CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK])
def test_a_response_is_complete_at_its_last_byte(data: bytes) -> None:
    whole = parse_responses(data, closed=False)
    assert whole
    for cut in range(len(data)):
        assert len(parse_responses(data[:cut], closed=False)) < len(whole)


def test_status_body_and_type() -> None:
    assert parse_responses(CHUNKED + OK, closed=False) == [Response(400, b"abcde"), Response(200, b"ab", "text/plain")]


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nabc"
    assert parse_responses(data, closed=False) == []
    assert parse_responses(data, closed=True) == [Response(200, b"abc")]


def test_a_response_to_head_has_no_body_and_nothing_behind_it() -> None:
    head = OK.removesuffix(b"ab")
    assert parse_responses(head, closed=True, head_only=True) == [Response(200, b"", "text/plain")]
    with pytest.raises(NotHttp) as found:
        parse_responses(OK, closed=True, head_only=True)
    assert found.value.rest == b"ab"


@pytest.mark.parametrize("data", [b"garbage", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_what_is_no_http_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotHttp):
        parse_responses(data, closed=True)
