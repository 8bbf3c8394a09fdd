"""Wakes Triton's queue when `execute` has returned, so that no request sleeps in it while slots are free.

With queue policies (priorities, `max_queue_size`) Triton's dynamic batcher waits until the instance is free before it
takes a request from its queue. On 24.10 it misses that moment now and then and looks again after 500 ms only: of 64
short requests sent at once, every third one started half a second late, and the last had its response after 7 s
instead of 0.8. (Seen in the server's stacks: the instance waits for work, the batcher for the instance, in
`DynamicBatchScheduler::WaitForPayloadSlotAvailable`.) A request that arrives while the instance is free wakes it. So
when `execute` has returned and is not called again at once, we send our own model an empty request, which gets an
empty response.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_QUIET_S = 0.003  # a batcher that is awake calls `execute` again well within this
_AGAIN_S = 0.01  # a waking request that sleeps in the queue itself is followed by another

_LOGGER = logging.getLogger(__name__)


class QueueWaker:
    """Sends empty requests when `execute` has returned and the queue may be asleep.

    Args:
        send: sends the model an empty request and waits for its response.
        max_pending: how many may wait at the same time, each on a thread here and one of Triton's.
    """

    def __init__(self, send: Callable[[], None], max_pending: int) -> None:
        self._send = send
        self._max_pending = max_pending
        self._lock = threading.Lock()
        self._executing = False
        self._owed = False  # a real request was executed since the last waking request
        self._pending = 0
        self._returned = threading.Event()
        self._closed = False
        self._senders = ThreadPoolExecutor(max_pending, thread_name_prefix="queue-waker")
        self._thread = threading.Thread(target=self._run, name="queue-waker", daemon=True)
        self._thread.start()

    def entered(self) -> None:
        """`execute` was called."""
        self._executing = True

    def returned(self, *, real: bool) -> None:
        """`execute` is about to return, from a real request or only from one of ours."""
        self._owed |= real
        self._executing = False
        self._returned.set()

    def close(self) -> None:
        """Send no more."""
        self._closed = True
        self._returned.set()
        self._thread.join()
        self._senders.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._closed:
            self._returned.wait(_AGAIN_S if self._pending or self._owed else None)
            self._returned.clear()
            if self._returned.wait(_QUIET_S) or self._executing:
                continue  # awake: the next return comes back here
            if self._closed:
                return
            if (self._owed or self._pending) and self._pending < self._max_pending:
                self._owed = False
                with self._lock:
                    self._pending += 1
                self._senders.submit(self._wake)

    def _wake(self) -> None:
        try:
            self._send()
        except Exception as error:  # without it requests are late, not lost
            self._owed = True  # a full queue refuses ours too, and may sleep all the same
            _LOGGER.debug("Triton's queue could not be woken: %s", error)
        finally:
            with self._lock:
                self._pending -= 1
