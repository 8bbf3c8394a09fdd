"""What many requests want at once is fetched once.

start(url) ─┬─ in the cache ──────────► done
            ├─ being fetched ─────────► the same Future
            └─ a thread fetches it ───► cache, and everyone who waits
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fetch import Fetched
from refusal import FetchFailed
from url_cache import UrlCache


class Downloads:
    """Fetches URLs in threads of its own, each URL once at a time. Safe from any thread.

    Nobody owns a download: who stops waiting for it leaves it to the others, and to the cache.

    Args:
        fetch: fetches a URL by a deadline on the clock of `time.monotonic`, or raises `Refused`.
        cache: where bodies are kept.
        threads: most URLs in work, waiting for another attempt included; more wait for a thread.
        timeout_s: longest time for a URL, from `start`.
        finished: called after each fetch with the seconds it took.
    """

    def __init__(
        self,
        fetch: Callable[[str, float], Fetched],
        cache: UrlCache,
        threads: int,
        timeout_s: float,
        finished: Callable[[float], None],
    ) -> None:
        self._fetch = fetch
        self._cache = cache
        self._timeout_s = timeout_s
        self._finished = finished
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        self._lock = threading.Lock()
        self._running: dict[str, Future[bytes]] = {}

    def start(self, url: str) -> Future[bytes]:
        """The body behind `url`, or `Refused`; others may wait for the same Future, so it is not to be cancelled."""
        with self._lock:
            running = self._running.get(url)
            if running is not None:
                return running
            kept = self._cache.get(url)
            if kept is not None:
                done: Future[bytes] = Future()
                done.set_result(kept)
                return done
            self._running[url] = running = self._pool.submit(self._run, url, time.monotonic() + self._timeout_s)
            return running

    def close(self) -> None:
        """Wait for what is being fetched. No `start` may follow."""
        self._pool.shutdown()

    def _run(self, url: str, deadline: float) -> bytes:
        started_s = time.monotonic()
        try:
            if started_s >= deadline:  # spent in line; whoever asked has given up
                raise FetchFailed("timed out")
            fetched = self._fetch(url, deadline)
            self._cache.put(url, fetched)
            return fetched.body
        finally:
            with self._lock:
                del self._running[url]  # after `put`, so that nobody in between fetches it again
            self._finished(time.monotonic() - started_s)
