"""Files of adapters that are read beside everything else, each once for all requests that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from imagegen.api.errors import Unavailable
from imagegen.engine.adapters.host_adapters import HostAdapter

_THREADS = 2  # one that downloads must not keep all others waiting


@dataclass(eq=False)
class Reading:
    """What one request waits for.

    Attributes:
        missing: where the adapters lie that are not there yet.
        done: called once all of them are there, on a reading thread.
        failed: called instead, with where it lies and why, for the first that cannot be read.
        found: what has been read, by where it lies.
    """

    missing: set[str]
    done: Callable[[], None]
    failed: Callable[[str, BaseException], None]
    found: dict[str, HostAdapter] = field(default_factory=dict, init=False)


class AdapterReads:
    """Reads adapters on threads of its own. Safe from any thread.

    Args:
        read: reads the adapter that lies somewhere; AdapterError says that it cannot.
    """

    def __init__(self, read: Callable[[str], HostAdapter]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Reading]] = {}  # for each file that is being read, or in line for it
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="adapters")
        self._is_closed = False

    def begin(self, reading: Reading) -> None:
        """Read what a request misses; then exactly one of `done` and `failed` is called, unless it is withdrawn.

        Raises:
            Unavailable: nothing is read any more.
        """
        with self._lock:
            if self._is_closed:
                raise Unavailable("the server is shutting down")
            for where in sorted(reading.missing):
                if where in self._waiting:
                    self._waiting[where].add(reading)
                else:
                    self._waiting[where] = {reading}
                    self._threads.submit(self._read_for_all, where)

    def withdraw(self, reading: Reading) -> bool:
        """Have a request wait no more, for which nothing is called then; false for one that does not wait."""
        with self._lock:
            return self._take_away(reading)

    def close(self) -> None:
        """Read nothing more. A file that is being read is not waited for, and nobody is told of it."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read_for_all(self, where: str) -> None:
        with self._lock:
            if not self._waiting.get(where):  # all have been cancelled
                self._waiting.pop(where, None)
                return
        adapter, problem = None, None
        try:
            adapter = self._read(where)
        except BaseException as error:  # each request gets a response, whatever happens
            problem = error
        for reading in self._ended(where, adapter):
            if problem is None:
                reading.done()
            else:
                reading.failed(where, problem)

    def _ended(self, where: str, adapter: HostAdapter | None) -> list[Reading]:
        """Those that wait no more, now that a file was read: who misses nothing else, or all where it could not be."""
        ended = []
        with self._lock:
            for reading in self._waiting.pop(where, ()):
                if adapter is not None:
                    reading.found[where] = adapter
                    reading.missing.discard(where)
                if adapter is None or not reading.missing:
                    self._take_away(reading)
                    ended.append(reading)
        return ended

    def _take_away(self, reading: Reading) -> bool:
        files = [readings for readings in self._waiting.values() if reading in readings]
        for readings in files:
            readings.discard(reading)
        return bool(files)
