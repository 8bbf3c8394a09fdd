"""JSON from the bytes of a body or of a field, strictly: no field twice, no NaN, no endless lists."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from imagegen.openai.errors import BadRequest, shown

_MOST_COMMAS = 100_000  # two prompts of the longest kind have 64,000; each may stand for a value that costs 100 bytes
_MOST_ITEMS = 64


def parse_object(body: bytes) -> dict[str, Any]:
    """The object.

    Raises:
        BadRequest: it is not valid JSON, not an object, has a field twice, or has too many parts.
    """
    value = parse_value(body)
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object", code="invalid_json")
    return value


def parse_value(text: bytes, field: str | None = None) -> Any:
    """Any value of JSON.

    The standard library's parser rather than orjson's, which keeps the last of two fields of one name in silence; on
    what makes a body large, long strings, both are equally quick (0.1 s for 67 MB).

    Args:
        text: the whole of it.
        field: whose text it is, for messages; None for that of the body.

    Raises:
        BadRequest: it is not valid JSON, has a field twice, or has too many parts.
    """
    name = field or "the body"
    if text.count(b",") > _MOST_COMMAS:
        raise BadRequest(f"{name} has too many parts", field, code="invalid_json")
    try:
        decoded = text.decode("utf-8-sig")  # some editors and .NET begin with a mark; RFC 8259, 8.1 lets it be ignored
        value = json.loads(decoded, object_pairs_hook=_object, parse_constant=_refuse)
        if "\\u" in decoded:  # escapes can make text that has no UTF-8
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is not valid UTF-8 at byte {error.start}", field, code="invalid_json") from None
    except UnicodeEncodeError:
        raise BadRequest(f"{name} has an escape that is no Unicode character", field, code="invalid_json") from None
    except json.JSONDecodeError as error:
        problem = f"{name} is not valid JSON: {error.msg} at byte {error.pos}"
        raise BadRequest(problem, field, code="invalid_json") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        raise BadRequest(f"{name} is not usable JSON", field, code="invalid_json") from None
    _check_lengths({name: value} if isinstance(value, list) else value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise BadRequest(f"{shown(name)}: given more than once", name, code="duplicate_field")
        fields[name] = value
    return fields


def _check_lengths(fields: Any) -> None:
    """Raise BadRequest for more items than any field takes: each would become an error message of its own."""
    if not isinstance(fields, dict):
        return
    if len(fields) > _MOST_ITEMS:
        raise BadRequest(f"the body has {len(fields)} fields; the most is {_MOST_ITEMS}")
    for name, value in fields.items():
        if isinstance(value, (list, dict)) and len(value) > _MOST_ITEMS:
            raise BadRequest(f"{shown(name)}: has {len(value)} items; the most is {_MOST_ITEMS}", name)
        if isinstance(value, dict):
            _check_lengths(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
