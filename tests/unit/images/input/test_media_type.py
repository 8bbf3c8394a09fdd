"""Only a type that is known to be that of something else is called wrong."""

from __future__ import annotations

import pytest

from imagegen.images.input.media_type import is_wrong_type, shown_type

SAYS_NOTHING = [
    "",
    " ",
    ";charset=utf-8",
    "application/octet-stream",
    "Application/Octet-Stream; charset=binary",
    "binary/octet-stream",
    "image/*",
    "png",
    "garbage; image/gif",
    "image/",
    "/png",
    "image/a b",
    "image/\xff",
    "image/" + "x" * 200,
    "a/b/c",
]
RIGHT = {
    "PNG": ["image/png", "IMAGE/PNG;x=y", "image/x-png", "image/apng"],
    "JPEG": ["image/jpeg", "image/jpg", " image/pjpeg "],
    "WEBP": ["image/webp"],
}
WRONG = ["text/html", "text/html; charset=utf-8", "image/gif", "image/svg+xml", "text/plain", "application/json", "a/b"]


@pytest.mark.parametrize("format_name", RIGHT)
def test_what_is_declared_is_compared_with_what_is_found(format_name: str) -> None:
    others = [declared for name, types in RIGHT.items() if name != format_name for declared in types]
    assert not any(is_wrong_type(declared, format_name) for declared in SAYS_NOTHING + RIGHT[format_name])
    assert all(is_wrong_type(declared, format_name) for declared in WRONG + others)


def test_the_type_is_shown_without_what_may_be_anything() -> None:
    assert shown_type("Image/SVG+XML; name=<script>") == "image/svg+xml"
    assert shown_type("image/<script>") == ""
