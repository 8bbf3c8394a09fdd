"""A fetch that failed for a transient reason is tried again, a few times and never past its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagegen.images.input import fetch
from imagegen.images.input.errors import ImageError
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.retry import delay_s
from imagegen.images.input.settings import InputSettings


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    return str(caught.value)


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
    fetcher = Fetcher(InputSettings(allow_private_addresses=True, read_timeout_s=0.2))
    yield fetcher
    fetcher.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage"
BUSY = b"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nima"
NOT_FOUND = b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("failures", [(BUSY,), (DOWN, DOWN), (CUT_OFF, b""), (b"", DOWN), (BUSY, CUT_OFF)])
def test_a_transient_failure_is_tried_again(
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
    server.responses["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(persistent, server.url + "/silent") == "fetch_failed: timed out"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "response",
    [
        NOT_FOUND,
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /turns\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000001\r\n\r\n",
    ],
)
def test_a_lasting_failure_is_not_tried_again(
    persistent: Fetcher, server: Any, waits: list[float], response: bytes
) -> None:
    refusal(persistent, server.in_turn("/turns", *[response] * 12))
    assert persistent.retries == 0
    assert waits == []


def test_a_forbidden_address_is_not_tried_again(server: Any, waits: list[float]) -> None:
    fetcher = Fetcher(InputSettings())
    refusal(fetcher, server.url + "/a.png")
    assert waits == []


def test_no_attempt_is_waited_for_past_the_deadline(server: Any) -> None:
    """Retry-After may ask for hours: the fetch then fails at once, with the status."""
    fetcher = Fetcher(InputSettings(allow_private_addresses=True, fetch_timeout_s=1.5))
    assert refusal(fetcher, server.in_turn("/turns", BUSY, OK)) == "fetch_failed: status 429"
    assert len(server.requests) == 1


def test_a_deadline_of_the_caller_holds_for_all_attempts(persistent: Fetcher, server: Any, waits: list[float]) -> None:
    with pytest.raises(ImageError, match="timed out"):
        persistent.fetch(server.in_turn("/turns", OK), deadline=0.0)
    assert server.connections == 0


def test_closing_ends_the_wait_for_another_attempt(server: Any) -> None:
    fetcher = Fetcher(InputSettings(allow_private_addresses=True))
    url = server.in_turn("/turns", b"HTTP/1.1 503 Down\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n", OK)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fetcher.fetch, url)
        server.wait_for_requests(1)
        fetcher.close()
        with pytest.raises(ImageError, match="status 503"):
            running.result(10)


def test_a_connection_that_the_server_closed_while_idle_is_no_failure(persistent: Fetcher, server: Any) -> None:
    """Each response promises to keep the connection alive, and breaks the promise."""
    url = server.in_turn("/turns", *[OK] * 5)
    assert [persistent.fetch(url).body for _ in range(5)] == [b"image"] * 5
