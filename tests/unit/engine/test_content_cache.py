"""The cache keeps what was used last, within its bytes, and counts what happens."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.content_cache import ContentCache
from imagegen.metrics import CacheStatistics


def test_the_least_recently_used_leaves_first() -> None:
    cache = ContentCache(30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert cache.statistics == CacheStatistics(hits=4, misses=1, evictions=1, bytes=30, entries=3)


def test_a_value_larger_than_the_cache_is_not_kept_and_pushes_nothing_out() -> None:
    cache = ContentCache(30)
    cache.put("a", "A", 30)
    cache.put("b", "B", 31)
    assert cache.get("a") == "A"
    assert cache.get("b") is None


def test_replacing_a_value_frees_its_bytes() -> None:
    cache = ContentCache(30)
    cache.put("a", "A", 20)
    cache.put("a", "B", 25)
    assert cache.get("a") == "B"
    assert cache.statistics.bytes == 25


def test_clearing_keeps_the_counters() -> None:
    cache = ContentCache(30)
    cache.put("a", "A", 20)
    cache.get("a")
    cache.clear()
    assert cache.statistics == CacheStatistics(hits=1, misses=0, evictions=0, bytes=0, entries=0)


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60))))
def test_bytes_stay_within_the_budget(max_bytes: int, puts: list[tuple[int, int]]) -> None:
    cache = ContentCache(max_bytes)
    sizes: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, key, size)
        if size <= max_bytes:
            sizes[key] = size
    held = [key for key in sizes if cache.get(key) is not None]
    assert cache.statistics.bytes == sum(sizes[key] for key in held) <= max_bytes
    assert cache.statistics.entries == len(held)


def test_many_threads_leave_it_consistent() -> None:
    cache = ContentCache(50)

    def work(offset: int) -> None:
        for number in range(2000):
            key = (number * 7 + offset) % 13
            value = cache.get(key)
            assert value in (None, key + 1)
            cache.put(key, key + 1, 10)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statistics = cache.statistics
    assert statistics.hits + statistics.misses == 8000
    assert (statistics.bytes, statistics.entries) == (50, 5)


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes: -1; 0"):
        ContentCache(-1)
