"""One download for everyone who wants a URL at the same time, whoever stops waiting for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from imagegen.images.input.downloads import Downloads
from imagegen.images.input.errors import FetchFailed
from imagegen.images.input.fetch import Fetched
from imagegen.images.input.url_cache import UrlCache

PATIENCE_S = 30


class Host:
    """Answers each fetch when the test says so."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.answer = threading.Event()
        self.failure: Exception | None = None

    def fetch(self, url: str, deadline: float) -> Fetched:
        self.fetched.append(url)
        assert self.answer.wait(deadline - time.monotonic())
        if self.failure is not None:
            raise self.failure
        return Fetched(url.encode(), 60)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def downloads(host: Host) -> Iterator[Downloads]:
    """Without a cache, so that only what runs at the same time is shared."""
    downloads = Downloads(host.fetch, UrlCache(0), 4, PATIENCE_S, lambda seconds: None)
    yield downloads
    host.answer.set()
    downloads.close()


def test_a_hundred_that_want_one_url_at_once_cause_one_fetch(host: Host, downloads: Downloads) -> None:
    together = threading.Barrier(100)

    def ask(_: int) -> bytes:
        together.wait(PATIENCE_S)
        download = downloads.start("a")
        if together.wait(PATIENCE_S) == 0:  # all have asked
            host.answer.set()
        return download.result(PATIENCE_S)

    with ThreadPoolExecutor(100) as askers:
        assert set(askers.map(ask, range(100))) == {b"a"}
    assert host.fetched == ["a"]


def test_who_stops_waiting_does_not_fail_the_others(host: Host, downloads: Downloads) -> None:
    first, second = downloads.start("a"), downloads.start("a")
    with pytest.raises(FutureTimeoutError):
        first.result(0.01)
    host.answer.set()
    assert second.result(PATIENCE_S) == b"a"
    assert host.fetched == ["a"]


def test_a_failure_is_everyones_and_not_remembered(host: Host, downloads: Downloads) -> None:
    host.failure = FetchFailed("status 404")
    waiting = [downloads.start("a") for _ in range(3)]
    host.answer.set()
    for download in waiting:
        with pytest.raises(FetchFailed, match="status 404"):
            download.result(PATIENCE_S)
    host.failure = None
    assert downloads.start("a").result(PATIENCE_S) == b"a"
    assert host.fetched == ["a", "a"]


def test_urls_are_fetched_side_by_side(host: Host, downloads: Downloads) -> None:
    waiting = {url: downloads.start(url) for url in "abcd"}
    give_up_s = time.monotonic() + PATIENCE_S
    while len(host.fetched) < 4:
        assert time.monotonic() < give_up_s
        time.sleep(0.001)
    host.answer.set()
    assert {url: download.result(PATIENCE_S) for url, download in waiting.items()} == {u: u.encode() for u in "abcd"}


def test_without_a_cache_a_url_is_fetched_again_later(host: Host, downloads: Downloads) -> None:
    host.answer.set()
    for _ in range(3):
        assert downloads.start("a").result(PATIENCE_S) == b"a"
    assert host.fetched == ["a"] * 3


def test_with_a_cache_it_is_not(host: Host) -> None:
    host.answer.set()
    seconds: list[float] = []
    downloads = Downloads(host.fetch, UrlCache(1000), 1, PATIENCE_S, seconds.append)
    for _ in range(3):
        assert downloads.start("a").result(PATIENCE_S) == b"a"
    downloads.close()
    assert host.fetched == ["a"]
    assert len(seconds) == 1


def test_what_has_waited_too_long_for_a_thread_is_not_fetched(host: Host) -> None:
    """Else a backlog that nobody waits for any more would hold up those who come later."""
    timeout_s = 0.05

    def fetch_late(url: str, deadline: float) -> Fetched:
        host.answer.wait(PATIENCE_S)
        return host.fetch(url, deadline + PATIENCE_S)

    downloads = Downloads(fetch_late, UrlCache(0), 1, timeout_s, lambda seconds: None)
    running, late = downloads.start("a"), downloads.start("b")
    time.sleep(2 * timeout_s)
    host.answer.set()
    assert running.result(PATIENCE_S) == b"a"
    with pytest.raises(FetchFailed, match="timed out"):
        late.result(PATIENCE_S)
    downloads.close()
    assert host.fetched == ["a"]


class SlowHost:
    """Takes until `ready` to answer; a fetch that has no time for that times out."""

    def __init__(self, ready: float) -> None:
        self.ready = ready
        self.fetches = 0

    def fetch(self, url: str, deadline: float) -> Fetched:
        self.fetches += 1
        time.sleep(max(0.0, min(self.ready, deadline) - time.monotonic()))
        if time.monotonic() >= deadline:
            raise FetchFailed("timed out")
        return Fetched(url.encode(), 60)


def test_who_joins_late_has_as_much_time_as_the_first() -> None:
    timeout_s = 1.0
    host = SlowHost(time.monotonic() + 1.5 * timeout_s)
    downloads = Downloads(host.fetch, UrlCache(0), 4, timeout_s, lambda seconds: None)
    first = downloads.start("a")
    time.sleep(0.8 * timeout_s)
    late = [downloads.start("a") for _ in range(100)]
    with pytest.raises(FutureTimeoutError):
        first.result(0.2 * timeout_s)
    assert [download.result(PATIENCE_S) for download in late] == [b"a"] * 100
    assert host.fetches == 2
    downloads.close()


def test_a_download_ends_when_nobody_has_time_left() -> None:
    host = SlowHost(time.monotonic() + PATIENCE_S)
    seconds: list[float] = []
    downloads = Downloads(host.fetch, UrlCache(0), 1, 0.6, seconds.append)
    first = downloads.start("a")
    time.sleep(0.3)
    late = downloads.start("a")
    for download in (first, late):
        with pytest.raises(FetchFailed, match="timed out"):
            download.result(PATIENCE_S)
    downloads.close()
    assert host.fetches == 2
    assert 0.75 < seconds[0] < PATIENCE_S / 2


def test_another_failure_is_not_tried_again_for_who_joined(host: Host, downloads: Downloads) -> None:
    host.failure = FetchFailed("status 404")
    first = downloads.start("a")
    time.sleep(0.01)
    late = downloads.start("a")
    host.answer.set()
    for download in (first, late):
        with pytest.raises(FetchFailed, match="status 404"):
            download.result(PATIENCE_S)
    assert host.fetched == ["a"]
