"""An id goes along as a header for load balancers, where it may stand in one."""

from __future__ import annotations

import pytest

from imagegen_client.transport import id_headers


def test_an_id_becomes_a_header() -> None:
    assert id_headers("mine 1.a_b") == {"x-request-id": "mine 1.a_b"}


@pytest.mark.parametrize("request_id", ["", " ", "zwölf", "two\nlines", "a\x7f"])
def test_what_cannot_stand_in_a_header_is_left_out(request_id: str) -> None:
    assert id_headers(request_id) is None
