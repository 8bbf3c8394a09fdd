"""Fetching against a real server: what is asked for, letter by letter, and what comes back in an encoding."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from imagegen.images.input.fetch import Fetcher
from tests.unit.images.input.conftest import LIMIT_BYTES, refusal

BODY = bytes(range(256)) * 300
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
