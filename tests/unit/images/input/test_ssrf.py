"""No disguise of a forbidden address gets a connection: a listening socket on every local address sees none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from imagegen.api.errors import ImageRejected
from imagegen.api.limits import RequestRules
from imagegen.images.input import transport
from imagegen.images.input.errors import UrlNotAllowed
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

NOT_ALLOWED = str(UrlNotAllowed())
# What no resolver knows or no parser takes gets no connection either, but is no secret.
OTHER_REFUSALS = (
    "fetch_failed: the connection failed or broke off",
    "fetch_failed: the URL is malformed",
    "invalid_image: is a malformed URL",
)

LOOPBACK = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "  http://127.0.0.1:{port}/  ",
    "http://127.0.0.2:{port}/",
    "http://127.127.127.127:{port}/",
    "http://127.255.255.254:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0X7F000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.1:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://0177.0.0x0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0x0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://8.8.8.8@127.0.0.1:{port}/",
    "http://8.8.8.8:80@127.0.0.1:{port}/",
    "http://[::1]:{port}/",
    "https://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[2606:4700::5efe:127.0.0.1]:{port}/",
]
ELSEWHERE = [
    "http://0.1.2.3/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[::169.254.169.254]/",
    "http://[2606:4700::200:5efe:10.0.0.1]/",
]
SCHEMES = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/",
    "ldap://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}/!/",
    "unix:/run/docker.sock",
    "localhost:{port}/",
]
# No parser or no resolver takes them, but they read as an address or a host of the server's network.
DISGUISED = [
    "http://127.0.0.1%00.invalid:{port}/",
    "http://127.0.0.1%09:{port}/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/",  # full-width digits
    "http://127\u30020\u30020\u30021:{port}/",  # ideographic full stops
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",  # circled digits
    "http://\u24db\u24de\u24d2alhost:{port}/",  # circled letters
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[::ffff:0x7f.0.0.1]:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://[fe80::1%25eth0]/",
    "http://\u2460.\u2461.\u2462.\u2463/",
]
# How a resolver or parser takes these differs between systems; none may connect.
ODD = [
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://localhost.:{port}/",
    "http://127.0.0.1:{port}\\@8.8.8.8/",
    "http://127.0.0.1:{port}#@8.8.8.8/",
    "http://127.0.0.1:{port}?@8.8.8.8/",
    "http://127%2e0%2e0%2e1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://%6c%6f%63alhost:{port}/",
    "http://[::1]\\@8.8.8.8:{port}/",
    "http://0000000000000000177.0.0.1:{port}/",
    "http://127.0.0.1:{port}:80/",
    "http://256.256.256.256:{port}/",
]
RESOLVED = [
    ["127.0.0.1"],
    ["127.0.0.1", "10.0.0.1"],
    ["169.254.169.254"],
    ["::1"],
    ["::ffff:127.0.0.1"],
    ["fd00:ec2::254"],
    ["64:ff9b::7f00:1"],
    ["0.0.0.0"],
]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listens on every local address, IPv4 and IPv6; no connection may have arrived, and none been tried."""
    tried: list[Any] = []
    monkeypatch.setattr(transport, "create_connection", lambda *args, **kwargs: tried.append(args))
    with socket.create_server(
        ("", 0),
        family=socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET,
        dualstack_ipv6=socket.has_dualstack_ipv6(),
    ) as sock:
        sock.settimeout(0)
        yield sock
        with pytest.raises(BlockingIOError):
            sock.accept()
    assert tried == []


@pytest.fixture(scope="module")
def loader(no_metrics: Any) -> Iterator[ImageLoader]:
    """As configured by default, but for attempts: names that do not resolve are not worth waiting for here."""
    loader = ImageLoader(InputSettings(fetch_attempts=1), no_metrics)
    yield loader
    loader.close()


def refusal(loader: ImageLoader, url: str, listener: socket.socket) -> str:
    blob = url.replace("{port}", str(listener.getsockname()[1])).encode()
    with pytest.raises(ImageRejected) as caught:
        load_images(loader, [blob], None, None, ANY_SIZE)
    return str(caught.value).removeprefix("image_rejected: image[0]: ")


def test_there_are_enough_vectors() -> None:
    assert len({*LOOPBACK, *ELSEWHERE, *SCHEMES, *DISGUISED, *ODD}) >= 100


@pytest.mark.parametrize("url", [*LOOPBACK, *ELSEWHERE, *SCHEMES, *DISGUISED])
def test_forbidden_addresses_and_schemes_are_refused_with_one_text(
    loader: ImageLoader, listener: socket.socket, url: str
) -> None:
    assert refusal(loader, url, listener) == NOT_ALLOWED


@pytest.mark.parametrize("url", ODD)
def test_odd_spellings_are_refused(loader: ImageLoader, listener: socket.socket, url: str) -> None:
    message = refusal(loader, url, listener)
    assert message == NOT_ALLOWED or message.startswith(OTHER_REFUSALS)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("addresses", RESOLVED, ids=str)
def test_names_of_forbidden_addresses_are_refused(
    loader: ImageLoader, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, scheme: str, addresses: list[str]
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    assert refusal(loader, f"{scheme}://images.test:{{port}}/", listener) == NOT_ALLOWED


def test_the_socket_of_these_tests_would_notice(listener: socket.socket) -> None:
    """Else they would prove nothing."""
    port = listener.getsockname()[1]
    hosts = ["127.0.0.1", "127.0.0.2", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1", "127.0.0.2"]
    for host in hosts:
        socket.create_connection((host, port)).close()
        listener.settimeout(10)
        listener.accept()[0].close()
    listener.settimeout(0)
