"""Every refusal starts with its code, and docs/api.md has a row for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.images.input.errors import FetchFailed, ImageError, TooLarge, UnsupportedFormat, UrlNotAllowed

API = Path(__file__).resolve().parents[4] / "docs" / "api.md"
REFUSALS = [ImageError("x"), TooLarge("x"), UnsupportedFormat("x"), UrlNotAllowed(), FetchFailed("x")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_the_code_comes_first_and_is_documented(refusal: ImageError) -> None:
    assert str(refusal).startswith(f"{refusal.code}: ")
    assert f"\n| `{refusal.code}` |" in API.read_text()


def test_all_of_them_are_listed_here() -> None:
    assert {type(refusal) for refusal in REFUSALS} == {ImageError, *ImageError.__subclasses__()}
