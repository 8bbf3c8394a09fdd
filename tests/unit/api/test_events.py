"""What is read from the side channel is an event or an error of a known kind, whatever the bytes are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from imagegen.api.events import Ended, Preview, Progress, decode_event


@given(st.binary(), st.binary())
def test_any_bytes_are_an_event_or_an_error_of_a_known_kind(header: bytes, pixels: bytes) -> None:
    try:
        event = decode_event(header, pixels)
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    assert isinstance(event, (Progress, Preview, Ended))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.fixed_dictionaries({}, optional={n: json_values for n in ("progress", "preview", "size", "shape")}))
def test_any_json_is_an_event_or_an_error_of_a_known_kind(fields: dict[str, Any]) -> None:
    try:
        event = decode_event(json.dumps(fields).encode(), b"rgb")
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    assert isinstance(event, (Progress, Preview, Ended))
