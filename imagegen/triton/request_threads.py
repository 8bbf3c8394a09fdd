"""Threads of a model that handles several requests at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imagegen.triton.triton_request import TritonRequest


class RequestThreads:
    """Serves each request on a thread of its own, a bounded number at a time.

    `run` blocks while every thread is busy, so that the line of waiting requests is Triton's own.

    Args:
        threads: how many.
        serve: handles one request and responds, whatever happens.
    """

    def __init__(self, threads: int, serve: Callable[[TritonRequest], None]) -> None:
        self._serve = serve
        self._free = threading.BoundedSemaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")

    def run(self, request: Any) -> None:
        """Have one of Triton's requests served."""
        taken = TritonRequest(request)
        self._free.acquire()
        self._pool.submit(self._serve_and_free, taken)

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    def _serve_and_free(self, request: TritonRequest) -> None:
        try:
            self._serve(request)
        finally:
            self._free.release()
