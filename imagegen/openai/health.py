"""Ready means that an image was really drawn lately: by anybody's request, else by a tiny one of our own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from contextlib import aclosing

from imagegen.openai.metrics import Measures
from imagegen.openai.settings import Settings
from imagegen.openai.triton_call import Completed, TritonImages
from imagegen_client.errors import ImageGenerationError, ServerUnreachable

_log = logging.getLogger(__name__)

_RETRY_S = 1.0  # while not ready
_LAG_EVERY_S = 0.25


class Health:
    """Knows when the last image was drawn, and draws one when that is too long ago.

    Args:
        triton: who draws.
        settings: intervals and the size of the probe.
        measures: told about readiness and the event loop.
    """

    def __init__(self, triton: TritonImages, settings: Settings, measures: Measures) -> None:
        self._triton = triton
        self._settings = settings
        self._measures = measures
        self._last_s: float | None = None
        self._draining = False
        self._hurry = asyncio.Event()

    def drawn(self) -> None:
        """An image was drawn."""
        self._last_s = time.monotonic()

    def lost(self) -> None:
        """The server cannot be reached: what it drew before proves nothing."""
        self._last_s = None
        self._hurry.set()

    def drain(self) -> None:
        """No longer ready, whatever is drawn."""
        self._draining = True

    def problem(self) -> str | None:
        """Why the server is not ready; None when it is."""
        if self._draining:
            return "shutting down"
        if self._last_s is None:
            return "no image has been drawn yet, or not since the server was lost"
        if time.monotonic() - self._last_s > self._settings.ready_within_s:
            return f"no image has been drawn for {self._settings.ready_within_s:g} s"
        return None

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            quiet_s = None if self._last_s is None else time.monotonic() - self._last_s
            if quiet_s is None or quiet_s >= self._settings.probe_interval_s:
                await self._probe()
            self._measures.ready.set(self.problem() is None)
            wait_s = _RETRY_S
            if self.problem() is None and self._last_s is not None:
                wait_s = max(_RETRY_S, self._last_s + self._settings.probe_interval_s - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), wait_s)
                await asyncio.sleep(_RETRY_S)
            self._hurry.clear()

    async def watch_loop(self) -> None:
        """Measure for ever how late the event loop wakes us."""
        while True:
            due_s = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._measures.loop_lag.observe(max(0.0, time.monotonic() - due_s))

    async def _probe(self) -> None:
        values = {
            "prompt": "readiness",
            "num_inference_steps": self._settings.probe_steps,
            "size": self._settings.probe_size,
            "response_format": "b64_json",
            "output_format": "jpeg",
        }
        request_id = f"probe-{uuid.uuid4().hex}"
        try:
            async with asyncio.timeout(self._settings.ready_within_s):
                async with aclosing(self._triton.events(values, 0, request_id)) as events:
                    async for event in events:
                        if isinstance(event, Completed):
                            self.drawn()
        except ImageGenerationError as error:
            if isinstance(error, ServerUnreachable):
                self._last_s = None
            _log.warning("probe failed", extra={"request_id": request_id, "reason": str(error)})
        except TimeoutError:
            reason = f"no image within {self._settings.ready_within_s:g} s"
            _log.warning("probe failed", extra={"request_id": request_id, "reason": reason})
        except Exception:  # whatever it is, the next probe is due
            _log.exception("probe failed", extra={"request_id": request_id})
