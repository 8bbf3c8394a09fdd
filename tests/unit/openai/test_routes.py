"""What all routes have in common over HTTP: HEAD, OPTIONS, a slash at the end, and the bodies that they take."""

from __future__ import annotations

import pytest

from tests.service.http_pieces import connect
from tests.unit.openai.http_exchange import (
    BODY,
    GENERATIONS,
    GET_ROUTES,
    KEY,
    POST_ROUTES,
    Response,
    exchange,
    generation,
    refusal,
    request,
)
from tests.unit.openai.running_frontend import JudgingTriton


@pytest.mark.parametrize("path", [*GET_ROUTES, "/no/such/route", "/v1/models/none", "/v1/images/files/none"])
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    with connect(url) as connection:
        connection.sendall(request("HEAD", path))
        head = Response(connection, has_body=False)
        assert head.rest == b""
        connection.sendall(request("GET", path))
        get = Response(connection)
    varying = {"date", "x-request-id", *(["content-length"] if path == "/metrics" else [])}
    assert head.status == get.status
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in get.headers.items() if name not in varying
    }
    assert "content-length" in head.headers


@pytest.mark.parametrize("path", POST_ROUTES)
def test_head_of_what_is_no_get_route(url: str, path: str) -> None:
    response = exchange(url, request("HEAD", path), has_body=False)
    assert (response.status, response.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *((path, "GET, HEAD, OPTIONS") for path in GET_ROUTES),
        *((path, "OPTIONS, POST") for path in POST_ROUTES),
        ("*", "GET, HEAD, OPTIONS, POST"),
        (GENERATIONS + "/", "OPTIONS, POST"),
    ],
)
def test_options_says_what_is_allowed(url: str, path: str, allow: str) -> None:
    response = exchange(url, request("OPTIONS", path))
    assert (response.status, response.headers["allow"]) == (204, allow)
    assert not {"content-length", "transfer-encoding"} & set(response.headers)


def test_options_of_no_route(url: str) -> None:
    assert exchange(url, request("OPTIONS", "/no/such/route")).status == 404
    assert exchange(url, request("GET", "*")).status == 405


def test_what_a_browser_asks_first_is_answered_as_before(url: str) -> None:
    asks = ("Origin: https://page.example", "Access-Control-Request-Method: POST")
    response = exchange(url, request("OPTIONS", GENERATIONS, *asks))
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, "https://page.example")
    assert exchange(url, request("OPTIONS", GENERATIONS, "Origin: https://evil.example", asks[1])).status == 400


@pytest.mark.parametrize("path", [path for path in GET_ROUTES if path not in ("/", f"/v1/images/files/{KEY}")])
def test_a_slash_at_the_end_serves_the_route(url: str, path: str) -> None:
    with_slash, without = exchange(url, request("GET", path + "/")), exchange(url, request("GET", path))
    assert with_slash.status == without.status == 200
    if path != "/metrics":
        assert with_slash.body == without.body
    assert exchange(url, request("GET", path + "/?a=b")).status == 200


def test_a_slash_at_the_end_of_a_post_loses_no_body(url: str, triton: JudgingTriton) -> None:
    sent = generation(body=b'{"prompt": "with a slash"}').replace(b"/generations ", b"/generations/ ")
    assert exchange(url, sent).status == 200
    assert triton.requests[-1].prompt == "with a slash"


def test_the_key_of_a_file_is_taken_as_it_is(url: str) -> None:
    assert exchange(url, request("GET", f"/v1/images/files/{KEY}/")).status == 404
    assert exchange(url, request("GET", "/v1/images/files/")).status == 404
    assert exchange(url, request("GET", "/v1/models//")).status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=UTF-8",
        'application/json;charset="utf-8"',
        "Application/JSON",
        "APPLICATION/JSON ; Charset = Utf-8",
        "application/json;",
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_json_by_any_of_its_names(url: str, kind: str, mark: bytes) -> None:
    assert exchange(url, generation(kind=kind, body=mark + BODY)).status == 200


@pytest.mark.parametrize("more", [b'"n": 1, "n": 1', b'"nvext": {"seed": 1, "seed": 1}', b'"prompt": "x"'])
def test_json_with_a_key_twice_is_refused(url: str, more: bytes) -> None:
    status, _, error = refusal(url, generation(body=b'{"prompt": "x", ' + more + b"}"))
    assert (status, error["code"]) == (400, "duplicate_field")


@pytest.mark.parametrize("path", POST_ROUTES)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-gzip"])
def test_a_compressed_body_is_refused_with_what_is_accepted(url: str, path: str, coding: str) -> None:
    kind = "application/json" if path == GENERATIONS else "multipart/form-data; boundary=b"
    lines = (f"Content-Type: {kind}", "Content-Length: 2", f"Content-Encoding: {coding}")
    status, headers, _ = refusal(url, request("POST", path, *lines, body=b"{}"))
    assert (status, headers["accept-encoding"]) == (415, "identity")  # RFC 9110, 12.5.3 and 15.5.16


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_a_body_that_says_it_is_not_compressed_is_read(url: str, coding: str) -> None:
    assert exchange(url, generation(f"Content-Encoding: {coding}")).status == 200


def test_a_transfer_coding_that_is_not_understood_is_refused(url: str) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: gzip, chunked")
    assert refusal(url, request("POST", GENERATIONS, *lines, body=b"2\r\n{}\r\n0\r\n\r\n"))[0] == 415


@pytest.mark.parametrize(
    ("path", "kind", "accepted"),
    [
        (GENERATIONS, "text/plain", "application/json"),
        (GENERATIONS, "application/x-www-form-urlencoded", "application/json"),
        ("/v1/images/edits", "text/json", "application/json, multipart/form-data"),
        ("/v1/images/variations", "application/json", "multipart/form-data"),
    ],
)
def test_another_content_type_is_refused_with_what_is_accepted(url: str, path: str, kind: str, accepted: str) -> None:
    lines = (f"Content-Type: {kind}", "Content-Length: 2")
    status, headers, error = refusal(url, request("POST", path, *lines, body=b"{}"))
    assert (status, headers["accept-post"]) == (415, accepted)
    assert all(name in error["message"] for name in accepted.split(", "))
