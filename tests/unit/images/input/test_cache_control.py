"""What a server's headers allow, and what is malformed counts as stale."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imagegen.images.input.cache_control import lifetime_s


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
    assert lifetime_s({"Cache-Control": cache_control, "Age": age}, 300) == seconds


def test_lifetimes_narrow_from_hop_to_hop() -> None:
    assert lifetime_s({"Cache-Control": "max-age=50"}, lifetime_s({"Cache-Control": "max-age=20"}, 300)) == 20
    assert lifetime_s({}, 0) == 0


NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
A_MINUTE_LATER = "Sun, 06 Nov 1994 12:01:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Expires": A_MINUTE_LATER, "Date": NOON}, 60),
        ({"Expires": A_MINUTE_LATER, "Date": NOON, "Age": "20"}, 40),
        ({"Expires": A_MINUTE_LATER}, 0),
        ({"Expires": A_MINUTE_LATER, "Date": "nonsense"}, 0),
        ({"Expires": "Sun, 06 Nov 2094 12:00:00 GMT", "Date": NOON}, 300),
        ({"Expires": NOON, "Date": A_MINUTE_LATER}, 0),
        ({"Expires": "0", "Date": NOON}, 0),
        ({"Expires": "-1"}, 0),
        ({"Expires": "Sun, 06 Nov 99999 99:99:99 GMT"}, 0),
        ({"Expires": ""}, 0),
        ({"Expires": NOON, "Date": NOON, "Cache-Control": "max-age=60"}, 60),
        ({"Expires": NOON, "Date": NOON, "Cache-Control": "public"}, 0),
        ({"Pragma": "no-cache"}, 0),
        ({"Pragma": "No-Cache, x"}, 0),
        ({"Pragma": "x"}, 300),
        ({"Pragma": "no-cache", "Cache-Control": "max-age=60"}, 60),
    ],
)
def test_older_headers_count_where_cache_control_says_nothing(headers: dict[str, str], seconds: float) -> None:
    assert lifetime_s(headers, 300) == seconds


def test_without_a_date_an_expiry_is_counted_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    noon_s = 784123200.0
    monkeypatch.setattr("imagegen.images.input.cache_control.time", SimpleNamespace(time=lambda: noon_s))
    assert lifetime_s({"Expires": A_MINUTE_LATER}, 300) == 60
