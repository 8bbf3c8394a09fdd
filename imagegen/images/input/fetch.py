"""Fetches the bytes behind a URL a client sent: GET, a few redirects, a few attempts, everything bounded."""

from __future__ import annotations

import datetime
import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

import imagegen
from imagegen.images.input.cache_control import lifetime_s
from imagegen.images.input.errors import FetchFailed, Refused, TooLarge, UrlNotAllowed
from imagegen.images.input.retry import delay_s, may_pass, parse_retry_after
from imagegen.images.input.settings import LoadingSettings
from imagegen.images.input.ssrf import NotAllowed
from imagegen.images.input.transport import GuardedAdapter, Terms, fetching_under

_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 64 * 1024
_HOSTS_KEPT_CONNECTED = 10
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """What a URL led to.

    Attributes:
        body: as it came, not decompressed.
        lifetime_s: seconds for which the servers on the way let it be used again; 0 for not at all.
    """

    body: bytes
    lifetime_s: float


class _MayPass(FetchFailed):
    """A failure after which another attempt is worth while."""

    retry_after_s = 0.0


class Fetcher:
    """Fetches images over pooled connections. Safe to use from several threads.

    Requests go through a bare requests adapter. A `requests.Session` would add what must not happen here: proxies
    and netrc of the environment, cookies kept between clients, and redirect bodies read without a limit.

    Args:
        settings: limits, timeouts and which hosts are allowed.

    Attributes:
        retries: attempts made after a first one.
        active: downloads that have a connection, or are getting one.
    """

    def __init__(self, settings: LoadingSettings) -> None:
        self._settings = settings
        self._adapter = GuardedAdapter(
            pool_connections=_HOSTS_KEPT_CONNECTED, pool_maxsize=settings.max_connections, max_retries=0
        )
        self._headers = {
            "User-Agent": f"imagegen-triton/{imagegen.__version__}",
            "Accept": ", ".join(f"image/{name.lower()}" for name in settings.formats),
            "Accept-Encoding": "identity",  # a compressed body would be counted only after it grew
        }
        self._free = threading.Semaphore(settings.max_connections)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.retries = 0
        self.active = 0

    def fetch(self, url: str, deadline: float | None = None) -> Fetched:
        """The body behind an http or https URL, at most `max_image_bytes` long.

        Args:
            url: where to begin.
            deadline: end of all attempts, on the clock of `time.monotonic`; None for `fetch_timeout_s` from now.

        Raises:
            Refused: it could not be fetched, is too large, or lies where the server does not fetch from.
        """
        settings = self._settings
        terms = Terms(
            deadline=time.monotonic() + settings.fetch_timeout_s if deadline is None else deadline,
            connect_timeout_s=settings.connect_timeout_s,
            allow_private_addresses=settings.allow_private_addresses,
            allowed_domains=settings.allowed_domains,
        )
        with fetching_under(terms):
            for failures in range(1, settings.fetch_attempts):
                try:
                    return self._attempt(url, terms)
                except _MayPass as failure:
                    wait_s = delay_s(failures, failure.retry_after_s)
                    if time.monotonic() + wait_s >= terms.deadline or self._closed.wait(wait_s):
                        raise
                with self._lock:
                    self.retries += 1
            return self._attempt(url, terms)

    def close(self) -> None:
        """Give up further attempts and close the pooled connections. No fetch may start afterwards."""
        self._closed.set()
        self._adapter.close()

    def _attempt(self, url: str, terms: Terms) -> Fetched:
        try:
            with self._place(terms):
                return self._follow(url, terms)
        except (NotAllowed, OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            _log(url, error)
            refusal = _as_refusal(error)
        raise refusal  # out here, or it would hold on to `error` and with it to half-read bodies

    @contextmanager
    def _place(self, terms: Terms) -> Iterator[None]:
        """One of the connections that are allowed at the same time."""
        if not self._free.acquire(timeout=terms.remaining_s()):
            raise TimeoutError("every connection was in use")
        try:
            with self._lock:
                self.active += 1
            yield
        finally:
            with self._lock:
                self.active -= 1
            self._free.release()

    def _follow(self, url: str, terms: Terms) -> Fetched:
        kept_s = float(self._settings.url_cache_s)
        for _ in range(self._settings.max_redirects + 1):
            request = requests.Request("GET", url, headers=self._headers).prepare()
            address = str(request.url)
            if not address.lower().startswith(("http://", "https://")):
                raise UrlNotAllowed
            timeouts_s = (min(self._settings.connect_timeout_s, terms.remaining_s()), self._settings.read_timeout_s)
            response = self._adapter.send(request, stream=True, timeout=timeouts_s)
            try:
                headers = response.headers
                kept_s = lifetime_s(headers, kept_s)
                location = headers.get("Location")
                if response.status_code not in _REDIRECT_STATUSES or location is None:
                    return Fetched(self._body(response), kept_s)
            finally:
                response.close()
            url = urljoin(address, location.encode("latin-1").decode("utf-8"))  # http.client reads headers as latin-1
        raise FetchFailed(f"more than {self._settings.max_redirects} redirects")

    def _body(self, response: requests.Response) -> bytes:
        if response.status_code != 200:
            raise _status_failure(response)
        most_bytes = self._settings.max_image_bytes
        body = bytearray()
        announced_bytes = response.raw.length_remaining or 0
        if announced_bytes <= most_bytes:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                body += chunk
                if len(body) > most_bytes:
                    break
        if max(announced_bytes, len(body)) > most_bytes:
            raise TooLarge(f"is larger than {most_bytes} bytes")
        return bytes(body)


def _status_failure(response: requests.Response) -> Refused:
    message = f"status {response.status_code}"
    if not may_pass(response.status_code):
        return FetchFailed(message)
    failure = _MayPass(message)
    now = datetime.datetime.now(datetime.timezone.utc)
    failure.retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now)
    return failure


def _as_refusal(error: Exception) -> Refused:
    # A host that no parser takes may be an address in disguise, so it gets the text of those.
    if isinstance(error, (NotAllowed, requests.exceptions.InvalidURL)):
        return UrlNotAllowed()
    if isinstance(error, UnicodeError):
        return FetchFailed("the URL is malformed")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return _MayPass("timed out")
    return (_MayPass if _is_passing(error) else FetchFailed)("the connection failed or broke off")


def _is_passing(error: BaseException) -> bool:
    """Whether a failed connection may work later; a certificate or a name that does not exist stays as it is."""
    if isinstance(error, (ValueError, requests.exceptions.SSLError)):
        return False
    cause = _cause(error)
    return not isinstance(cause, socket.gaierror) or cause.errno == socket.EAI_AGAIN


def _cause(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _log(url: str, error: BaseException) -> None:
    # Only the host: paths and queries of signed URLs are secrets, and requests' own messages quote them.
    cause = _cause(error)
    _LOGGER.info("fetch from %r failed: %s: %s", _host(url), type(cause).__name__, cause)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
