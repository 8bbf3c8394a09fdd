"""Requests that took the engine down more than once are refused for a while, instead of being tried again and again."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine.worker.messages import image_shapes

_MOST_ENDS = 2  # a process may end without its requests' fault, hardly twice with the same one
_FORGOTTEN_AFTER_S = 600.0
_MOST_REMEMBERED = 1000

Asked = tuple[ImageRequest, InputImages]
"""What a client asked for, with its input images. A seed that the server draws is no part of it."""


class PoisonList:
    """Remembers, by content, which requests were being generated when the engine ended. Safe from any thread.

    To be there is no proof: whoever is asked for often is there whenever something else kills the engine. So a request
    counts that was alone; or, among others, one with seeds of its own, which is the same again when its client repeats
    it, as long as no other has been there before as well. What succeeds is cleared.

    Args:
        clock: as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how often, and when last

    def note(self, held: Iterable[Asked]) -> None:
        """The engine has ended while it held these requests."""
        keys = {_key(asked): bool(asked[0].seeds) for asked in held}
        suspects = [key for key, is_determined in keys.items() if is_determined or len(keys) == 1]
        with self._lock:
            known = [key for key in suspects if self._count(key)]
            for key in suspects:
                ends = self._count(key) if len(known) > 1 else self._count(key) + 1
                self._ends.pop(key, None)
                self._ends[key] = (ends, self._clock())
            while len(self._ends) > _MOST_REMEMBERED:
                self._ends.popitem(last=False)

    def clear(self, asked: Asked) -> None:
        """A request has succeeded."""
        if self._ends:  # hardly ever, and a key costs a look at every pixel
            with self._lock:
                self._ends.pop(_key(asked), None)

    def check(self, asked: Asked) -> None:
        """Refuse what took the engine down before.

        Raises:
            InvalidArgument: twice, the last time less than ten minutes ago.
        """
        if not self._ends:
            return
        key = _key(asked)
        with self._lock:
            ends = self._count(key)
            left_s = self._ends[key][1] + _FORGOTTEN_AFTER_S - self._clock() if ends else 0.0
        if ends >= _MOST_ENDS:
            raise InvalidArgument(
                "prompt",
                f"this request was being generated {ends} times when the engine broke down; it is refused for another"
                f" {left_s:.0f} s",
            )

    def _count(self, key: bytes) -> int:
        """At how many ends it was there; none are remembered for longer than ten minutes."""
        ends, last_s = self._ends.get(key, (0, 0.0))
        return ends if self._clock() - last_s < _FORGOTTEN_AFTER_S else 0


def _key(asked: Asked) -> bytes:
    request, images = asked
    content = hashlib.blake2b(msgspec.msgpack.encode((request, image_shapes(images))), digest_size=16)
    for pixels in images.present():
        content.update(pixels.tobytes())
    return content.digest()
