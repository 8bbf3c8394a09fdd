"""Cancels requests: by name, by the caller's own token, at their deadline, or because their client has disconnected.

A cancelled request leaves before the next forward, or gives up waiting for its slot at once.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

from imagegen.api.errors import Cancelled, DeadlineExceeded, ImageGenError

_log = logging.getLogger(__name__)

_POLL_S = 0.02  # about one step of a fast model
_MAX_REMEMBERED_NAMES = 10_000


class CancelToken:
    """Says whether one request is cancelled. Safe from any thread.

    Args:
        names: by which the request can be cancelled.
        is_disconnected: asks whether the request's client has disconnected, many times a second and from another
            thread; None where nobody can tell.

    Attributes:
        names: as given.
        error: why the request is to end; None while it is not.
    """

    def __init__(self, names: frozenset[str] = frozenset(), is_disconnected: Callable[[], bool] | None = None) -> None:
        self.names = names
        self.is_disconnected = is_disconnected
        self.error: ImageGenError | None = None
        self._lock = threading.Lock()
        self._on_cancel: Callable[[], Any] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the request is to end."""
        return self.error is not None

    def cancel(self, error: ImageGenError | None = None) -> None:
        """Cancel the request; of no effect the second time.

        Args:
            error: what its client is told; None for `Cancelled`.
        """
        with self._lock:
            if self.error is not None:
                return
            self.error = error or Cancelled("the client cancelled the request")
            on_cancel = self._on_cancel
        if on_cancel is not None:
            on_cancel()

    def on_cancel(self, callback: Callable[[], Any] | None) -> None:
        """Have `callback` called by whoever cancels the request, at once if that has happened; None for nothing."""
        with self._lock:
            self._on_cancel = callback
            cancelled = self.cancelled
        if cancelled and callback is not None:
            callback()

    def check(self) -> bool:
        """Whether the request is cancelled or its client has disconnected; asks the client's connection."""
        return self.cancelled or (self.is_disconnected is not None and self.is_disconnected())


class Cancellation:
    """Knows all requests that have not ended and cancels those that are to end. Safe from any thread.

    Clocks and connections are looked at on a thread of its own: asking Triton whether a client has disconnected costs a
    round trip between processes, too much between two steps, and a step may take longer than a deadline leaves.

    Args:
        clock: as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: set[CancelToken] = set()
        self._deadlines_s: dict[CancelToken, float] = {}
        self._cancelled_s: OrderedDict[str, float] = OrderedDict()  # when each name was cancelled
        self._closed = threading.Event()
        self._has_open = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, token: CancelToken, entered_s: float = math.inf) -> None:
        """Take a new request, to be given back to `end`.

        Args:
            token: of the request; cancelled at once when one of its names was cancelled after `entered_s`.
            entered_s: when the request came to the server, on the clock; infinite for one that no earlier cancel meant.
        """
        with self._lock:
            earlier = any(entered_s <= self._cancelled_s[name] for name in token.names if name in self._cancelled_s)
            self._open.add(token)
            self._has_open.set()
            if token.is_disconnected is not None:
                self._start_watch()
        if earlier:
            token.cancel()

    def expire(self, token: CancelToken, deadline_s: float) -> None:
        """Cancel an open request at a moment on the clock."""
        with self._lock:
            if token in self._open:
                self._deadlines_s[token] = deadline_s
                self._start_watch()

    def cancel(self, name: str) -> bool:
        """Cancel every request of this name that came to the server before now, and no later one.

        Some of them may still wait in Triton's queue, out of our sight; so the time is remembered.

        Returns:
            whether one of them has come this far and not ended.
        """
        with self._lock:
            self._cancelled_s[name] = self._clock()
            self._cancelled_s.move_to_end(name)
            if len(self._cancelled_s) > _MAX_REMEMBERED_NAMES:
                self._cancelled_s.popitem(last=False)
            found = [token for token in self._open if name in token.names]
        for token in found:
            token.cancel()
        return bool(found)

    def cancel_all(self, error: ImageGenError, *, but: Collection[CancelToken]) -> None:
        """Cancel every request that has not ended, except some; their clients are told `error`."""
        with self._lock:
            found = [token for token in self._open if token not in but]
        for token in found:
            token.cancel(error)

    def end(self, token: CancelToken) -> None:
        """A request has ended; of no effect the second time."""
        with self._lock:
            self._open.discard(token)
            self._deadlines_s.pop(token, None)
            if not self._open and not self._closed.is_set():
                self._has_open.clear()

    def close(self) -> None:
        """Look at connections and deadlines no more."""
        with self._lock:
            self._closed.set()
            self._has_open.set()
        if self._thread is not None:
            self._thread.join()

    def _start_watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cancellation", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(_POLL_S):
            self._has_open.wait()  # an idle process is to be idle
            self._cancel_expired()
            self._cancel_disconnected()

    def _cancel_expired(self) -> None:
        now_s = self._clock()
        with self._lock:
            expired = [token for token, deadline_s in self._deadlines_s.items() if now_s > deadline_s]
            for token in expired:
                del self._deadlines_s[token]
        for token in expired:
            token.cancel(DeadlineExceeded("timeout_ms passed before the image was finished"))

    def _cancel_disconnected(self) -> None:
        # Not in the loop, whose variables would keep the last request until the next one comes.
        with self._lock:
            watched = [token for token in self._open if token.is_disconnected is not None and not token.cancelled]
        for token in watched:
            try:
                disconnected = token.check()
            except Exception:  # one request that cannot be asked must not end the watch of all
                _log.exception("whether a client has disconnected could not be asked")
                disconnected = False
            if disconnected:
                token.cancel()
