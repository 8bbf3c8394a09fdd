"""Keys stay in their folder, whatever the client calls itself, and need no quoting."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.images.output.object_key import object_keys, safe_segment

KEY = re.compile(
    r"users/[A-Za-z0-9_-][A-Za-z0-9._-]{0,76}/generations/[A-Za-z0-9_-][A-Za-z0-9._-]{0,76}/[0-9a-f]{32}\.png"
)


@given(st.one_of(st.none(), st.text(min_size=1, max_size=256)), st.text(max_size=300))
def test_any_user_and_id_give_safe_keys_of_their_own(user: str | None, request_id: str) -> None:
    keys = object_keys(user, request_id, 3, "png")
    assert len(set(keys)) == 3
    for key in keys:
        assert KEY.fullmatch(key), key
        assert posixpath.normpath(key) == key
        assert ".." not in key


def test_plain_names_stay_as_they_are() -> None:
    (key,) = object_keys("alice@example.org".replace("@", "."), "req-7_a", 1, "webp")
    assert re.fullmatch(r"users/alice\.example\.org/generations/req-7_a/[0-9a-f]{32}\.webp", key)


def test_nobody_is_anonymous_and_no_id_is_a_random_one() -> None:
    first, second = (object_keys(None, "", 1, "png")[0] for _ in range(2))
    assert first.startswith("users/anonymous/generations/")
    assert first.split("/")[3] != second.split("/")[3]


@pytest.mark.parametrize(
    "text",
    ["..", ".", "../../etc/passwd", "/root", "a/b", "a\\b", "a\nb", "a\0b", "%2e%2e", "C:", "~", "x" * 256, "日本"],
)
def test_what_is_not_safe_is_changed_and_marked(text: str) -> None:
    safe = safe_segment(text)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}-[0-9a-f]{12}", safe)


def test_users_that_look_alike_when_made_safe_keep_folders_of_their_own() -> None:
    names = ["a b", "a/b", "a_b", "a:b", ".a_b", "日本", "中国", "x" * 65, "x" * 66]
    assert len({safe_segment(name) for name in names}) == len(names)
