"""What a device was asked to do, by the line of source that asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from tests.accelerator.source_line import source_line


class Kind(Enum):
    """What is counted."""

    LAUNCH = "launch"
    """Work that is queued: a kernel. Views and allocations are none."""
    SYNCHRONISATION = "synchronisation"
    """The host waits until all that was queued is done: for a value, for a copy without `non_blocking`."""
    TO_DEVICE = "copy to the device"
    TO_HOST = "copy to the host"


class Counters:
    """Adds up by kind, by section (a denoiser's forward, or all else) and by line. Of one thread at a time."""

    FORWARD, OUTSIDE = "forward", "outside"

    def __init__(self) -> None:
        self._counts: Counter[tuple[Kind, str, str]] = Counter()
        self._section = self.OUTSIDE

    def count(self, kind: Kind) -> None:
        """Count one of `kind` for the line that runs."""
        self._counts[kind, self._section, source_line()] += 1

    def reset(self) -> None:
        """Forget all."""
        self._counts.clear()

    def total(self, kind: Kind, section: str | None = OUTSIDE) -> int:
        """How many of `kind` in a section; None for all sections."""
        return sum(self.by_line(kind, section).values())

    def by_line(self, kind: Kind, section: str | None = OUTSIDE) -> Counter[str]:
        """How many of `kind`, by line of source; section None for all sections."""
        found: Counter[str] = Counter()
        for (counted, where, line), number in self._counts.items():
            if counted is kind and section in (None, where):
                found[line] += number
        return found

    @contextmanager
    def forwards_of(self, module: Any) -> Iterator[None]:
        """A context in which what a module's forward does is counted in the section FORWARD."""

        def enter(*_: Any) -> None:
            self._section = self.FORWARD

        def leave(*_: Any) -> None:
            self._section = self.OUTSIDE

        hooks = [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
