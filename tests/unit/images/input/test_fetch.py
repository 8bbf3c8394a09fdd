"""Fetching against a real server: what comes back, what is cut off, and what a client learns of a failure."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import imagegen
from imagegen.images.input.errors import UrlNotAllowed
from imagegen.images.input.fetch import Fetcher
from tests.unit.images.input.conftest import LIMIT_BYTES, refusal

BODY = bytes(range(256)) * 300


def test_the_body_is_returned_and_the_request_names_the_client(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.serve("/a.png", BODY)).body == BODY
    [(path, headers)] = server.requests
    assert path == "/a.png"
    assert headers["user-agent"] == f"imagegen-triton/{imagegen.__version__}"
    assert headers["accept-encoding"] == "identity"
    assert headers["accept"] == "image/png, image/jpeg, image/webp"


def test_connections_are_reused(fetcher: Fetcher, server: Any) -> None:
    url = server.serve("/a.png", BODY)
    assert [fetcher.fetch(url).body for _ in range(3)] == [BODY] * 3
    assert server.connections == 1


def test_chunked_bodies_are_joined(fetcher: Fetcher, server: Any) -> None:
    url = server.raw(
        "/chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert fetcher.fetch(url).body == b"abcde"


def test_a_body_without_a_length_ends_with_the_connection(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.raw("/no-length", b"HTTP/1.1 200 OK\r\n\r\n", BODY)).body == BODY


def test_cookies_are_not_kept(fetcher: Fetcher, server: Any) -> None:
    url = server.serve("/a.png", BODY, Set_Cookie="client=secret; Path=/")
    fetcher.fetch(url)
    fetcher.fetch(url)
    assert all("cookie" not in headers for _, headers in server.requests)


def test_proxies_and_netrc_of_the_environment_are_ignored(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert fetcher.fetch(server.serve("/a.png", BODY)).body == BODY
    assert "authorization" not in server.requests[0][1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(fetcher: Fetcher, server: Any, status: int) -> None:
    server.serve("/here.png", BODY)
    server.redirect("/relative", "here.png", status)
    assert fetcher.fetch(server.redirect("/absolute", server.url + "/relative", status)).body == BODY


def test_three_redirects_are_followed_and_a_fourth_is_not(fetcher: Fetcher, server: Any) -> None:
    server.serve("/0", BODY)
    for hop in range(1, 5):
        server.redirect(f"/{hop}", f"/{hop - 1}")
    assert fetcher.fetch(server.url + "/3").body == BODY
    assert refusal(fetcher, server.url + "/4") == "fetch_failed: more than 3 redirects"


def test_a_redirect_loop_ends(fetcher: Fetcher, server: Any) -> None:
    assert refusal(fetcher, server.redirect("/loop", "/loop")) == "fetch_failed: more than 3 redirects"
    assert len(server.requests) == 4


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "data:,a"])
def test_redirects_to_other_schemes_are_refused(fetcher: Fetcher, server: Any, location: str) -> None:
    url = server.redirect("/elsewhere", location)
    assert refusal(fetcher, url) == str(UrlNotAllowed())


def test_the_body_of_a_redirect_is_not_read(fetcher: Fetcher, server: Any) -> None:
    server.serve("/here.png", BODY)
    head = b"HTTP/1.1 302 Found\r\nLocation: /here.png\r\n\r\n"
    assert fetcher.fetch(server.raw("/endless", head, then_repeat=bytes(65536))).body == BODY


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 429, 500, 503])
def test_any_other_status_is_named(fetcher: Fetcher, server: Any, status: int) -> None:
    url = server.serve("/a.png", b"", status)
    assert refusal(fetcher, url) == f"fetch_failed: status {status}"


@pytest.mark.parametrize(
    ("headers", "body", "repeat"),
    [
        (f"Content-Length: {LIMIT_BYTES + 1}", b"", b""),
        ("Content-Length: 999999999999999999999", b"", b""),
        ("X: no length, endless", b"", bytes(65536)),
        ("Transfer-Encoding: chunked", b"", b"10000\r\n" + bytes(65536) + b"\r\n"),
        ("Transfer-Encoding: chunked", b"fffffff\r\n", bytes(65536)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", b"", b"10000\r\n" + bytes(65536) + b"\r\n"),
        ("Content-Encoding: gzip", b"", bytes(65536)),
    ],
)
def test_a_body_over_the_limit_is_cut_off(
    fetcher: Fetcher, server: Any, headers: str, body: bytes, repeat: bytes
) -> None:
    url = server.raw("/big", f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode(), body, then_repeat=repeat)
    assert refusal(fetcher, url) == f"too_large: is larger than {LIMIT_BYTES} bytes"


def test_a_body_of_exactly_the_limit_is_accepted(fetcher: Fetcher, server: Any) -> None:
    assert len(fetcher.fetch(server.serve("/a.png", bytes(LIMIT_BYTES))).body) == LIMIT_BYTES
    assert (
        refusal(fetcher, server.serve("/b.png", bytes(LIMIT_BYTES + 1)))
        == f"too_large: is larger than {LIMIT_BYTES} bytes"
    )


def test_a_length_that_is_too_short_bounds_the_body(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.raw("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BODY)).body == BODY[:5]


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-number\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:99999999/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 64 + b".invalid/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    ],
)
def test_broken_responses_are_refused_without_detail(fetcher: Fetcher, server: Any, response: bytes) -> None:
    message = refusal(fetcher, server.raw("/broken", response))
    assert message in (
        "fetch_failed: the connection failed or broke off",
        "fetch_failed: the URL is malformed",
        str(UrlNotAllowed()),
    )


def test_https_is_not_spoken_to_a_plain_server_nor_is_its_error_shown(fetcher: Fetcher, server: Any) -> None:
    message = refusal(fetcher, f"https://127.0.0.1:{server.port}/a.png")
    assert message == "fetch_failed: the connection failed or broke off"


def test_the_log_has_the_reason_but_not_the_path_nor_the_query(
    fetcher: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="imagegen.images.input.fetch"):
        refusal(fetcher, "http://user:password@127.0.0.1:1/private?signature=secret")
    assert "127.0.0.1" in caplog.text
    assert "Connection refused" in caplog.text
    for secret in ("password", "private", "secret"):
        assert secret not in caplog.text


def test_fetches_from_many_threads_do_not_mix(fetcher: Fetcher, server: Any) -> None:
    bodies = {server.serve(f"/{index}", f"body {index}".encode() * 1000): index for index in range(40)}
    together = threading.Barrier(8)

    def fetch_one(url: str) -> bytes:
        together.wait()
        return fetcher.fetch(url).body

    with ThreadPoolExecutor(8) as pool:
        for body, index in zip(pool.map(fetch_one, bodies), bodies.values(), strict=True):
            assert body == f"body {index}".encode() * 1000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"Cache_Control": "max-age=60"}, 60),
        ({"Cache_Control": "max-age=60", "Age": "10"}, 50),
        ({"Cache_Control": "no-store"}, 0),
    ],
)
def test_the_lifetime_is_what_the_server_allows(
    fetcher: Fetcher, server: Any, headers: dict[str, str], seconds: float
) -> None:
    assert fetcher.fetch(server.serve("/a.png", BODY, **headers)).lifetime_s == seconds


def test_a_redirect_can_shorten_the_lifetime(fetcher: Fetcher, server: Any) -> None:
    server.serve("/a.png", BODY, Cache_Control="max-age=60")
    url = server.serve("/first", b"", 302, Location="/a.png", Cache_Control="no-cache")
    assert fetcher.fetch(url).lifetime_s == 0
