"""A single value is read by one rule and refused by its name; more of it is in test_request.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api import values
from imagegen.api.errors import InvalidArgument


def texts(*items: Any) -> dict[str, Any]:
    return {"x": np.array(items, dtype=np.object_)}


def test_what_is_absent_is_none() -> None:
    assert values.one({}, "x") is None
    assert values.text({}, "x", 1, 2) is None
    assert values.choice({}, "x", ("a",)) is None
    assert values.integer({}, "x", 0, 1) is None
    assert values.texts({}, "x", 0, 1) == ()
    assert values.numbers({}, "x", 0, 0, 1) == ()


def test_what_fits_is_read() -> None:
    assert values.text(texts("ä".encode()), "x", 1, 1) == values.text(texts("ä"), "x", 1, 1) == "ä"
    assert values.choice(texts(b"a"), "x", ("a", "b")) == "a"
    assert values.integer({"x": np.array([5], np.int32)}, "x", 0, 5) == 5
    assert values.texts(texts(b"a", "b"), "x", 2, 1) == ("a", "b")
    assert values.numbers({"x": np.array([0.8, -1], np.float32)}, "x", 2, -1, 1) == (0.8, -1.0)


def test_a_number_of_32_bits_is_the_one_that_was_meant() -> None:
    assert values.decimal(np.float32(0.8)) == 0.8
    assert np.isnan(values.decimal(np.float32("nan")))


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (lambda: values.one(texts("a", "b"), "x"), r"x: shape \[2\]"),
        (lambda: values.text(texts(b"\xff"), "x", 0, 9), "x: not valid UTF-8 at byte 0"),
        (lambda: values.text(texts(b"abc"), "x", 0, 2), r"x: 3 characters; 0\.\.2"),
        (lambda: values.choice(texts(b"c"), "x", ("a", "b")), "x: 'c' is not one of a, b"),
        (lambda: values.integer({"x": np.array([6], np.int32)}, "x", 0, 5), r"x: 6 is outside 0\.\.5"),
        (lambda: values.texts(texts("a", "b"), "x", 1, 1), "x: 2 of them; at most 1 are allowed"),
        (lambda: values.texts(texts("a", b"\xff"), "x", 2, 1), "x: not valid UTF-8"),
        (lambda: values.texts(texts("a", ""), "x", 2, 1), r"x: 0 characters; 1\.\.1"),
        (lambda: values.texts({"x": np.array(b"a", np.object_)}, "x", 2, 1), r"x: shape \[\]; 1\.\.2 elements"),
        (lambda: values.numbers({"x": np.array([0, 2], np.float32)}, "x", 2, -1, 1), r"x: 2 is outside .*, -1\.\.1"),
        (lambda: values.numbers({"x": np.zeros((1, 1), np.float32)}, "x", 2, -1, 1), r"x: shape \[1, 1\]"),
    ],
)
def test_what_does_not_is_refused(read: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        read()


def test_a_refused_value_is_shown_in_part() -> None:
    assert values.shown("a") == "'a'"
    assert len(values.shown("a" * 10**6)) == values.SHOWN_CHARACTERS + 1
