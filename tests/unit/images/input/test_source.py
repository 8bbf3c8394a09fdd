"""Each form a client may send an image in is recognised by its content, and nothing else gets through."""

from __future__ import annotations

import base64
import contextlib
import time
import tracemalloc
from collections.abc import Callable

import pytest

from imagegen.images.input.errors import ImageError, UrlNotAllowed
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded, Url, parse_source

SETTINGS = InputSettings()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PNG_BASE64 = base64.b64encode(PNG)


@pytest.mark.parametrize("data", [PNG, b"\xff\xd8\xff\xe0rest", b"RIFF\x10\x00\x00\x00WEBPVP8 rest"])
def test_file_bytes_are_kept(data: bytes) -> None:
    assert parse_source(data, SETTINGS) == Encoded(data, "file")


@pytest.mark.parametrize(
    ("blob", "address"),
    [
        (b"http://example.com/a.png", "http://example.com/a.png"),
        (b"HTTPS://Example.com/A.png?x=1#y", "HTTPS://Example.com/A.png?x=1#y"),
        (b"  https://example.com/\n", "https://example.com/"),
        ("https://example.com/ä.png".encode(), "https://example.com/ä.png"),
    ],
)
def test_urls(blob: bytes, address: str) -> None:
    assert parse_source(blob, SETTINGS) == Url(address)


@pytest.mark.parametrize(
    "blob",
    [
        PNG_BASE64,
        PNG_BASE64.rstrip(b"="),
        base64.urlsafe_b64encode(PNG),
        base64.urlsafe_b64encode(PNG).rstrip(b"="),
        base64.encodebytes(PNG),
        b"\r\n " + PNG_BASE64 + b" \n",
        b"data:image/png;base64," + PNG_BASE64,
        b"data:image/png;base64," + base64.urlsafe_b64encode(PNG).rstrip(b"="),
        b"DATA:Image/PNG;charset=utf-8;Base64," + PNG_BASE64,
        b"data:image/png;base64," + PNG_BASE64.replace(b"+", b"%2B").replace(b"/", b"%2f").replace(b"=", b"%3D"),
        b"data:image/png;base64," + base64.encodebytes(PNG).replace(b"\n", b"%0d%0A%20%09").replace(b"+", b"%2b"),
    ],
)
def test_every_spelling_of_base64_gives_the_same_bytes(blob: bytes) -> None:
    source = parse_source(blob, SETTINGS)
    assert isinstance(source, Encoded)
    assert source.data == PNG
    assert source.kind == ("data_url" if b"," in blob else "base64")


DECLARED = {
    b"data:application/octet-stream;base64,": "application/octet-stream",
    b"data:;base64,": "",
    b"data:;charset=utf-8;base64,": "",
    b"data:image/png;base64,": "image/png",
    b"DATA:Image/JPEG;name=a.jpg;Base64,": "Image/JPEG",
    b"data:text/html;base64,": "text/html",
    b"data:image/svg+xml;charset=utf-8;base64,": "image/svg+xml",
    b"data:binary/octet-stream; base64 ,": "binary/octet-stream",
    b"data:nonsense;base64,": "nonsense",
    b"data:image/\xff;base64,": "image/\xff",
}


@pytest.mark.parametrize("header", DECLARED)
def test_a_data_url_of_any_type_is_taken_for_what_it_holds(header: bytes) -> None:
    assert parse_source(header + PNG_BASE64, SETTINGS) == Encoded(PNG, "data_url", DECLARED[header])


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher", "dict", "FILE", "javascript", "httpx", "blob"])
def test_other_schemes_are_refused_like_other_urls_that_are_not_allowed(scheme: str) -> None:
    with pytest.raises(UrlNotAllowed, match=r"^url_not_allowed: "):
        parse_source(f"{scheme}:///etc/passwd".encode(), SETTINGS)


