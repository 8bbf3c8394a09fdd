"""Encodes the images of a request at the same time, on a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class EncodingPool:
    """Threads that help the caller of `map`, which may be any thread.

    The caller works too, and takes back what no helper has begun. So a request never waits for another one's images:
    while all helpers are busy it encodes its own alone. Encoders let go of the GIL.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")

    def map(self, encode: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`encode` of each item, in order. Raises what `encode` raised for the first item that failed."""
        tasks = [self._pool.submit(encode, item) for item in items[1:]]
        try:
            taken = {0: encode(items[0])}
            # From the end: helpers begin at the front.
            for index in range(len(items) - 1, 0, -1):
                if tasks[index - 1].cancel():
                    taken[index] = encode(items[index])
            return [taken[index] if index in taken else tasks[index - 1].result() for index in range(len(items))]
        finally:
            # Nobody may still be reading an item when the caller goes on: its memory can be Triton's.
            wait([task for task in tasks if not task.cancel()])

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)
