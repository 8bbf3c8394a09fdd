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
    ("image[]", b"second"),
    ("mask", b"\r\n\r\n"),
    ("nvext[seed]", b"7"),
    ("nvext[annotations][]", b"progress"),
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_pieces_do_not_matter(size: int) -> None:
    assert read(WHOLE, size) == {
        "prompt": "ein Käse",
        "image": [b"first\r\n--front", b"second"],
        "mask": b"\r\n\r\n",
        "nvext": {"seed": "7", "annotations": ["progress"]},
    }


def test_nvext_as_json() -> None:
    assert read(form(("nvext", b'{"seed": 7}')))["nvext"] == {"seed": 7}


def part(disposition: str, data: bytes = b"data", *others: str, header: str = "Content-Disposition") -> bytes:
    lines = "\r\n".join([f"{header}: {disposition}", *others])
    return f"--{BOUNDARY}\r\n{lines}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("name", ["image", "image[]", "mask"])
def test_a_file_that_was_not_chosen_is_absent_but_an_empty_one_is_there(name: str) -> None:
    unchosen = part(f'form-data; name="{name}"; filename=""', b"", "Content-Type: application/octet-stream")
    assert read(unchosen) == {}
    empty = read(part(f'form-data; name="{name}"; filename="a.png"', b""))
    assert empty == ({"mask": b""} if name == "mask" else {"image": [b""]})


@pytest.mark.parametrize("header", ["Content-Disposition", "content-disposition", "CONTENT-DISPOSITION"])
@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="mask"; filename="a.png"',
        "form-data; name=mask; filename=a.png",
        'form-data;name="mask";filename="a.png"',
        'form-data; filename="a.png"; name="mask"',
        'FORM-DATA ; NAME = "mask"; FileName="a.png"',
        "form-data; name=\"mask\"; filename*=UTF-8''K%C3%A4se.png",
        'form-data; name="mask"; filename="K?se.png"; filename*=utf-8\'de\'K%C3%A4se.png',
        'form-data; name="mask"; filename="a;name=prompt;.png"',
        'form-data; name="mask"; filename="a\\"; name=\\"prompt.png"',
        'form-data; name="mask"; filename="C:\\folder\\a.png"',
        'form-data; name="mask"; filename="Käse 絵.png"',
        'form-data; name="mask"; filename="../../etc/passwd"',
        "form-data; name=\"mask\"; name*=UTF-8''prompt",
    ],
)
def test_a_part_by_any_way_to_write_its_names(disposition: str, header: str) -> None:
    body = part(disposition, b"data", "content-TYPE: image/png", header=header)
    for size in (1, 1 << 16):
        assert read(body, size) == {"mask": b"data"}


@pytest.mark.parametrize("content_type", [f'Multipart/Form-Data; charset=utf-8; Boundary="{BOUNDARY}"', TYPE + ";"])
def test_the_boundary_by_any_way_to_write_it(content_type: str) -> None:
    assert read(form(("prompt", b"x")), content_type=content_type) == {"prompt": "x"}


@pytest.mark.parametrize("cut", range(0, len(WHOLE) - 2, 5))
def test_what_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(BadRequest):
        read(WHOLE[:cut])


def test_bounds_are_kept_while_reading() -> None:
    assert read(form(("image", b"x" * 1000)))["image"] == [b"x" * 1000]
    for name in ("image", "image[]", "image[3]", "mask", "mask[]"):
        with pytest.raises(TooLarge) as refused:
            read(form((name, b"x" * 1001)), 64)
        assert refused.value.param == name.partition("[")[0]
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
