"""An event loop whose time goes on to the next timer at once, for tests of long waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen: everything waits and no timer is set"
            self.now_s += max(0.0, timeout)
        return ready


def run_in_virtual_time(work: Coroutine[Any, Any, None]) -> float:
    """Do `work`, which talks to nothing outside this process; the seconds that it took, of which none really passed."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work)
    return selector.now_s
