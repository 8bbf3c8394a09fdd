"""The guard in place: with default settings no disguise of a private address gets a connection or a byte."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

import transport
from fetch import Fetcher
from guard import AddressNotAllowed
from loading_settings import LoadingSettings
from refusal import Refused
from transport import Terms, check_peer

NOT_ALLOWED = "could not be fetched: the address is not allowed"
MALFORMED = "could not be fetched: the URL is malformed"
FAILED = "could not be fetched: the connection failed or broke off"


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """With the default settings."""
    fetcher = Fetcher(LoadingSettings())
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(Refused) as caught:
        fetcher.fetch(url)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.01",
        "0177.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "user:password@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",  # full-width digits
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
    ],
)
def test_no_spelling_of_loopback_is_connected_to(fetcher: Fetcher, server: Any, scheme: str, host: str) -> None:
    server.serve("/a.png", b"secret")
    message = refusal(fetcher, f"{scheme}://{host}:{server.port}/a.png")
    assert message in (NOT_ALLOWED, MALFORMED, FAILED)
    assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_the_refusal_says_only_that_the_address_is_not_allowed(fetcher: Fetcher, host: str) -> None:
    assert refusal(fetcher, f"http://{host}:1/") == NOT_ALLOWED


def test_an_open_and_a_closed_private_port_look_the_same(fetcher: Fetcher, server: Any) -> None:
    """Else the server could be used to scan the network it stands in."""
    assert refusal(fetcher, f"http://127.0.0.1:{server.port}/") == refusal(fetcher, "http://127.0.0.1:1/")


class _Names:
    """Answers of a name server that the test decides, in place of `socket.getaddrinfo`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self._answers = list(answers)
        self._resolve = socket.getaddrinfo
        self.asked = 0
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if not host.endswith(".test"):
            return self._resolve(host, port, *args, **kwargs)
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


def test_a_name_that_resolves_to_a_private_address_is_refused(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Names(monkeypatch, ["127.0.0.1", "10.0.0.1"])
    assert refusal(fetcher, f"http://pictures.test:{server.port}/a.png") == NOT_ALLOWED
    assert server.connections == 0


def test_the_address_that_was_judged_is_the_one_connected_to(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a second answer of the name server must have no effect within a connection."""
    names = _Names(monkeypatch, ["127.0.0.1"], ["10.255.255.1"])
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True))
    server.serve("/a.png", b"picture")
    assert fetcher.fetch(f"http://pictures.test:{server.port}/a.png") == b"picture"
    assert names.asked == 1
    assert server.requests[0][1]["host"] == f"pictures.test:{server.port}"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_that_is_not_what_was_judged_gets_no_bytes(
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
    terms = Terms(deadline=time.monotonic() + 60, connect_timeout_s=1.0, allow_private_addresses=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        with pytest.raises(AddressNotAllowed, match=r"127\.0\.0\.1"):
            check_peer(sock, terms)
    assert sock.fileno() == -1


def test_a_redirect_from_a_public_to_a_private_address_is_refused(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hop, 127.0.0.1, plays the public server; the second, another loopback address, is judged as it is."""
    monkeypatch.setattr(transport, "is_public", lambda address: address == "127.0.0.1")
    server.serve("/secret", b"secret")
    url = server.redirect("/a.png", f"http://127.0.0.2:{server.port}/secret")
    assert refusal(fetcher, url) == NOT_ALLOWED
    assert [path for path, _ in server.requests] == ["/a.png"]


def test_allowed_addresses_are_tried_in_turn(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _Names(monkeypatch, ["127.0.0.3", "127.0.0.1"])
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True))
    server.serve("/a.png", b"picture")
    assert fetcher.fetch(f"http://pictures.test:{server.port}/a.png") == b"picture"


def test_private_addresses_of_a_name_are_passed_over(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _Names(monkeypatch, ["127.0.0.3", "127.0.0.1"])
    judged: list[str] = []

    def is_public(address: str) -> bool:
        judged.append(address)
        return address == "127.0.0.1"

    monkeypatch.setattr(transport, "is_public", is_public)
    server.serve("/a.png", b"picture")
    assert Fetcher(LoadingSettings()).fetch(f"http://pictures.test:{server.port}/a.png") == b"picture"
    assert judged == ["127.0.0.3", "127.0.0.1", "127.0.0.1"]


def test_a_connection_without_terms_does_not_open(server: Any) -> None:
    with pytest.raises(LookupError):
        transport._GuardedHTTPConnection("127.0.0.1", server.port).connect()
    assert server.connections == 0
