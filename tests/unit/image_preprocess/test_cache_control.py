"""What a server's Cache-Control allows, and what is malformed counts as stale."""

from __future__ import annotations

import pytest

from cache_control import lifetime_s


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("", "", 300),
        ("public", "", 300),
        ("must-revalidate, immutable", "", 300),
        ("max-age=60", "", 60),
        ("Max-Age = 60 , public", "", 60),
        ('max-age="60"', "", 60),
        ("max-age=60", "20", 40),
        ("max-age=60", "60", 0),
        ("max-age=60", "99999999999999999999", 0),
        ("max-age=60", "nonsense", 60),
        ("", "1000", 300),
        ("max-age=0", "", 0),
        ("max-age=86400", "", 300),
        ("max-age=99999999999999999999999", "", 300),
        ("max-age=60, s-maxage=10", "", 10),
        ("s-maxage=100, max-age=0", "", 100),
        ("max-age=-1", "", 0),
        ("max-age=1e3", "", 0),
        ("max-age", "", 0),
        ("max-age=\u0661", "", 0),
        ("no-store", "", 0),
        ("NO-CACHE", "", 0),
        ("private, max-age=60", "", 0),
        ('no-cache="Set-Cookie, max-age=60"', "", 0),
        ('max-age=60, no-cache="a, b"', "", 0),
        ('extension="no-store", max-age=60', "", 60),
        ("x-no-store, max-age=60", "", 60),
        (",,;=\x00", "", 300),
    ],
)
def test_lifetime(cache_control: str, age: str, seconds: float) -> None:
    assert lifetime_s(cache_control, age, 300) == seconds


def test_lifetimes_narrow_from_hop_to_hop() -> None:
    assert lifetime_s("max-age=50", "", lifetime_s("max-age=20", "", 300)) == 20
    assert lifetime_s("", "", 0) == 0
