"""HTTP connections that reach public addresses only and end at a deadline.

requests and urllib3 do the protocol. This module replaces how they open a socket, so that the address is checked
before a connection and the connected peer again before a byte is sent (also before a TLS handshake), and how they
read from it, so that a server that sends one byte now and then cannot outlast the deadline. The request line names
path and query as the client spelled them; requests would rewrite them, and a signature may cover every letter.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import create_connection

from imagegen.images.input.remote_url import RemoteUrl
from imagegen.images.input.ssrf import NotAllowed, is_allowed_host, is_public


@dataclass(frozen=True)
class FetchPolicy:
    """The rules for everything that the current thread fetches.

    Attributes:
        deadline: end of the fetch, on the clock of `time.monotonic()`.
        connect_timeout_s: longest wait for a connection to one address.
        allow_private_addresses: whether addresses that are not public are allowed.
        allowed_domains: see `ssrf.is_allowed_host`.
    """

    deadline: float
    connect_timeout_s: float
    allow_private_addresses: bool
    allowed_domains: tuple[str, ...] = ()

    def remaining_s(self) -> float:
        """Seconds left, above 0.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline of the fetch has passed")
        return left_s

    def allows(self, address: str) -> bool:
        """Whether a numeric address may be connected to."""
        return self.allow_private_addresses or is_public(address)


# Connections come out of a pool and know nothing of the fetch they serve. Without a policy they do not connect.
_current_policy: ContextVar[FetchPolicy] = ContextVar("policy")
# Nor of what they are to request: what is handed to them has been rewritten on the way.
_current_target: ContextVar[str] = ContextVar("target")


@contextmanager
def apply_policy(policy: FetchPolicy) -> Iterator[None]:
    """Apply `policy` to connections that this thread opens or reads."""
    token = _current_policy.set(policy)
    try:
        yield
    finally:
        _current_policy.reset(token)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket as `raw` does, each read waiting no longer than until the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, policy: FetchPolicy) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._policy = policy
        self._read_timeout_s = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._policy.remaining_s()
        self._sock.settimeout(left_s if self._read_timeout_s is None else min(left_s, self._read_timeout_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """A response whose status line, headers and body all end at the deadline."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, _current_policy.get()))


def _open_socket(connection: HTTPConnection) -> socket.socket:
    """Connect to the first allowed address of the connection's host that accepts.

    Resolving a name takes as long as the operating system lets it; the deadline is checked right after.

    Raises:
        NotAllowed: the host is not allowed, none of its addresses is, or the connected peer is not.
        ConnectTimeoutError: no address accepted in time.
        NewConnectionError: the host has no address, or none accepts connections.
    """
    policy = _current_policy.get()
    if not is_allowed_host(connection.host, policy.allowed_domains):
        raise NotAllowed(f"{connection.host} is not among the allowed domains")
    try:
        found = socket.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(connection, f"the name does not resolve: {error}") from error
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    allowed = [address for address in addresses if policy.allows(address)]
    if not allowed:
        raise NotAllowed(f"{connection.host} is {', '.join(addresses)}")
    failure: OSError = OSError("no address")
    for address in allowed:
        try:
            timeout_s = min(policy.connect_timeout_s, policy.remaining_s())
            sock = create_connection((address, connection.port), timeout_s, socket_options=connection.socket_options)
        except OSError as error:
            failure = error
            continue
        check_peer(sock, policy)
        return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, "the connection timed out") from failure
    raise NewConnectionError(connection, f"the connection failed: {failure}") from failure


def check_peer(sock: socket.socket, policy: FetchPolicy) -> None:
    """Close a connected socket when the address at its other end is not allowed.

    Raises:
        NotAllowed: it is not; the socket is closed and nothing was sent.
    """
    peer = str(sock.getpeername()[0])
    if not policy.allows(peer):
        sock.close()
        raise NotAllowed(f"the connected peer is {peer}")


class _PolicyHTTPConnection(HTTPConnection):
    response_class = _DeadlineResponse

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, _current_target.get(), skip_host, skip_accept_encoding)


class _PolicyHTTPSConnection(HTTPSConnection):
    response_class = _DeadlineResponse

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, _current_target.get(), skip_host, skip_accept_encoding)


class _PolicyHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PolicyHTTPConnection


class _PolicyHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PolicyHTTPSConnection


class PolicyAdapter(HTTPAdapter):
    """A pool of connections that obey the thread's `FetchPolicy`. Sends only within `apply_policy`."""

    def get(self, url: RemoteUrl, headers: dict[str, str], timeouts_s: tuple[float, float]) -> requests.Response:
        """The response to a GET request, its body unread; it is to be closed.

        Args:
            url: its target is requested as it is; of its origin requests makes host, port and user.
            headers: of the request.
            timeouts_s: for the connection and for each read.

        Raises:
            NotAllowed: see `_open_socket`.
            ValueError: the origin is malformed.
            OSError: the connection fails, as an exception of requests, urllib3 or http.client.
        """
        request = requests.Request("GET", url.origin, headers=headers).prepare()
        token = _current_target.set(url.target)
        try:
            return self.send(request, stream=True, timeout=timeouts_s)
        finally:
            _current_target.reset(token)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool hand out connections that obey the policy, for both of its schemes."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PolicyHTTPPool, "https": _PolicyHTTPSPool}
