"""What is seen of an engine while it works: its forwards, the reading of adapters, and what its stores hold."""

from __future__ import annotations

import ctypes
import gc
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from imagegen.engine import Engine
from imagegen.engine.adapters.adapter import Adapter
from imagegen.pipelines.denoisers import denoisers_of

_SAMPLE_S = 0.005

Interval = tuple[float, float]
"""Begin and end, on the clock of `time.perf_counter`."""


@dataclass(frozen=True)
class Gaps:
    """Times in milliseconds; NaN where there was none.

    Attributes:
        longest_forward: of the denoiser.
        longest_reading, longest_other: from one forward to the next, while adapters were read and while none was.
        forwards, readings: how many there were.
    """

    longest_forward: float
    longest_reading: float
    longest_other: float
    forwards: int
    readings: int


def gaps(forwards: Sequence[Interval], readings: Sequence[Interval]) -> Gaps:
    """The longest of what came after each other."""
    between = [(end, begin) for (_, end), (begin, _) in itertools.pairwise(forwards)]
    during = {gap: overlaps(gap, readings) for gap in between}

    def longest_ms(intervals: Sequence[Interval]) -> float:
        return max(((end - begin) * 1000 for begin, end in intervals), default=float("nan"))

    return Gaps(
        longest_ms(forwards),
        longest_ms([gap for gap in between if during[gap]]),
        longest_ms([gap for gap in between if not during[gap]]),
        len(forwards),
        len(readings),
    )


def overlaps(interval: Interval, others: Sequence[Interval]) -> bool:
    """Whether one of them has a moment in common with it."""
    return any(begin < interval[1] and interval[0] < end for begin, end in others)


class Watch:
    """Notes each forward of an engine's denoisers, and each file of an adapter that it reads.

    Args:
        engine: watched from now on.

    Attributes:
        forwards, readings: in the order of their ends.
    """

    def __init__(self, engine: Engine) -> None:
        self.forwards: list[Interval] = []
        self.readings: list[Interval] = []
        self._began_s = 0.0
        for module in denoisers_of(next(iter(engine.pipelines.tasks.values())).pipeline).values():
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end)
        # Nothing public says when a file is read.
        host = engine._adapters._host
        self._read_file = host._read
        host._read = self._read

    def clear(self) -> None:
        """Forget what was seen."""
        self.forwards.clear()
        self.readings.clear()

    def _begin(self, *_: Any) -> None:
        self._began_s = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.forwards.append((self._began_s, time.perf_counter()))

    def _read(self, file: Path) -> Adapter:
        began_s = time.perf_counter()
        try:
            return self._read_file(file)
        finally:
            self.readings.append((began_s, time.perf_counter()))


@dataclass
class Held:
    """The most that an engine's stores of adapters held.

    Attributes:
        adapters, device_bytes: on the device.
        host_bytes: in the host's memory.
        samples: how often that was looked at.
    """

    adapters: int = 0
    device_bytes: int = 0
    host_bytes: int = 0
    samples: int = 0


@contextmanager
def sampled(engine: Engine) -> Iterator[Held]:
    """Look at an engine's stores of adapters many times a second, on a thread."""
    held, done = Held(), threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_S):
            found = engine._adapters.statistics()  # in the metrics a few times a second, which is too seldom
            held.adapters = max(held.adapters, found["lora_device"].entries)
            held.device_bytes = max(held.device_bytes, found["lora_device"].bytes)
            held.host_bytes = max(held.host_bytes, found["lora_host"].bytes)
            held.samples += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()


def resident_bytes() -> int:
    """Of this process, once all that is free has been given back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's
        trim(0)
    return int(psutil.Process().memory_info().rss)
