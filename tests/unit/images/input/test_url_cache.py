"""The cache keeps to its budget and to lifetimes, by exact key."""

from __future__ import annotations

from imagegen.images.input.fetch import Fetched
from imagegen.images.input.url_cache import ENTRY_BYTES, UrlCache
from imagegen.metrics import CacheStatistics


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_bodies_come_back_by_exact_key_until_their_lifetime_ends() -> None:
    clock = Clock()
    cache = UrlCache(1000, clock)
    fetched = Fetched(b"body", 10, "image/png")
    cache.put("http://a/X", fetched)
    assert cache.get("http://a/X") == fetched
    for other in ("http://a/x", "http://A/X", "http://a/X?", "http://a/X#", "https://a/X"):
        assert cache.get(other) is None
    clock.now_s += 9.9
    assert cache.get("http://a/X") == fetched
    clock.now_s += 0.1
    assert cache.get("http://a/X") is None
    assert cache.statistics == CacheStatistics(hits=2, misses=6, evictions=0, bytes=0, entries=0)


def room(*body_bytes: int) -> int:
    """What bodies of these sizes take, with URLs of one letter."""
    return sum(size + 1 + ENTRY_BYTES for size in body_bytes)


def test_the_least_recently_used_leave_for_want_of_room() -> None:
    cache = UrlCache(room(3, 3, 4))
    for url in "abc":
        cache.put(url, Fetched(url.encode() * 3, 10))
    cache.get("a")
    cache.put("d", Fetched(b"dddd", 10))
    assert [url for url in "abcd" if cache.get(url)] == ["a", "c", "d"]
    assert cache.statistics.evictions == 1
    assert cache.statistics.bytes == room(3, 3, 4)


def test_a_body_is_replaced_and_counted_once() -> None:
    cache = UrlCache(1000)
    for body in (b"old", b"newer"):
        cache.put("a", Fetched(body, 10))
    assert cache.get("a") == Fetched(b"newer", 10)
    assert cache.statistics.bytes == room(5)


def test_what_is_larger_than_the_cache_or_without_lifetime_is_not_kept() -> None:
    cache = UrlCache(room(10))
    cache.put("a", Fetched(bytes(10), 10))
    cache.put("b", Fetched(bytes(11), 10))
    cache.put("c", Fetched(bytes(1), 0))
    assert [url for url in "abc" if cache.get(url)] == ["a"]


def test_0_turns_it_off() -> None:
    cache = UrlCache(0)
    cache.put("a", Fetched(b"", 10))
    assert cache.get("a") is None
    assert cache.statistics == CacheStatistics(hits=0, misses=0, evictions=0, bytes=0, entries=0)


def test_tiny_bodies_under_long_urls_do_not_outgrow_the_budget() -> None:
    cache = UrlCache(100_000)
    for index in range(100):
        cache.put(f"{index:08000}", Fetched(b"", 10))
    assert cache.statistics.evictions > 80
    assert cache.statistics.bytes <= 100_000
