"""Ready means that an image was really generated lately: by anybody's request, else by a tiny one of our own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing

from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.probe import probe_values
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import Completed, TritonImages
from imagegen_client import ImageGenerationError, InvalidArgument, ServerUnreachable

_log = logging.getLogger(__name__)

_RETRY_S = 1.0  # while not ready
_MOST_PROBE_STEPS = 64
_FIRST_SILENCE_S = 10.0  # the streaming model repeats its progress every second


class Health:
    """Knows when the last image was generated, and generates one when that is too long ago.

    Args:
        triton: generates.
        settings: intervals and the size of the probe.
        metrics: told about readiness.
        clock: seconds.
    """

    def __init__(
        self,
        triton: TritonImages,
        settings: Settings,
        metrics: FrontendMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._triton = triton
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._last_s: float | None = None
        self._probe_steps = settings.probe_steps
        self._draining = False
        self._hurry = asyncio.Event()

    def generated(self) -> None:
        """An image was generated."""
        self._last_s = self._clock()

    def lost(self) -> None:
        """The server cannot be reached: what it generated before proves nothing."""
        self._last_s = None
        self._hurry.set()

    def drain(self) -> None:
        """No longer ready, whatever is generated."""
        self._draining = True

    def problem(self) -> str | None:
        """Why the server is not ready; None when it is."""
        if self._draining:
            return "shutting down"
        quiet_s = self._quiet_s()
        if quiet_s is None:
            return "no image has been generated yet, or not since the server was lost"
        if quiet_s > self._settings.ready_within_s:
            return f"no image has been generated for {self._settings.ready_within_s:g} s"
        return None

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            quiet_s = self._quiet_s()
            if quiet_s is None or quiet_s >= self._settings.probe_interval_s:
                await self.probe()
            self._metrics.ready.set(self.problem() is None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._wait_s())
                await asyncio.sleep(_RETRY_S)
            self._hurry.clear()

    async def probe(self) -> None:
        """Generate a tiny image, of a task that the model does. It ends within `ready_within_s`; a failure is logged.

        As long as no image has been generated it also ends when there was no event for `_FIRST_SILENCE_S`: a server
        that may have died while it started is not waited for as long as one that has proved to work, and one that is
        slow shows that it is alive. (A diffusion process that died alone is not silent, as the streaming model goes on
        repeating its progress; there a supervisor ends the server, and with it the probe.)

        A connection may lead to a server that has died: after a probe that was given up, the next ones, and all later
        requests, take a new one.
        """
        request_id = f"probe-{uuid.uuid4().hex}"
        now_s = asyncio.get_running_loop().time
        longest_s = self._settings.ready_within_s
        silence_s = longest_s if self._last_s is not None else min(_FIRST_SILENCE_S, longest_s)
        begun_s = now_s()
        deadline = asyncio.timeout_at(begun_s + silence_s)
        try:
            async with deadline:
                values = probe_values(await self._triton.describe(), self._probe_steps, self._settings.probe_size)
                async with aclosing(self._triton.events(values, 0, request_id, progress=True)) as events:
                    async for event in events:
                        deadline.reschedule(min(now_s() + silence_s, begun_s + longest_s))
                        if isinstance(event, Completed):
                            self.generated()
        except ImageGenerationError as error:
            if isinstance(error, ServerUnreachable):
                self._last_s = None
            elif isinstance(error, InvalidArgument) and error.field == "num_inference_steps":
                # Some schedulers end in no image after one step; the next probe takes another number.
                self._probe_steps = self._probe_steps % _MOST_PROBE_STEPS + 1
            _log.warning("probe failed", extra={"request_id": request_id, "reason": str(error)})
        except TimeoutError:
            self._triton.reconnect()
            is_silent = deadline.when() != begun_s + longest_s
            reason = f"no event for {silence_s:g} s" if is_silent else f"no image within {longest_s:g} s"
            _log.warning("probe failed", extra={"request_id": request_id, "reason": reason})
        except Exception:  # whatever it is, the next probe is due
            _log.exception("probe failed", extra={"request_id": request_id})

    def _quiet_s(self) -> float | None:
        """Seconds since the last image; None where there is none."""
        return None if self._last_s is None else self._clock() - self._last_s

    def _wait_s(self) -> float:
        """Seconds until a probe may be due."""
        quiet_s = self._quiet_s()
        if quiet_s is None or self.problem() is not None:
            return _RETRY_S
        return max(_RETRY_S, self._settings.probe_interval_s - quiet_s)
