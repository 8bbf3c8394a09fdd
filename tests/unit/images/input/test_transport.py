"""Connections obey the policy: with default settings no disguise of a private address gets a connection or a byte."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imagegen.images.input import transport
from imagegen.images.input.errors import ImageError, UrlNotAllowed
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.ssrf import NotAllowed
from imagegen.images.input.transport import FetchPolicy, check_peer

NOT_ALLOWED = str(UrlNotAllowed())


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """With the default settings."""
    fetcher = Fetcher(InputSettings())
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    return str(caught.value)


def test_an_open_and_a_closed_private_port_look_the_same(fetcher: Fetcher, server: Any) -> None:
    """Else the server could be used to scan the network it stands in."""
    assert refusal(fetcher, f"http://127.0.0.1:{server.port}/") == refusal(fetcher, "http://127.0.0.1:1/")


class _Names:
    """A name server whose responses the test decides, in place of `socket.getaddrinfo`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *responses: list[str]) -> None:
        self._responses = list(responses)
        self._resolve = socket.getaddrinfo
        self.lookups = 0
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if not host.endswith(".test"):
            return self._resolve(host, port, *args, **kwargs)
        addresses = self._responses[min(self.lookups, len(self._responses) - 1)]
        self.lookups += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


def test_a_name_that_resolves_to_a_private_address_is_refused(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Names(monkeypatch, ["127.0.0.1", "10.0.0.1"])
    assert refusal(fetcher, f"http://images.test:{server.port}/a.png") == NOT_ALLOWED
    assert server.connections == 0


def test_the_checked_address_is_the_one_connected_to(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a second response of the name server must have no effect within a connection."""
    names = _Names(monkeypatch, ["127.0.0.1"], ["10.255.255.1"])
    fetcher = Fetcher(InputSettings(allow_private_addresses=True))
    server.serve("/a.png", b"image")
    assert fetcher.fetch(f"http://images.test:{server.port}/a.png").body == b"image"
    assert names.lookups == 1
    assert server.requests[0][1]["host"] == f"images.test:{server.port}"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_at_another_address_than_the_checked_one_gets_no_bytes(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The judgement of the name is made to err here: the connected peer is checked on its own, before TLS."""
    verdicts = iter([True, False])
    monkeypatch.setattr(transport, "is_public", lambda address: next(verdicts))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert refusal(fetcher, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/") == NOT_ALLOWED
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            assert connection.recv(1) == b""


def test_check_peer_closes_a_socket_it_refuses() -> None:
    policy = FetchPolicy(deadline=time.monotonic() + 60, connect_timeout_s=1.0, allow_private_addresses=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        with pytest.raises(NotAllowed, match=r"127\.0\.0\.1"):
            check_peer(sock, policy)
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/secret",
        "//127.0.0.2:{port}/secret",
        "http://2130706434:{port}/secret",
        "http://0x7f.2:{port}/secret",
        "http://0.0.0.0:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://[::ffff:127.0.0.2]:{port}/secret",
        "http://user@127.0.0.2:{port}/secret",
        "https://127.0.0.2:{port}/secret",
        "http://169.254.169.254/secret",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/secret",
        "gopher://127.0.0.1:{port}/secret",
        "data:text/plain,secret",
    ],
)
@pytest.mark.parametrize("hops", [1, 2])
def test_a_redirect_from_a_public_to_a_forbidden_address_is_refused(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch, target: str, hops: int
) -> None:
    """127.0.0.1 plays the public server; another address, even of loopback, is checked by itself."""
    monkeypatch.setattr(transport, "is_public", lambda address: address == "127.0.0.1")
    server.serve("/secret", b"secret")
    url = server.redirect("/a.png", target.replace("{port}", str(server.port)))
    if hops == 2:
        url = server.redirect("/first", "/a.png")
    assert refusal(fetcher, url) == NOT_ALLOWED
    assert "/secret" not in [path for path, _ in server.requests]


def test_a_host_that_is_not_among_the_allowed_domains_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = _Names(monkeypatch, ["127.0.0.1"])
    settings = InputSettings(allow_private_addresses=True, allowed_domains=("images.test", ".below.test"))
    fetcher = Fetcher(settings)
    server.serve("/a.png", b"image")
    for host in ("images.test", "IMAGES.test", "cdn.below.test"):
        assert fetcher.fetch(f"http://{host}:{server.port}/a.png").body == b"image"
    lookups = names.lookups
    others = ("other.test", "below.test", "images.test.evil.test", "evilimages.test", "127.0.0.1")
    for host in others:
        assert refusal(fetcher, f"http://{host}:{server.port}/a.png") == NOT_ALLOWED
    assert names.lookups == lookups  # refused before the name is resolved
    for host in others:
        redirect = server.redirect("/away", f"http://{host}:{server.port}/a.png")
        assert refusal(fetcher, redirect.replace("127.0.0.1", "images.test")) == NOT_ALLOWED
    fetcher.close()


def test_allowed_addresses_are_tried_in_turn(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _Names(monkeypatch, ["127.0.0.3", "127.0.0.1"])
    fetcher = Fetcher(InputSettings(allow_private_addresses=True))
    server.serve("/a.png", b"image")
    assert fetcher.fetch(f"http://images.test:{server.port}/a.png").body == b"image"


def test_private_addresses_of_a_name_are_passed_over(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _Names(monkeypatch, ["127.0.0.3", "127.0.0.1"])
    checked: list[str] = []

    def is_public(address: str) -> bool:
        checked.append(address)
        return address == "127.0.0.1"

    monkeypatch.setattr(transport, "is_public", is_public)
    server.serve("/a.png", b"image")
    assert Fetcher(InputSettings()).fetch(f"http://images.test:{server.port}/a.png").body == b"image"
    assert checked == ["127.0.0.3", "127.0.0.1", "127.0.0.1"]


def test_a_connection_without_a_policy_does_not_open(server: Any) -> None:
    with pytest.raises(LookupError):
        transport._PolicyHTTPConnection("127.0.0.1", server.port).connect()
    assert server.connections == 0
