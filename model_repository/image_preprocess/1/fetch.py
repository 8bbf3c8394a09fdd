"""Fetches the bytes behind a URL a client sent: GET, a few redirects, everything bounded."""

from __future__ import annotations

import http.client
import logging
import time
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

import imagegen
from guard import AddressNotAllowed
from loading_settings import LoadingSettings
from refusal import Refused
from transport import GuardedAdapter, Terms, fetching_under

_MAX_REDIRECTS = 3
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 64 * 1024
_LOGGER = logging.getLogger(__name__)


class Fetcher:
    """Fetches images over pooled connections. Safe to use from several threads.

    Requests go through a bare requests adapter. A `requests.Session` would add what must not happen here: proxies
    and netrc of the environment, cookies kept between clients, and redirect bodies read without a limit.

    Args:
        settings: limits, timeouts and whether private addresses are allowed.
    """

    def __init__(self, settings: LoadingSettings) -> None:
        self._settings = settings
        self._adapter = GuardedAdapter(pool_connections=settings.fetch_threads, pool_maxsize=settings.fetch_threads)
        self._headers = {
            "User-Agent": f"imagegen-triton/{imagegen.__version__}",
            "Accept": ", ".join(f"image/{name.lower()}" for name in settings.formats),
            "Accept-Encoding": "identity",  # a compressed body would be counted only after it grew
        }

    def fetch(self, url: str) -> bytes:
        """The body behind an http or https URL, at most `max_image_bytes` long.

        Raises:
            Refused: it could not be fetched, is too large, or lies where the server does not fetch from.
        """
        settings = self._settings
        terms = Terms(
            deadline=time.monotonic() + settings.fetch_timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            allow_private_addresses=settings.allow_private_addresses,
        )
        try:
            with fetching_under(terms):
                return self._follow(url, terms)
        except AddressNotAllowed as error:
            raise self._refused(url, "the address is not allowed", error) from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise self._refused(url, "timed out", error) from None
        except (requests.exceptions.InvalidURL, UnicodeError) as error:
            raise self._refused(url, "the URL is malformed", error) from None
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            raise self._refused(url, "the connection failed or broke off", error) from None

    def close(self) -> None:
        """Close the pooled connections. No fetch may start afterwards."""
        self._adapter.close()

    def _follow(self, url: str, terms: Terms) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            request = requests.Request("GET", url, headers=self._headers).prepare()
            address = str(request.url)
            if not address.lower().startswith(("http://", "https://")):
                raise Refused("could not be fetched: redirected to a URL that is not http or https")
            timeouts_s = (min(self._settings.connect_timeout_s, terms.remaining_s()), self._settings.read_timeout_s)
            response = self._adapter.send(request, stream=True, timeout=timeouts_s)
            try:
                location = response.headers.get("Location")
                if response.status_code not in _REDIRECT_STATUSES or location is None:
                    return self._body(response)
            finally:
                response.close()
            url = urljoin(address, location.encode("latin-1").decode("utf-8"))  # http.client reads headers as latin-1
        raise Refused(f"could not be fetched: more than {_MAX_REDIRECTS} redirects")

    def _body(self, response: requests.Response) -> bytes:
        if response.status_code != 200:
            raise Refused(f"could not be fetched: status {response.status_code}")
        most_bytes = self._settings.max_image_bytes
        body = bytearray()
        announced_bytes = response.raw.length_remaining or 0
        if announced_bytes <= most_bytes:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                body += chunk
                if len(body) > most_bytes:
                    break
        if max(announced_bytes, len(body)) > most_bytes:
            raise Refused(f"is larger than {most_bytes} bytes")
        return bytes(body)

    def _refused(self, url: str, reason: str, error: BaseException) -> Refused:
        """The refusal to raise for `error`, whose detail goes to the log."""
        cause = error
        while (deeper := cause.__cause__ or cause.__context__) is not None:
            cause = deeper
        # Only the host: paths and queries of signed URLs are secrets, and requests' own messages quote them.
        _LOGGER.info("fetch from %r refused: %s (%s: %s)", _host(url), reason, type(cause).__name__, cause)
        return Refused(f"could not be fetched: {reason}")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
