"""The parts of an http(s) URL as a client, or a redirect, spelled it, and what spellings are equal.

A signature may cover the path and the query byte by byte, so what is requested is what was given. Which host is
connected to is not decided here but by requests and `transport.py`, from the origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

_URL = re.compile(r"(https?)://([^/\\?#]*)([^#]*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")  # RFC 3986, section 2.3


@dataclass(frozen=True)
class RemoteUrl:
    """An http or https URL.

    Attributes:
        scheme: as given; http or https, letters of any case.
        authority: as given: host, maybe a port, maybe a user and password.
        target: what the request line is to name, path and query. ASCII, and begins with `/`. All visible ASCII
            characters are as given; others, which a request line cannot have, are percent-encoded as UTF-8.
    """

    scheme: str
    authority: str
    target: str

    @property
    def origin(self) -> str:
        """The URL without its path and query."""
        return f"{self.scheme}://{self.authority}/"

    def resolve(self, location: str) -> RemoteUrl:
        """Where a redirect from here leads, spelled as its header `Location` has it.

        Only the steps `./` and `../` at the beginning of a relative path are taken (RFC 3986, section 5.2.4).

        Raises:
            ValueError: to no http or https URL.
        """
        if _SCHEME.match(location):
            return parse_url(location)
        if location.startswith("//"):
            return parse_url(f"{self.scheme}:{location}")
        reference = location.partition("#")[0]
        if not reference:
            return self
        path = self.target.partition("?")[0]
        if reference.startswith("/"):
            path = ""
        elif not reference.startswith("?"):
            path, reference = _step(path.rpartition("/")[0], reference)
        return RemoteUrl(self.scheme, self.authority, _encoded(path + reference))


def parse_url(text: str) -> RemoteUrl:
    """Take a URL apart.

    Raises:
        ValueError: it begins neither with http:// nor with https://.
    """
    match = _URL.match(text)
    if match is None:
        raise ValueError("no http or https URL")
    scheme, authority, target = match.groups()
    return RemoteUrl(scheme, authority, _encoded(target if target.startswith("/") else "/" + target))


def cache_key(url: str) -> str:
    """What is equal for URLs that mean the same by RFC 3986, section 6.2.2, however they are spelled.

    That is the case of scheme, host and percent-encodings, a default port, the fragment, and letters, digits and `-._~`
    that are percent-encoded or not. What else is encoded may mean something else, as `%2F` does and `/`, and so may
    `a/../b` where links are followed.
    """
    try:
        parts = parse_url(url)
    except ValueError:
        return url
    scheme = parts.scheme.lower()
    user, at, host = parts.authority.rpartition("@")
    host = host.lower().removesuffix(f":{_DEFAULT_PORTS[scheme]}").removesuffix(":")
    return f"{scheme}://{user}{at}{host}{_ESCAPE.sub(_normalised, parts.target)}"


def _encoded(target: str) -> str:
    return quote(target, safe=_VISIBLE_ASCII)


def _normalised(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0].upper()


def _step(folder: str, reference: str) -> tuple[str, str]:
    """A folder, with the slash behind it, and what is left of `reference` from there."""
    while True:
        step, _, rest = reference.partition("/")
        if step not in (".", ".."):
            return folder + "/", reference
        if step == "..":
            folder = folder.rpartition("/")[0]
        reference = rest
