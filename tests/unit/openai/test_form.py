"""Forms in any pieces: the same fields, bounded parts, and a refusal for whatever is malformed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.openai.errors import BadRequest, TooLarge
from imagegen.openai.form import read_form

BOUNDARY = "frontier"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for name, data in parts:
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def read(body: bytes, size: int = 1 << 16, content_type: str = TYPE, max_image_bytes: int = 1000) -> dict[str, Any]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return asyncio.run(read_form(content_type, pieces(), max_image_bytes))


WHOLE = form(
    ("prompt", "ein Käse".encode()),
    ("image[]", b"first\r\n--front"),
    ("image[]", b""),
    ("mask", b"\r\n\r\n"),
    ("nvext[seed]", b"7"),
    ("nvext[annotations][]", b"progress"),
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_pieces_do_not_matter(size: int) -> None:
    assert read(WHOLE, size) == {
        "prompt": "ein Käse",
        "image": [b"first\r\n--front", b""],
        "mask": b"\r\n\r\n",
        "nvext": {"seed": "7", "annotations": ["progress"]},
    }


def test_nvext_as_json() -> None:
    assert read(form(("nvext", b'{"seed": 7}')))["nvext"] == {"seed": 7}


@pytest.mark.parametrize("cut", range(0, len(WHOLE) - 2, 5))
def test_what_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(BadRequest):
        read(WHOLE[:cut])


@pytest.mark.parametrize(
    "parts",
    [
        [("prompt", b"a"), ("prompt", b"b")],
        [("image", b"a"), ("image", b"b")],
        [("image[]", b"a"), ("image", b"b")],
        [("image", b"a"), ("image[]", b"b")],
        [("mask", b"a"), ("mask", b"b")],
        [("nvext[seed]", b"1"), ("nvext[seed]", b"2")],
        [("nvext[seed]", b"1"), ("nvext", b"{}")],
    ],
)
def test_a_field_comes_once(parts: list[tuple[str, bytes]]) -> None:
    with pytest.raises(BadRequest) as refused:
        read(form(*parts))
    assert refused.value.code == "duplicate_field"


def test_bounds_are_kept_while_reading() -> None:
    assert read(form(("image", b"x" * 1000)))["image"] == b"x" * 1000
    for name in ("image", "image[]", "mask"):
        with pytest.raises(TooLarge) as refused:
            read(form((name, b"x" * 1001)), 64)
        assert refused.value.param == name.removesuffix("[]")
    with pytest.raises(TooLarge):
        read(form(("prompt", b"x" * 300_000)))
    with pytest.raises(BadRequest, match="64"):
        read(form(*((f"f{index}", b"") for index in range(65))))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", WHOLE),
        ("multipart/form-data; boundary=", WHOLE),
        (f"multipart/form-data; boundary={'x' * 999}", WHOLE),
        ("multipart/form-data; boundary=other", WHOLE),
        (TYPE, b"no form"),
        (TYPE, b""),
        (TYPE, f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()),
        (TYPE, f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()),
        (TYPE, f"--{BOUNDARY}\r\nA: {'b' * 99_999}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()),
        (TYPE, form(("prompt", b"\xff"))),
        (TYPE, form(("nvext", b"{"))),
    ],
)
def test_malformed(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body, content_type=content_type)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_whatever_comes_it_is_read_or_refused(noise: bytes, size: int) -> None:
    for body in (noise, WHOLE[:60] + noise + WHOLE[60:]):
        with suppress(BadRequest, TooLarge):
            read(body, size)
