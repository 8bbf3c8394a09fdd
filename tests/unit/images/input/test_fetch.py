"""Fetching against a real server: what comes back, what is cut off, and what a client learns of a failure."""

from __future__ import annotations

import gzip
import logging
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import imagegen
from imagegen.images.input.errors import ImageError, UrlNotAllowed
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.settings import InputSettings

LIMIT_BYTES = 200_000
BODY = bytes(range(256)) * 300


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """May reach the loopback server, in one attempt, with a limit on bytes."""
    fetcher = Fetcher(
        InputSettings(
            allow_private_addresses=True,
            max_image_bytes=LIMIT_BYTES,
            read_timeout_s=5.0,
            fetch_timeout_s=10.0,
            fetch_attempts=1,
        )
    )
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    return str(caught.value)


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


TARGETS = [
    "/%7Eb/%7eb/~b/%2f/%2F/%C3%a4?x=%7e&y=%2B+%20&z={|}",
    "/b/../c/./d//e/;f;g=1,2?h;i",
    "/?",
    "/b??c=/../?",
    "//b//c",
    "/%zz%?%",
    "/A/a?X-Amz-Signature=0aF%2Fb%3D&x=a%20b",
]


@pytest.mark.parametrize("target", TARGETS)
def test_the_request_line_names_path_and_query_as_given(fetcher: Fetcher, server: Any, target: str) -> None:
    """A signature may cover every letter of them."""
    refusal(fetcher, server.url + target + "#fragment")
    assert server.targets == [target]
    server.targets.clear()
    for location in (server.url + target, "//" + server.url.partition("//")[2] + target):
        refusal(fetcher, server.redirect("/away", location))
        assert server.targets == ["/away", target]
        server.targets.clear()
    if not target.startswith("//"):
        refusal(fetcher, server.redirect("/away", target + "#fragment"))
        assert server.targets == ["/away", target]


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_what_a_request_line_cannot_have_is_encoded_as_browsers_do(fetcher: Fetcher, server: Any, scheme: str) -> None:
    refusal(fetcher, f"{scheme}://127.0.0.1:{server.port}/ä/日?ü=\U0001f600")
    refusal(fetcher, server.redirect("/away", "/b c/\xc3\xa4\t?d e"))
    assert server.targets == ["/%C3%A4/%E6%97%A5?%C3%BC=%F0%9F%98%80", "/away", "/b%20c/%C3%A4%09?d%20e"]


def test_the_user_of_a_url_is_sent_to_its_own_host_alone(fetcher: Fetcher, server: Any) -> None:
    server.serve("/here", BODY)
    server.redirect("/same", "/here")
    server.redirect("/away", server.url + "/here")
    for path in ("/same", "/away"):
        assert fetcher.fetch(f"http://user:word@127.0.0.1:{server.port}{path}").body == BODY
    user = "Basic dXNlcjp3b3Jk"
    sent = [(path, headers.get("authorization")) for path, headers in server.requests]
    assert sent == [("/same", user), ("/here", user), ("/away", user), ("/here", None)]


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_that_is_encoded_unasked_is_decoded(fetcher: Fetcher, server: Any, encoding: str, encode: Any) -> None:
    url = server.serve("/a.png", encode(BODY), Content_Encoding=encoding)
    assert fetcher.fetch(url).body == BODY
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = encode(BODY)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert fetcher.fetch(server.raw("/chunked", head, chunks)).body == BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress"])
def test_an_encoding_that_is_not_decoded_is_named(fetcher: Fetcher, server: Any, encoding: str) -> None:
    url = server.serve("/a.png", b"encoded", Content_Encoding=encoding)
    assert refusal(fetcher, url) == (
        f"unsupported_media_type: has the content encoding {encoding}; accepted ones are identity, gzip and deflate"
    )


def test_an_encoded_body_is_limited_by_what_it_holds(fetcher: Fetcher, server: Any) -> None:
    url = server.serve("/a.png", gzip.compress(bytes(LIMIT_BYTES + 1)), Content_Encoding="gzip")
    assert refusal(fetcher, url) == f"too_large: is larger than {LIMIT_BYTES} bytes"


def test_the_declared_type_comes_with_the_body(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.serve("/a.png", BODY, Content_Type="Image/PNG; x=y")).declared_type == "Image/PNG; x=y"
    assert fetcher.fetch(server.serve("/b.png", BODY)).declared_type == ""
