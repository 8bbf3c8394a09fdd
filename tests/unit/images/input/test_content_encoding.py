"""Content encodings are undone within the limit on bytes, or refused by name."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.images.input.content_encoding import decode_content
from imagegen.images.input.errors import FetchFailed, TooLarge, UnsupportedFormat

NOISE = np.random.default_rng(0).bytes(300_000)
SMOOTH = bytes(range(256)) * 4000
LIMIT = 2_000_000


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    " gzip , identity": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "deflate,gzip": lambda data: gzip.compress(zlib.compress(data)),
    "gzip, deflate, gzip": lambda data: gzip.compress(raw_deflate(gzip.compress(data))),
}


@pytest.mark.parametrize("header", ENCODE)
@pytest.mark.parametrize("data", [NOISE, SMOOTH, b"x", b"\x8a" * 70_000], ids=["noise", "smooth", "short", "flat"])
def test_known_encodings_are_undone(header: str, data: bytes) -> None:
    assert decode_content(ENCODE[header](data), header, LIMIT) == data


def test_gzip_may_have_several_members_and_padding() -> None:
    members = b"".join(gzip.compress(NOISE[at : at + 1000]) for at in range(0, len(NOISE), 1000))
    for padding in (b"", bytes(1000), b"garbage"):
        assert decode_content(members + padding, "gzip", LIMIT) == NOISE


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "dcb", "aes128gcm", "gzip, br", "br, gzip"])
def test_other_encodings_are_refused_by_name(header: str) -> None:
    body = gzip.compress(NOISE) if header.endswith("gzip") else NOISE
    with pytest.raises(UnsupportedFormat, match=r"^unsupported_media_type: has the content encoding [a-z0-9]+; acc"):
        decode_content(body, header, LIMIT)


def test_what_is_refused_shows_no_garbage() -> None:
    with pytest.raises(UnsupportedFormat, match="has the content encoding that is malformed; accepted"):
        decode_content(b"x", "<script>", LIMIT)
    with pytest.raises(UnsupportedFormat, match="has 2000 content encodings; at most 3 are undone"):
        decode_content(b"x", "gzip," * 2000, LIMIT)


@pytest.mark.parametrize("header", ["gzip", "br", "utf-8", "gzip, gzip, gzip, gzip", "none"])
def test_an_image_that_is_not_encoded_after_all_is_used_as_it_is(header: str) -> None:
    for image in (b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff\xe0...", b"RIFF....WEBPVP8 "):
        assert decode_content(image, header, LIMIT) == image
    assert decode_content(b"", header, LIMIT) == b""


@pytest.mark.parametrize("header", ["gzip", "deflate"])
def test_damaged_bodies_are_refused(header: str) -> None:
    whole = ENCODE[header](SMOOTH)
    for body in (whole[:-1], whole[:100], b"x", b"garbage" * 9, whole[:50] + bytes(20) + whole[70:]):
        with pytest.raises(FetchFailed, match=f"^fetch_failed: the {header} encoding of the response is damaged$"):
            decode_content(body, header, LIMIT)


def bomb(levels: int) -> bytes:
    body = bytes(200_000_000)
    for _ in range(levels):
        body = gzip.compress(body)
    return body


BOMBS = {
    "gzip": bomb(1),
    "gzip, gzip": bomb(2),
    "gzip, gzip, gzip": bomb(3),
    "deflate": zlib.compress(bytes(200_000_000)),
}


@pytest.mark.parametrize("header", BOMBS)
def test_a_bomb_is_refused_in_little_memory(header: str) -> None:
    tracemalloc.start()
    with pytest.raises(TooLarge, match=f"^too_large: is larger than {LIMIT} bytes$"):
        decode_content(BOMBS[header], header, LIMIT)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 3 * LIMIT


def test_each_step_is_limited_not_only_the_last() -> None:
    """Empty members inflate to nothing, so that a little more of them than allowed makes no content at all."""
    empty = gzip.compress(b"")
    with pytest.raises(TooLarge, match=f"is larger than {LIMIT} bytes"):
        decode_content(gzip.compress(empty * (LIMIT // len(empty) + 1)), "gzip, gzip", LIMIT)
    with pytest.raises(TooLarge, match="has more than 10000 gzip members"):
        decode_content(empty * 10_001, "gzip", LIMIT)


def test_the_limit_is_inclusive() -> None:
    for header in ("gzip", "deflate"):
        assert decode_content(ENCODE[header](bytes(1000)), header, 1000) == bytes(1000)
        with pytest.raises(TooLarge):
            decode_content(ENCODE[header](bytes(1001)), header, 1000)


@given(st.binary(max_size=60), st.sampled_from(sorted(ENCODE)), st.integers(0, 5), st.binary(max_size=4))
def test_whatever_comes_gives_content_or_a_refusal(data: bytes, header: str, at: int, changed: bytes) -> None:
    body = ENCODE[header](data)
    body = body[:at] + changed + body[at + len(changed) :]
    try:
        content = decode_content(body, header, 50)
    except (TooLarge, FetchFailed):
        return
    assert len(content) <= max(50, len(body))
