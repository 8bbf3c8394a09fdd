"""One download for all requests that need a URL at the same time, whichever of them stops waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from imagegen.images.input.downloads import Downloads
from imagegen.images.input.errors import FetchFailed
from imagegen.images.input.fetch import Fetched
from imagegen.images.input.url_cache import UrlCache

HOLD_S = 30
TIMEOUT_S = 10.0


class Clock:
    """Seconds that pass when the test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Host:
    """Responds to each fetch when the test says so; one whose deadline has passed by then times out.

    Attributes:
        released: set to let all fetches respond.
        failure: raised instead of a response.
        before_response: called in each fetch with its number, from 1, when it is released.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = threading.Semaphore(0)
        self.fetched: list[str] = []
        self.released = threading.Event()
        self.failure: Exception | None = None
        self.before_response: Callable[[int], None] = lambda number: None

    def fetch(self, url: str, deadline: float) -> Fetched:
        self.fetched.append(url)
        number = len(self.fetched)
        self._begun.release()
        assert self.released.wait(HOLD_S)
        self.before_response(number)
        if self._clock() >= deadline:
            raise FetchFailed("timed out")
        if self.failure is not None:
            raise self.failure
        return Fetched(url.encode(), 60)

    def wait_for_fetch(self) -> None:
        """Return when one more fetch has begun."""
        assert self._begun.acquire(timeout=HOLD_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(clock: Clock) -> Host:
    return Host(clock)


@pytest.fixture
def seconds() -> list[float]:
    """How long each finished download took."""
    return []


@pytest.fixture
def new(host: Host, clock: Clock, seconds: list[float]) -> Iterator[Callable[..., Downloads]]:
    """Makes downloads without a cache unless one is given, so that only what runs at the same time is shared."""
    made = []

    def new(threads: int = 4, cache_bytes: int = 0) -> Downloads:
        made.append(Downloads(host.fetch, UrlCache(cache_bytes), threads, TIMEOUT_S, seconds.append, clock))
        return made[-1]

    yield new
    host.released.set()
    for downloads in made:
        downloads.close()


New = Callable[..., Downloads]


def test_a_hundred_requests_for_one_url_cause_one_fetch(host: Host, new: New) -> None:
    downloads = new()
    together = threading.Barrier(100)

    def load(_: int) -> Fetched:
        together.wait(HOLD_S)
        download = downloads.start("a")
        if together.wait(HOLD_S) == 0:  # all have started it
            host.released.set()
        return download.result(HOLD_S)

    with ThreadPoolExecutor(100) as callers:
        assert {fetched.body for fetched in callers.map(load, range(100))} == {b"a"}
    assert host.fetched == ["a"]


def test_a_caller_that_stops_waiting_does_not_fail_the_others(host: Host, new: New) -> None:
    downloads = new()
    first, second = downloads.start("a"), downloads.start("a")
    with pytest.raises(FutureTimeoutError):
        first.result(0.01)
    host.released.set()
    assert second.result(HOLD_S).body == b"a"
    assert host.fetched == ["a"]


def test_a_failure_reaches_all_callers_and_is_not_remembered(host: Host, new: New) -> None:
    downloads = new()
    host.failure = FetchFailed("status 404")
    waiting = [downloads.start("a") for _ in range(3)]
    host.released.set()
    for download in waiting:
        with pytest.raises(FetchFailed, match="status 404"):
            download.result(HOLD_S)
    host.failure = None
    assert downloads.start("a").result(HOLD_S).body == b"a"
    assert host.fetched == ["a", "a"]


def test_urls_are_fetched_side_by_side(host: Host, new: New) -> None:
    """No fetch responds before all four have begun."""
    downloads = new()
    waiting = {url: downloads.start(url) for url in "abcd"}
    for _ in waiting:
        host.wait_for_fetch()
    host.released.set()
    assert {url: download.result(HOLD_S).body for url, download in waiting.items()} == {u: u.encode() for u in "abcd"}


def test_without_a_cache_a_url_is_fetched_again_later(host: Host, new: New) -> None:
    downloads = new()
    host.released.set()
    for _ in range(3):
        assert downloads.start("a").result(HOLD_S).body == b"a"
    assert host.fetched == ["a"] * 3


def test_with_a_cache_it_is_not(host: Host, new: New, seconds: list[float]) -> None:
    downloads = new(cache_bytes=1000)
    host.released.set()
    for _ in range(3):
        assert downloads.start("a").result(HOLD_S).body == b"a"
    downloads.close()
    assert host.fetched == ["a"]
    assert len(seconds) == 1


def test_what_has_waited_too_long_for_a_thread_is_not_fetched(host: Host, new: New, clock: Clock) -> None:
    """Else a backlog that no request waits for any more would hold up later ones."""
    downloads = new(threads=1)
    waiting = [downloads.start(url) for url in "ab"]
    host.wait_for_fetch()
    clock.now_s = TIMEOUT_S
    host.released.set()
    for download in waiting:
        with pytest.raises(FetchFailed, match="timed out"):
            download.result(HOLD_S)
    assert host.fetched == ["a"]


def test_a_late_caller_has_as_much_time_as_the_first(host: Host, new: New, clock: Clock) -> None:
    downloads = new()
    first = downloads.start("a")
    host.wait_for_fetch()
    clock.now_s = 0.8 * TIMEOUT_S
    late = [downloads.start("a") for _ in range(100)]
    clock.now_s = 1.2 * TIMEOUT_S  # the fetch times out; for the late callers there is another one
    host.released.set()
    assert [download.result(HOLD_S).body for download in [first, *late]] == [b"a"] * 101
    assert host.fetched == ["a", "a"]


def test_a_download_ends_when_no_caller_has_time_left(host: Host, new: New, clock: Clock, seconds: list[float]) -> None:
    downloads = new()
    first = downloads.start("a")
    host.wait_for_fetch()
    clock.now_s = 0.5 * TIMEOUT_S
    late = downloads.start("a")

    def take_too_long(number: int) -> None:
        clock.now_s = {1: 1.0, 2: 1.5}[number] * TIMEOUT_S  # each time up to the deadline

    host.before_response = take_too_long
    host.released.set()
    for download in (first, late):
        with pytest.raises(FetchFailed, match="timed out"):
            download.result(HOLD_S)
    downloads.close()
    assert host.fetched == ["a", "a"]
    assert seconds == [1.5 * TIMEOUT_S]


def test_another_failure_is_not_tried_again_for_a_late_caller(host: Host, new: New, clock: Clock) -> None:
    downloads = new()
    host.failure = FetchFailed("status 404")
    first = downloads.start("a")
    host.wait_for_fetch()
    clock.now_s = 1.0
    late = downloads.start("a")
    host.released.set()
    for download in (first, late):
        with pytest.raises(FetchFailed, match="status 404"):
            download.result(HOLD_S)
    assert host.fetched == ["a"]


def test_urls_of_one_meaning_share_what_is_kept_but_no_fetch(host: Host, new: New) -> None:
    """A host that checks a signature may refuse one spelling, and what it refused must not reach the other."""
    downloads = new(cache_bytes=10_000)
    spellings = ["http://a/%7Eb?c", "HTTP://A:80/~b?c", "http://a/%7eb?c#d"]
    waiting = [downloads.start(url) for url in spellings]
    for _ in waiting:
        host.wait_for_fetch()
    host.released.set()
    assert [download.result(HOLD_S).body for download in waiting] == [url.encode() for url in spellings]
    kept = {downloads.start(url).result(HOLD_S).body for url in spellings}
    assert len(kept) == 1
    assert len(host.fetched) == 3
    assert downloads.start("http://a/%7Eb?%63%2F").result(HOLD_S).body == b"http://a/%7Eb?%63%2F"
    assert downloads.start("http://a/%7Eb?%63/").result(HOLD_S).body == b"http://a/%7Eb?%63/"
    assert len(host.fetched) == 5
