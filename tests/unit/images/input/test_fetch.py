"""Fetching against a real server: what comes back, what ends a fetch, and what a client is told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import imagegen
from imagegen.images.input import fetch
from imagegen.images.input.errors import Refused, UrlNotAllowed
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.retry import delay_s
from imagegen.images.input.settings import LoadingSettings

LIMIT_BYTES = 200_000
BODY = bytes(range(256)) * 300


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """May reach the loopback server, once, with a limit on bytes and short timeouts."""
    fetcher = Fetcher(
        LoadingSettings(
            allow_private_addresses=True,
            max_image_bytes=LIMIT_BYTES,
            read_timeout_s=5.0,
            fetch_timeout_s=10.0,
            fetch_attempts=1,
        )
    )
    yield fetcher
    fetcher.close()


@pytest.fixture
def impatient() -> Iterator[Fetcher]:
    """The same, but a fetch ends after 0.3 s in all while each read could wait for 60 s."""
    fetcher = Fetcher(
        LoadingSettings(
            allow_private_addresses=True, max_image_bytes=LIMIT_BYTES, read_timeout_s=60.0, fetch_timeout_s=0.3
        )
    )
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(Refused) as caught:
        fetcher.fetch(url)
    return str(caught.value)


def test_the_body_is_returned_and_the_request_says_who_asks(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.serve("/a.png", BODY)).body == BODY
    [(path, headers)] = server.requests
    assert path == "/a.png"
    assert headers["user-agent"] == f"imagegen-triton/{imagegen.__version__}"
    assert headers["accept-encoding"] == "identity"
    assert headers["accept"] == "image/png, image/jpeg, image/webp"


def test_connections_are_reused(fetcher: Fetcher, server: Any) -> None:
    url = server.serve("/a.png", BODY)
    assert [fetcher.fetch(url).body for _ in range(3)] == [BODY] * 3
    assert server.connections == 1


def test_chunked_bodies_are_joined(fetcher: Fetcher, server: Any) -> None:
    url = server.raw(
        "/chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert fetcher.fetch(url).body == b"abcde"


def test_a_body_without_a_length_ends_with_the_connection(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.raw("/no-length", b"HTTP/1.1 200 OK\r\n\r\n", BODY)).body == BODY


def test_cookies_are_not_kept(fetcher: Fetcher, server: Any) -> None:
    url = server.serve("/a.png", BODY, Set_Cookie="client=secret; Path=/")
    fetcher.fetch(url)
    fetcher.fetch(url)
    assert all("cookie" not in headers for _, headers in server.requests)


def test_proxies_and_netrc_of_the_environment_are_ignored(
    fetcher: Fetcher, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert fetcher.fetch(server.serve("/a.png", BODY)).body == BODY
    assert "authorization" not in server.requests[0][1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(fetcher: Fetcher, server: Any, status: int) -> None:
    server.serve("/here.png", BODY)
    server.redirect("/relative", "here.png", status)
    assert fetcher.fetch(server.redirect("/absolute", server.url + "/relative", status)).body == BODY


def test_three_redirects_are_followed_and_a_fourth_is_not(fetcher: Fetcher, server: Any) -> None:
    server.serve("/0", BODY)
    for hop in range(1, 5):
        server.redirect(f"/{hop}", f"/{hop - 1}")
    assert fetcher.fetch(server.url + "/3").body == BODY
    assert refusal(fetcher, server.url + "/4") == "fetch_failed: more than 3 redirects"


def test_a_redirect_loop_ends(fetcher: Fetcher, server: Any) -> None:
    assert refusal(fetcher, server.redirect("/loop", "/loop")) == "fetch_failed: more than 3 redirects"
    assert len(server.requests) == 4


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "data:,a"])
def test_redirects_to_other_schemes_are_refused(fetcher: Fetcher, server: Any, location: str) -> None:
    url = server.redirect("/elsewhere", location)
    assert refusal(fetcher, url) == str(UrlNotAllowed())


def test_the_body_of_a_redirect_is_not_read(fetcher: Fetcher, server: Any) -> None:
    server.serve("/here.png", BODY)
    head = b"HTTP/1.1 302 Found\r\nLocation: /here.png\r\n\r\n"
    assert fetcher.fetch(server.raw("/endless", head, then_repeat=bytes(65536))).body == BODY


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 401, 403, 404, 410, 418, 429, 500, 503])
def test_any_other_status_is_named(fetcher: Fetcher, server: Any, status: int) -> None:
    url = server.serve("/a.png", b"", status)
    assert refusal(fetcher, url) == f"fetch_failed: status {status}"


@pytest.mark.parametrize(
    ("headers", "body", "repeat"),
    [
        (f"Content-Length: {LIMIT_BYTES + 1}", b"", b""),
        ("Content-Length: 999999999999999999999", b"", b""),
        ("X: no length, endless", b"", bytes(65536)),
        ("Transfer-Encoding: chunked", b"", b"10000\r\n" + bytes(65536) + b"\r\n"),
        ("Transfer-Encoding: chunked", b"fffffff\r\n", bytes(65536)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", b"", b"10000\r\n" + bytes(65536) + b"\r\n"),
        ("Content-Encoding: gzip", b"", bytes(65536)),
    ],
)
def test_a_body_over_the_limit_is_cut_off(
    fetcher: Fetcher, server: Any, headers: str, body: bytes, repeat: bytes
) -> None:
    url = server.raw("/big", f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode(), body, then_repeat=repeat)
    assert refusal(fetcher, url) == f"too_large: is larger than {LIMIT_BYTES} bytes"


def test_a_body_of_exactly_the_limit_is_accepted(fetcher: Fetcher, server: Any) -> None:
    assert len(fetcher.fetch(server.serve("/a.png", bytes(LIMIT_BYTES))).body) == LIMIT_BYTES
    assert (
        refusal(fetcher, server.serve("/b.png", bytes(LIMIT_BYTES + 1)))
        == f"too_large: is larger than {LIMIT_BYTES} bytes"
    )


def test_a_length_that_is_too_short_bounds_the_body(fetcher: Fetcher, server: Any) -> None:
    assert fetcher.fetch(server.raw("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BODY)).body == BODY[:5]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-number\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:99999999/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://" + b"a" * 64 + b".invalid/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    ],
)
def test_broken_answers_are_refused_without_detail(fetcher: Fetcher, server: Any, answer: bytes) -> None:
    message = refusal(fetcher, server.raw("/broken", answer))
    assert message in (
        "fetch_failed: the connection failed or broke off",
        "fetch_failed: the URL is malformed",
        str(UrlNotAllowed()),
    )


@pytest.mark.parametrize(
    ("start", "repeat"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_server_that_drips_is_given_up_at_the_deadline(
    impatient: Fetcher, server: Any, start: bytes, repeat: bytes
) -> None:
    """Each read succeeds at once, so that only a deadline over all of them ends this before the test's own limit."""
    url = server.raw("/drip", start, then_repeat=repeat, every_s=0.02)
    assert refusal(impatient, url) == "fetch_failed: timed out"


