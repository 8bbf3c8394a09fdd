"""What a command that takes long is doing: one line that is rewritten on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable
from typing import TextIO

_COLUMNS = 80  # of a terminal that does not say how wide it is
_CLEAR = "\r\x1b[K"  # to the start of the line, and erase it


class StatusLine:
    """Tells a stream what goes on.

    Args:
        name: of the command; begins each line.
        stream: usually the standard error.
        clock: seconds that only go forward.
    """

    def __init__(self, name: str, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._stream = stream
        self._clock = clock
        self._started_s = clock()
        self._rewrites = stream.isatty()
        self._now = ""
        self._shown = ""

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._erase()
        self._write(f"{self._name}: {text}\n")

    def now(self, text: str) -> None:
        """Say what goes on from here on: in the line that is rewritten, or, in a log, in a line that stays."""
        if not self._rewrites:
            self.say(text)
            return
        self._now = text
        self.tick()

    def tick(self) -> None:
        """Bring the seconds in the line up to date; to be called several times a second, of no effect in a log."""
        if not self._rewrites or not self._now:
            return
        seconds = f" … {self._clock() - self._started_s:.0f} s"
        # A line that is longer than the terminal is wide could not be erased.
        line = _cut(f"{self._name}: {self._now}", self._columns() - 1 - len(seconds)) + seconds
        if line != self._shown:
            self._shown = line
            self._write(_CLEAR + line)

    def clear(self) -> None:
        """End the line: nothing is left of it."""
        self._now = ""
        self._erase()

    def _erase(self) -> None:
        if self._shown:
            self._shown = ""
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except OSError:
            return _COLUMNS


def _cut(text: str, columns: int) -> str:
    """As much of a text as a terminal shows in so many columns; what it would act upon is left out."""
    shown = ""
    for character in text:
        category = unicodedata.category(character)
        if category.startswith("C"):  # a line break, an escape
            continue
        if category not in ("Mn", "Me"):  # those stand on the character before
            columns -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns < 0:
            break
        shown += character
    return shown
