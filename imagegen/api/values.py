"""Single values out of the arrays that Triton delivers, each judged by one rule and refused by its name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imagegen.api.errors import InvalidArgument
from imagegen.api.tensors import Arrays

LONGEST = 2**31 - 1
"""For a text that is bounded otherwise: by what it may be, or by its form."""
SHOWN_CHARACTERS = 60  # of a refused value, so that a 50 MB field is not echoed


def shown(value: object) -> str:
    """A refused value for a message, or its beginning."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def one(arrays: Arrays, name: str) -> Any:
    """The single value of an input of shape [1], or None when it is absent.

    Raises:
        InvalidArgument: it has another shape.
    """
    array = arrays.get(name)
    if array is None:
        return None
    if array.shape != (1,):
        raise InvalidArgument(name, f"shape {list(array.shape)}; the shape is [1]")
    return array[0]


def text(arrays: Arrays, name: str, shortest: int, longest: int) -> str | None:
    """A text of so many characters, or None when it is absent.

    Raises:
        InvalidArgument: it is shorter, longer or not UTF-8.
    """
    value = one(arrays, name)
    return None if value is None else _text(value, name, shortest, longest)


def texts(arrays: Arrays, name: str, most: int, longest: int) -> tuple[str, ...]:
    """Up to `most` texts of 1..`longest` characters; none when the input is absent.

    Raises:
        InvalidArgument: there are more, or one is empty, too long or not UTF-8.
    """
    return tuple(_text(value, name, 1, longest) for value in _several(arrays, name, most))


def numbers(
    arrays: Arrays, name: str, most: int, lowest: float, highest: float, *, above_lowest: bool = False
) -> tuple[float, ...]:
    """Up to `most` numbers within a range; none when the input is absent.

    Raises:
        InvalidArgument: there are more, or one is outside or no number. With `above_lowest` the lowest is outside too.
    """
    found = _several(arrays, name, most)
    return tuple(_within(value, name, lowest, highest, above_lowest=above_lowest) for value in found)


def number(arrays: Arrays, name: str, lowest: float, highest: float, *, above_lowest: bool = False) -> float | None:
    """A number within a range, or None when it is absent.

    Raises:
        InvalidArgument: it is outside, or no number. With `above_lowest` the lowest is outside too.
    """
    value = one(arrays, name)
    return None if value is None else _within(value, name, lowest, highest, above_lowest=above_lowest)


def decimal(value: Any) -> float:
    """The number that was meant by one of 32 bits: 0.8, not 0.800000011920929."""
    return float(np.format_float_positional(np.float32(value), unique=True))


def elements(arrays: Arrays, name: str, most: int) -> tuple[Any, ...]:
    """The elements of an input of one dimension, maybe more than the `most` that the refusal names; none when absent.

    Raises:
        InvalidArgument: it has another shape, or is there without any.
    """
    array = arrays.get(name)
    if array is None:
        return ()
    if array.ndim != 1 or array.size < 1:
        raise InvalidArgument(name, f"shape {list(array.shape)}; 1..{most} elements in one dimension are allowed")
    return tuple(array)


def _several(arrays: Arrays, name: str, most: int) -> tuple[Any, ...]:
    found = elements(arrays, name, most)
    if len(found) > most:
        raise InvalidArgument(name, f"{len(found)} of them; at most {most} are allowed")
    return found


def _within(value: Any, name: str, lowest: float, highest: float, *, above_lowest: bool = False) -> float:
    found = decimal(value)
    low_enough = found > lowest if above_lowest else found >= lowest
    if not (math.isfinite(found) and low_enough and found <= highest):
        allowed = f"above {lowest:g}, up to {highest:g}" if above_lowest else f"{lowest:g}..{highest:g}"
        raise InvalidArgument(name, f"{found:g} is outside the allowed range, {allowed}")
    return found


def _text(value: Any, name: str, shortest: int, longest: int) -> str:
    try:
        found = value if isinstance(value, str) else bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(name, f"not valid UTF-8 at byte {error.start}; text is UTF-8") from None
    if not shortest <= len(found) <= longest:
        raise InvalidArgument(name, f"{len(found)} characters; {shortest}..{longest} characters are allowed")
    return found


def choice(arrays: Arrays, name: str, allowed: tuple[str, ...]) -> str | None:
    """One of some texts, or None when it is absent.

    Raises:
        InvalidArgument: it is another one.
    """
    found = text(arrays, name, 0, LONGEST)
    if found is not None and found not in allowed:
        raise InvalidArgument(name, f"{shown(found)} is not one of {', '.join(allowed)}")
    return found


def flag(arrays: Arrays, name: str) -> bool:
    """Whether it is said to be true; not when it is absent.

    Raises:
        InvalidArgument: it has another shape.
    """
    return bool(one(arrays, name))


def integer(arrays: Arrays, name: str, lowest: int, highest: int) -> int | None:
    """A whole number within a range, or None when it is absent.

    Raises:
        InvalidArgument: it is outside.
    """
    value = one(arrays, name)
    if value is None:
        return None
    if not lowest <= int(value) <= highest:
        raise InvalidArgument(name, f"{int(value)} is outside {lowest}..{highest}")
    return int(value)