def test_a_server_that_says_nothing_is_given_up(impatient: Fetcher, server: Any) -> None:
    server.answers["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(impatient, server.url + "/silent") == "fetch_failed: timed out"


def test_one_deadline_holds_for_all_redirects(impatient: Fetcher, server: Any) -> None:
    def slow_redirect(handler: Any) -> None:
        server.stopped.wait(0.2)
        handler.send_response(302)
        handler.send_header("Location", "/slow")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers["/slow"] = slow_redirect
    assert refusal(impatient, server.url + "/slow") == "fetch_failed: timed out"


def test_the_read_timeout_ends_a_fetch_before_its_deadline(server: Any) -> None:
    settings = LoadingSettings(
        allow_private_addresses=True, read_timeout_s=0.2, fetch_timeout_s=600.0, fetch_attempts=1
    )
    server.answers["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(Fetcher(settings), server.url + "/silent") == "fetch_failed: timed out"


def test_https_is_not_spoken_to_a_plain_server_nor_is_its_error_shown(fetcher: Fetcher, server: Any) -> None:
    message = refusal(fetcher, f"https://127.0.0.1:{server.port}/a.png")
    assert message == "fetch_failed: the connection failed or broke off"


def test_the_log_has_the_reason_but_not_the_path_nor_the_query(
    fetcher: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="imagegen.images.input.fetch"):
        refusal(fetcher, "http://user:password@127.0.0.1:1/private?signature=secret")
    assert "127.0.0.1" in caplog.text
    assert "Connection refused" in caplog.text
    for secret in ("password", "private", "secret"):
        assert secret not in caplog.text


def test_fetches_from_many_threads_do_not_mix(fetcher: Fetcher, server: Any) -> None:
    bodies = {server.serve(f"/{index}", f"body {index}".encode() * 1000): index for index in range(40)}
    together = threading.Barrier(8)

    def fetch_one(url: str) -> bytes:
        together.wait()
        return fetcher.fetch(url).body

    with ThreadPoolExecutor(8) as pool:
        for body, index in zip(pool.map(fetch_one, bodies), bodies.values(), strict=True):
            assert body == f"body {index}".encode() * 1000


# --- further attempts ---


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a fetch is to wait between attempts; here it does not wait."""
    waited: list[float] = []

    def no_delay_s(failures: int, retry_after_s: float) -> float:
        waited.append(delay_s(failures, retry_after_s))
        return 0.0

    monkeypatch.setattr(fetch, "delay_s", no_delay_s)
    return waited


@pytest.fixture
def persistent(waits: list[float]) -> Iterator[Fetcher]:
    """Makes three attempts, as by default."""
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True, read_timeout_s=0.2))
    yield fetcher
    fetcher.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nimage"
BUSY = b"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npic"
NOT_FOUND = b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("failures", [(BUSY,), (DOWN, DOWN), (CUT_OFF, b""), (b"", DOWN), (BUSY, CUT_OFF)])
def test_what_may_pass_is_tried_again(
    persistent: Fetcher, server: Any, waits: list[float], failures: tuple[bytes, ...]
) -> None:
    assert persistent.fetch(server.in_turn("/turns", *failures, OK)).body == b"image"
    assert len(server.requests) == len(failures) + 1
    assert persistent.retries == len(failures)
    for wait_s, backoff_s, failure in zip(waits, (0.2, 0.4), failures, strict=False):
        least_s = 2 if failure is BUSY else backoff_s
        assert least_s <= wait_s <= max(least_s, backoff_s * 1.25)


def test_a_third_failure_is_the_last(persistent: Fetcher, server: Any, waits: list[float]) -> None:
    assert refusal(persistent, server.in_turn("/turns", DOWN, DOWN, DOWN, OK)) == "fetch_failed: status 503"
    assert len(server.requests) == 3


def test_a_timeout_is_tried_again(persistent: Fetcher, server: Any, waits: list[float]) -> None:
    server.answers["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(persistent, server.url + "/silent") == "fetch_failed: timed out"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        NOT_FOUND,
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /turns\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000001\r\n\r\n",
    ],
)
def test_what_stays_as_it_is_is_not_tried_again(
    persistent: Fetcher, server: Any, waits: list[float], answer: bytes
) -> None:
    refusal(persistent, server.in_turn("/turns", *[answer] * 12))
    assert persistent.retries == 0
    assert waits == []


def test_a_forbidden_address_is_not_tried_again(server: Any, waits: list[float]) -> None:
    fetcher = Fetcher(LoadingSettings())
    refusal(fetcher, server.url + "/a.png")
    assert waits == []


def test_nobody_waits_past_the_deadline(server: Any) -> None:
    """Retry-After may ask for hours: the fetch then fails at once, with the status."""
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True, fetch_timeout_s=1.5))
    assert refusal(fetcher, server.in_turn("/turns", BUSY, OK)) == "fetch_failed: status 429"
    assert len(server.requests) == 1


def test_a_deadline_of_the_caller_holds_for_all_attempts(persistent: Fetcher, server: Any, waits: list[float]) -> None:
    with pytest.raises(Refused, match="timed out"):
        persistent.fetch(server.in_turn("/turns", OK), time.monotonic() - 1)
    assert server.connections == 0


def test_closing_ends_the_wait_for_another_attempt(server: Any) -> None:
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True))
    url = server.in_turn("/turns", b"HTTP/1.1 503 Down\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n", OK)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fetcher.fetch, url)
        while not server.requests:
            time.sleep(0.001)
        fetcher.close()
        with pytest.raises(Refused, match="status 503"):
            running.result(10)


def test_a_connection_that_the_server_closed_while_idle_is_no_failure(persistent: Fetcher, server: Any) -> None:
    """Each answer promises to keep the connection alive, and breaks the promise."""
    url = server.in_turn("/turns", *[OK] * 5)
    assert [persistent.fetch(url).body for _ in range(5)] == [b"image"] * 5


# --- how many at once ---


def test_connections_are_bounded_and_none_is_left_behind(server: Any) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def answer(handler: Any) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        server.stopped.wait(0.01)
        with lock:
            at_once -= 1
        handler.wfile.write(OK)

    server.answers["/slow"] = answer
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True, max_connections=3))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: fetcher.fetch(server.url + "/slow"), range(24)))
    assert most == 3
    assert server.connections <= 3
    assert fetcher.active == 0
    fetcher.close()


def test_who_gets_no_connection_in_time_is_told_so(server: Any) -> None:
    fetcher = Fetcher(LoadingSettings(allow_private_addresses=True, max_connections=1, fetch_attempts=1))
    server.answers["/slow"] = lambda handler: (server.stopped.wait(), handler.wfile.write(OK))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fetcher.fetch, server.url + "/slow")
        while not server.requests:
            time.sleep(0.001)
        with pytest.raises(Refused, match="fetch_failed: timed out"):
            fetcher.fetch(server.url + "/slow", time.monotonic() + 0.05)
        server.stopped.set()
        assert slow.result(10).body == b"image"
    assert len(server.requests) == 1


# --- how long a body may be kept ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"Cache_Control": "max-age=60"}, 60),
        ({"Cache_Control": "max-age=60", "Age": "10"}, 50),
        ({"Cache_Control": "no-store"}, 0),
    ],
)
def test_the_lifetime_is_what_the_server_allows(
    fetcher: Fetcher, server: Any, headers: dict[str, str], seconds: float
) -> None:
    assert fetcher.fetch(server.serve("/a.png", BODY, **headers)).lifetime_s == seconds


def test_a_redirect_can_shorten_the_lifetime(fetcher: Fetcher, server: Any) -> None:
    server.serve("/a.png", BODY, Cache_Control="max-age=60")
    url = server.serve("/first", b"", 302, Location="/a.png", Cache_Control="no-cache")
    assert fetcher.fetch(url).lifetime_s == 0
