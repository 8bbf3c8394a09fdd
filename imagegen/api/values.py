"""Single values out of the arrays that Triton delivers, each judged by one rule and refused by its name."""

from __future__ import annotations

from typing import Any

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
    if value is None:
        return None
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
