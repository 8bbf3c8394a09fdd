"""Random data URLs and URLs: what they carry comes out whole, and the host that is judged is the one that was given."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.images.input.errors import ImageError
from imagegen.images.input.remote_url import cache_key, parse_url
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded, Url, parse_source

SETTINGS = InputSettings(max_image_bytes=1000)
examples = settings(max_examples=150, derandomize=True)

TOKENS = st.text("abcXYZ019+.-_/*", max_size=12)
WHITE = st.sampled_from(["", " ", "\n", "\r\n", "\t"])


@st.composite
def data_urls(draw: st.DrawFn) -> tuple[bytes, bytes, str]:
    """A data URL, what it carries, and its type."""
    content = draw(st.binary(min_size=1, max_size=200))
    text = base64.b64encode(content).decode()
    if draw(st.booleans()):
        text = text.replace("+", "-").replace("/", "_")
    if draw(st.booleans()):
        text = text.rstrip("=")
    gap = draw(WHITE)
    text = gap.join(text[at : at + 7] for at in range(0, len(text), 7))
    if draw(st.booleans()):
        text = quote(text, safe=draw(st.sampled_from(["", "+", "/=", "+/= \r\n"])))
    media_type = draw(TOKENS)
    parameters = "".join(f";{draw(TOKENS)}={draw(TOKENS)}" for _ in range(draw(st.integers(0, 2))))
    word = draw(st.sampled_from(["base64", "Base64", "BASE64", " base64"]))
    scheme = draw(st.sampled_from(["data", "DATA", "Data"]))
    url = f"{draw(WHITE)}{scheme}:{media_type}{parameters};{word},{gap}{text}{draw(WHITE)}"
    return url.encode(), content, media_type


@examples
@given(data_urls())
def test_a_data_url_carries_its_content_whatever_its_type_and_spelling(sample: tuple[bytes, bytes, str]) -> None:
    url, content, media_type = sample
    assert parse_source(url, SETTINGS) == Encoded(content, "data_url", media_type)


_PIECES = [
    b"data:",
    b";base64",
    b",",
    b"image/png",
    b"%",
    b"%2B",
    b"=",
    b"AAAA",
    b"http://",
    b"://",
    b"\xff",
    b"\n",
    b";",
]


@examples
@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=5)), max_size=9).map(b"".join))
def test_anything_else_is_a_source_or_a_refusal(blob: bytes) -> None:
    try:
        source = parse_source(blob, SETTINGS)
    except ImageError:
        return
    assert isinstance(source, Url) or len(source.data) <= SETTINGS.max_image_bytes


HOSTS = st.sampled_from(
    ["a.test", "A.TEST:80", "127.0.0.1:8000", "[::1]", "u:p@a.test", "ä.test", "a.test:", "x@y@a.test"]
)
PATHS = st.text("/.?%#@:\\;=&~7eE2fF[]{} \t\x7fä\u65e5\U0001f600", max_size=20)
REQUEST_TARGET = re.compile(r"/[!-~]*")


@examples
@given(host=HOSTS, path=PATHS, location=PATHS)
def test_a_target_is_fit_for_a_request_line_and_the_host_stays(host: str, path: str, location: str) -> None:
    here = parse_url(f"http://{host}/{path}")
    assert here.authority == host
    assert REQUEST_TARGET.fullmatch(here.target)
    given_part = path.partition("#")[0]
    if given_part.isascii() and given_part.isprintable() and " " not in given_part:
        assert here.target == "/" + given_part
    try:
        there = here.resolve(location)
    except ValueError:
        assert ":" in location
        return
    assert REQUEST_TARGET.fullmatch(there.target)
    if not location.startswith("//"):
        assert there.authority == host


@examples
@given(host=HOSTS, path=PATHS)
def test_the_cache_takes_for_the_same_only_what_decodes_to_the_same(host: str, path: str) -> None:
    url = f"http://{host}/{path}"
    key = cache_key(url)
    assert cache_key(key) == key
    assert cache_key(f"HTTP://{host}{parse_url(url).target}") == key
    assert key.count("/") == parse_url(url).target.count("/") + 2  # %2F stays what it is


def connected_to(url: str) -> str | None:
    """Scheme, user, host and port that requests makes of a URL; None when it refuses it."""
    try:
        prepared = requests.Request("GET", url).prepare().url
    except (requests.RequestException, ValueError):
        return None
    assert prepared is not None
    return prepared.split("/", 3)[2]


@examples
@given(st.text(st.one_of(st.sampled_from("/?#@:\\.[]%1a"), st.characters(codec="ascii")), max_size=15), PATHS)
def test_no_spelling_hides_another_host_from_the_judgement(authority: str, path: str) -> None:
    """The origin, of which the connection is made, has the host that requests sees in the whole URL."""
    url = f"http://{authority}/{path}"
    assert connected_to(parse_url(url).origin) == connected_to(url) or connected_to(url) is None
