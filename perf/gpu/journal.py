"""What has been measured, written down point by point: a run that is cut off is gone on with and not repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

OUT_OF_MEMORY = "out of memory"


class Journal:
    """Points by key, in a file of one JSON object a line.

    Args:
        file: of earlier runs, or a new one; its folder exists.
        seconds: after which no further point is measured.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        self._file = file
        self._end_s = time.monotonic() + seconds
        self.points: dict[str, dict[str, Any]] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            try:
                point = json.loads(line)
            except ValueError:  # the machine was taken away while it was written
                continue
            self.points[point.pop("key")] = point

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self._end_s

    def misses(self, key: str) -> bool:
        """Whether a point is to be measured: it is not known, or failed, and there is time."""
        known = self.points.get(key)
        return not self.is_over and (known is None or known.get("error", OUT_OF_MEMORY) != OUT_OF_MEMORY)

    def measure(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> bool:
        """Measure a point, unless it is known or time is over; what goes wrong is its outcome.

        Args:
            key: words with slashes.
            measure: its values, for JSON.

        Returns:
            False where there was no memory for it, now or earlier.
        """
        if self.misses(key):
            started_s = time.monotonic()
            try:
                values: Mapping[str, Any] = measure()
            except torch.OutOfMemoryError:
                values = {"error": OUT_OF_MEMORY}
            except Exception as error:
                values = {"error": f"{type(error).__name__}: {error}"[:300]}
            point = {**values, "took_s": round(time.monotonic() - started_s, 2)}
            self.points[key] = point
            with self._file.open("a") as file:
                file.write(json.dumps({"key": key, **point}) + "\n")
        return self.points.get(key, {}).get("error") != OUT_OF_MEMORY

    def of(self, part: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        """The points of a part that did not fail: the rest of the key's words, and the values."""
        for key, point in self.points.items():
            first, *rest = key.split("/")
            if first == part and "error" not in point:
                yield tuple(rest), point

    def faults(self) -> list[str]:
        """What failed, and not for want of memory."""
        return [
            f"{key}: {point['error']}"
            for key, point in self.points.items()
            if point.get("error", OUT_OF_MEMORY) != OUT_OF_MEMORY
        ]