@pytest.mark.parametrize(
    ("blob", "name"),
    [
        (b"GIF89a\x01\x00", "GIF"),
        (b"BM\x00\x00\x00\x00", "BMP"),
        (b"II*\x00\x08", "TIFF"),
        (b"MM\x00*\x00", "TIFF"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_known_formats_that_are_not_accepted_are_named(blob: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"^unsupported_media_type: is in the {name} format; accepted formats are"):
        parse_source(blob, SETTINGS)


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (b"data:text/html,AAAA", "malformed data URL"),
        (b"data:base64,AAAA", "malformed data URL"),
        (b"data:,", "malformed data URL"),
        (b"data:", "malformed data URL"),
        (b"data:image/png;base64;charset=utf-8,AAAA", "malformed data URL"),
        (b"data:image/png,AAAA", "malformed data URL"),
        (b"data:image/png;base64", "malformed data URL"),
        (b"data:image/png" + b";a=b" * 100 + b";base64,AAAA", "malformed data URL"),
        (b"data:image/png;base64,", "is empty"),
        (b"data:image/png;base64,====", "is empty"),
        (b" \n", "is empty"),
        (b"", "is empty"),
        (b"data:image/png;base64,AA*A", "neither"),
        (b"data:image/png;base64,AAA%41", "malformed data URL"),
        (b"data:image/png;base64,AAA%252B", "malformed data URL"),
        (b"data:image/png;base64,AAAA%", "malformed data URL"),
        (b"data:image/png;base64,AA%2%2BB", "malformed data URL"),
        (b"data:image/png;base64,%20%0A", "is empty"),
        (b"AAAAA", "neither"),
        (b"AA=A", "neither"),
        (b"\x00\x01\x02\xff", "neither"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "neither"),
        (b"http:/example.com/", "malformed URL"),
        (b"http:example.com", "malformed URL"),
        (b"http://example.com/\xff", "not UTF-8"),
        (b"http://example.com/\r\nX-Injected: 1", "control characters"),
        (b"http://example.com/a b", "white space"),
        ("http://example.com/\u2028".encode(), "control characters"),
        (b"http://example.com/" + b"a" * 9000, "at most 8192"),
    ],
)
def test_what_is_no_image_is_refused(blob: bytes, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        parse_source(blob, SETTINGS)


@pytest.mark.parametrize(
    "wrap", [bytes, base64.b64encode, lambda data: b"data:image/png;base64," + base64.b64encode(data)]
)
def test_the_byte_limit_counts_decoded_bytes_exactly(wrap: Callable[[bytes], bytes]) -> None:
    source = parse_source(wrap(PNG), InputSettings(max_image_bytes=len(PNG)))
    assert isinstance(source, Encoded)
    assert source.data == PNG
    with pytest.raises(ImageError, match=f"^too_large: is larger than {len(PNG) - 1} bytes"):
        parse_source(wrap(PNG), InputSettings(max_image_bytes=len(PNG) - 1))


def test_a_percent_encoded_payload_has_a_limit_before_it_is_decoded() -> None:
    data = b"\xff" * 300  # / only
    encoded = b"data:image/png;base64," + base64.b64encode(data).replace(b"/", b"%2F")
    source = parse_source(encoded, InputSettings(max_image_bytes=300))
    assert isinstance(source, Encoded)
    assert source.data == data
    with pytest.raises(ImageError, match=r"^too_large: is larger than 299 bytes$"):
        parse_source(encoded, InputSettings(max_image_bytes=299))
    with pytest.raises(ImageError, match=r"^too_large: is larger than 100 bytes$"):
        parse_source(b"data:image/png;base64," + b"%" * 1000, InputSettings(max_image_bytes=100))


@pytest.mark.parametrize("piece", [b"%", b"%2", b"%2B", b"%20", b"A%"])
def test_percent_signs_cost_little_time_and_memory(piece: bytes) -> None:
    blob = b"data:image/png;base64," + piece * (12_000_000 // len(piece))
    started_s = time.process_time()
    tracemalloc.start()
    with contextlib.suppress(ImageError):
        parse_source(blob, SETTINGS)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5 * len(blob)
    assert time.process_time() - started_s < 3
