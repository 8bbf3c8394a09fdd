"""Fetches a URL that many requests need at the same time only once.

start(url) ─┬─ in the cache ──────────► done
            ├─ being fetched ─────────► the same Future, with the time of the last caller
            └─ a thread fetches it ───► cache, and all callers that wait
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from imagegen.images.input.errors import FetchFailed
from imagegen.images.input.fetch import Fetched
from imagegen.images.input.remote_url import cache_key
from imagegen.images.input.url_cache import UrlCache


@dataclass
class _Download:
    """A URL being fetched. `deadline` is the latest of its callers'; `result` is set before anyone sees the object."""

    deadline: float
    result: Future[Fetched] = field(init=False)


class Downloads:
    """Fetches URLs in threads of its own, each URL once at a time. Safe from any thread.

    Nobody owns a download: a caller that stops waiting for it leaves it to the others, and to the cache. A fetch that
    ran out of time while some caller still has some is begun again, once for all of them.

    Args:
        fetch: fetches a URL by a deadline, or raises `ImageError`.
        cache: where bodies are kept.
        threads: most URLs being fetched, those waiting for another attempt included; more wait for a thread.
        timeout_s: longest time for a URL, from the last `start` of those that wait for it.
        finished: called after each download with the seconds it took.
        clock: seconds, on the clock of the deadlines.
    """

    def __init__(
        self,
        fetch: Callable[[str, float], Fetched],
        cache: UrlCache,
        threads: int,
        timeout_s: float,
        finished: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._cache = cache
        self._timeout_s = timeout_s
        self._finished = finished
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        self._lock = threading.Lock()
        self._running: dict[str, _Download] = {}

    def start(self, url: str) -> Future[Fetched]:
        """What is behind `url`, or `ImageError`; others may wait for the same Future, so it is not to be cancelled.

        What is kept counts for all URLs of the same meaning. A fetch is shared by those of the same spelling alone: a
        server that checks a signature may refuse the others.
        """
        with self._lock:
            deadline = self._clock() + self._timeout_s
            running = self._running.get(url)
            if running is not None:
                running.deadline = deadline
                return running.result
            kept = self._cache.get(cache_key(url))
            if kept is not None:
                done: Future[Fetched] = Future()
                done.set_result(kept)
                return done
            self._running[url] = started = _Download(deadline)
            started.result = self._pool.submit(self._run, url, started)
            return started.result

    def close(self) -> None:
        """Wait for what is being fetched. No `start` may follow."""
        self._pool.shutdown()

    def _run(self, url: str, download: _Download) -> Fetched:
        started_s = self._clock()
        try:
            while True:
                deadline = download.deadline
                try:
                    return self._fetch_by(deadline, url)
                except FetchFailed:
                    if not self._has_more_time(url, download, deadline):
                        raise
        finally:
            with self._lock:
                self._forget(url, download)  # after it is in the cache, or a caller in between would fetch it again
            self._finished(self._clock() - started_s)

    def _fetch_by(self, deadline: float, url: str) -> Fetched:
        if self._clock() >= deadline:  # spent waiting for a thread; the callers have stopped waiting
            raise FetchFailed("timed out")
        fetched = self._fetch(url, deadline)
        self._cache.put(cache_key(url), fetched)
        return fetched

    def _has_more_time(self, url: str, download: _Download, spent: float) -> bool:
        """Whether a fetch only ran out of time, and some caller has more; if not, no caller can join it any more."""
        with self._lock:
            if spent <= self._clock() < download.deadline:
                return True
            self._forget(url, download)
            return False

    def _forget(self, url: str, download: _Download) -> None:
        if self._running.get(url) is download:
            del self._running[url]
