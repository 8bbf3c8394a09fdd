"""Fetches the bytes behind a URL a client sent: GET, a few redirects, a few attempts, everything bounded."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
import urllib3

import imagegen
from imagegen.images.input.cache_control import lifetime_s
from imagegen.images.input.concurrency import ConcurrencyLimiter
from imagegen.images.input.content_encoding import decode_content
from imagegen.images.input.errors import FetchFailed, ImageError, TooLarge, UrlNotAllowed
from imagegen.images.input.remote_url import RemoteUrl, parse_url
from imagegen.images.input.retry import delay_s, is_transient, parse_retry_after
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.ssrf import NotAllowed
from imagegen.images.input.transport import FetchPolicy, PolicyAdapter, apply_policy

_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 64 * 1024
_HOSTS_KEPT_CONNECTED = 10
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """What a URL led to.

    Attributes:
        body: without content encodings.
        lifetime_s: seconds for which the servers on the way let it be used again; 0 for not at all.
        declared_type: the header Content-Type, empty when there is none.
    """

    body: bytes
    lifetime_s: float
    declared_type: str = ""


class _TransientFailure(FetchFailed):
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
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._adapter = PolicyAdapter(
            pool_connections=_HOSTS_KEPT_CONNECTED, pool_maxsize=settings.max_connections, max_retries=0
        )
        self._headers = {
            "User-Agent": f"imagegen-triton/{imagegen.__version__}",
            "Accept": ", ".join(f"image/{name.lower()}" for name in settings.formats),
            "Accept-Encoding": "identity",  # images are compressed already; what is encoded all the same is decoded
        }
        self._connections = ConcurrencyLimiter(settings.max_connections)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.retries = 0

    @property
    def active(self) -> int:
        """Downloads that have a connection, or are getting one."""
        return self._connections.active

    def fetch(self, url: str, deadline: float | None = None) -> Fetched:
        """The body behind an http or https URL, at most `max_image_bytes` long.

        Args:
            url: where to begin.
            deadline: end of all attempts, on the clock of `time.monotonic`; None for `fetch_timeout_s` from now.

        Raises:
            ImageError: it could not be fetched, is too large, or lies where the server does not fetch from.
        """
        settings = self._settings
        policy = FetchPolicy(
            deadline=time.monotonic() + settings.fetch_timeout_s if deadline is None else deadline,
            connect_timeout_s=settings.connect_timeout_s,
            allow_private_addresses=settings.allow_private_addresses,
            allowed_domains=settings.allowed_domains,
        )
        with apply_policy(policy):
            for failures in range(1, settings.fetch_attempts):
                try:
                    return self._attempt(url, policy)
                except _TransientFailure as failure:
                    wait_s = delay_s(failures, failure.retry_after_s)
                    if time.monotonic() + wait_s >= policy.deadline or self._closed.wait(wait_s):
                        raise
                with self._lock:
                    self.retries += 1
            return self._attempt(url, policy)

    def close(self) -> None:
        """Give up further attempts and close the pooled connections. No fetch may start afterwards."""
        self._closed.set()
        self._adapter.close()

    def _attempt(self, url: str, policy: FetchPolicy) -> Fetched:
        try:
            with self._connections.slot(policy.remaining_s()):
                return self._follow(url, policy)
        except (NotAllowed, OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            _log(url, error)
            image_error = _as_image_error(error)
        raise image_error  # out here, or it would hold on to `error` and with it to half-read bodies

    def _follow(self, url: str, policy: FetchPolicy) -> Fetched:
        kept_s = float(self._settings.url_cache_s)
        here = _parsed(parse_url, url)
        for _ in range(self._settings.max_redirects + 1):
            timeouts_s = (min(self._settings.connect_timeout_s, policy.remaining_s()), self._settings.read_timeout_s)
            response = self._adapter.get(here, self._headers, timeouts_s)
            try:
                headers = response.headers
                kept_s = lifetime_s(headers, kept_s)
                location = headers.get("Location")
                if response.status_code not in _REDIRECT_STATUSES or location is None:
                    return Fetched(self._body(response), kept_s, headers.get("Content-Type", ""))
            finally:
                response.close()
            here = _parsed(here.resolve, location.encode("latin-1").decode("utf-8"))  # http.client reads latin-1
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
        return decode_content(bytes(body), response.headers.get("Content-Encoding", ""), most_bytes)


def _parsed(parse: Callable[[str], RemoteUrl], text: str) -> RemoteUrl:
    try:
        return parse(text)
    except ValueError:
        raise UrlNotAllowed from None


def _status_failure(response: requests.Response) -> ImageError:
    message = f"status {response.status_code}"
    if not is_transient(response.status_code):
        return FetchFailed(message)
    failure = _TransientFailure(message)
    failure.retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
    return failure


def _as_image_error(error: Exception) -> ImageError:
    # A host that no parser takes may be an address in disguise, so it gets the text of those.
    if isinstance(error, (NotAllowed, requests.exceptions.InvalidURL)):
        return UrlNotAllowed()
    if isinstance(error, UnicodeError):
        return FetchFailed("the URL is malformed")
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return _TransientFailure("timed out")
    return (_TransientFailure if _is_transient_failure(error) else FetchFailed)("the connection failed or broke off")


def _is_transient_failure(error: BaseException) -> bool:
    """Whether a failed connection may work later; a bad certificate or a name that does not exist will not."""
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
