"""URLs are requested as they are spelled, and share the cache with those that mean the same."""

from __future__ import annotations

import pytest

from imagegen.images.input.remote_url import cache_key, parse_url

TARGETS = {
    "http://a": "/",
    "http://a/": "/",
    "HTTP://a#x": "/",
    "http://a?x=1": "/?x=1",
    "http://a/x?": "/x?",
    "http://a/%7Eb/%2f/%C3%a4/~c?x=%7e&y=%2B+%20#z?%": "/%7Eb/%2f/%C3%a4/~c?x=%7e&y=%2B+%20",
    "http://a/b/../c/./d//e/;f;g=1,2?h;i": "/b/../c/./d//e/;f;g=1,2?h;i",
    "http://a//b?c=/../?d??": "//b?c=/../?d??",
    "http://a/%zz%?%": "/%zz%?%",
    "http://a/!$&'()*+,;=:@[]^`{|}\\\"<>?'{}|\\^`[]\"<>": "/!$&'()*+,;=:@[]^`{|}\\\"<>?'{}|\\^`[]\"<>",
    "http://a/ä/日?ü=\U0001f600": "/%C3%A4/%E6%97%A5?%C3%BC=%F0%9F%98%80",
    "http://u:p@a:8080/b": "/b",
    "http://[::1]:80/b": "/b",
    "http://a\\b@c/d": "/\\b@c/d",
    "http://a/b\tc\x7f": "/b%09c%7F",
}


@pytest.mark.parametrize("url", TARGETS)
def test_the_request_names_path_and_query_as_given(url: str) -> None:
    assert parse_url(url).target == TARGETS[url]


@pytest.mark.parametrize("url", ["", "a", "ftp://a/", "http:/a", "http:a", "//a/b", "data:,a", "https", " http://a/"])
def test_other_urls_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="no http or https URL"):
        parse_url(url)


BASE = "HTTP://u@A:81/b/c%7E/d?e=%7E#f"
LOCATIONS = {
    "http://X/%7e?": "http://X /%7e?",
    "HTTPS://X/../y": "HTTPS://X /../y",
    "//X/%2f/./z": "HTTP://X /%2f/./z",
    "/x/../%7Ey?z;": "HTTP://u@A:81 /x/../%7Ey?z;",
    "x%2f?y=~#z": "HTTP://u@A:81 /b/c%7E/x%2f?y=~",
    "x/../y": "HTTP://u@A:81 /b/c%7E/x/../y",
    "./x": "HTTP://u@A:81 /b/c%7E/x",
    "../x": "HTTP://u@A:81 /b/x",
    "../../x/./y": "HTTP://u@A:81 /x/./y",
    "../../../../x": "HTTP://u@A:81 /x",
    "..": "HTTP://u@A:81 /b/",
    ".": "HTTP://u@A:81 /b/c%7E/",
    "...": "HTTP://u@A:81 /b/c%7E/...",
    "?x=%7e": "HTTP://u@A:81 /b/c%7E/d?x=%7e",
    "?": "HTTP://u@A:81 /b/c%7E/d?",
    "": "HTTP://u@A:81 /b/c%7E/d?e=%7E",
    "#x": "HTTP://u@A:81 /b/c%7E/d?e=%7E",
    "ä b": "HTTP://u@A:81 /b/c%7E/%C3%A4%20b",
    "x:y": None,
    "ftp://X/": None,
    "http:x": None,
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_leads_where_it_says_letter_by_letter(location: str) -> None:
    expected = LOCATIONS[location]
    if expected is None:
        with pytest.raises(ValueError, match="no http or https URL"):
            parse_url(BASE).resolve(location)
    else:
        origin, target = expected.split(" ")
        there = parse_url(BASE).resolve(location)
        assert (there.origin, there.target) == (origin + "/", target)


EQUAL = [
    {"http://a/b", "HTTP://A/b", "http://a:80/b", "http://a:/b", "http://a/b#c", "http://a/%62"},
    {"https://a", "https://a/", "https://A:443/#"},
    {"http://a/%7Eb?c=%2d", "http://a/~b?c=-", "http://a/%7eb?c=%2D"},
    {"http://a/%2f?%3d", "http://a/%2F?%3D"},
    {"http://a/ä", "http://a/%C3%A4", "http://a/%c3%a4"},
    {"http://a//?%3D"},
    {"http://a//?="},
    {"http://a/b?"},
    {"http://a/B"},
    {"http://a/c/../b"},
    {"http://a:443/b"},
    {"http://u@a/b"},
    {"http://U@a/b"},
    {"https://a/b"},
    {"http://a/b+c"},
    {"http://a/b%20c"},
    {"http://a/%2562"},
    {"no URL"},
]


def test_urls_share_the_cache_if_and_only_if_they_mean_the_same() -> None:
    keys = [{cache_key(url) for url in urls} for urls in EQUAL]
    assert [len(same) for same in keys] == [1] * len(EQUAL)
    assert len(set.union(*keys)) == len(EQUAL)
