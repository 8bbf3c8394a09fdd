"""Ready means that an image was generated through this frontend, and that the engine has lived ever since.

One image at the start, and one after a server was lost, shows that the whole way works. From then on the engine's own
life is the proof, which costs nothing: it takes steps while it works, for whichever client, and shows itself once a
second while it is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from contextlib import aclosing

from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.probe import probe_values
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import Completed, TritonImages
from imagegen_client import ImageGenerationError, InvalidArgument, ServerUnreachable

_log = logging.getLogger(__name__)

_LOOK_S = 2.0  # between two looks at the engine
_RETRY_S = 1.0  # while not ready
_MOST_PROBE_STEPS = 64
_ASLEEP = "the model is asleep; an administrator can wake it"
_SILENCE_S = 10.0  # the streaming model repeats its progress every second


class Health:
    """Knows whether the server generates images. One that an administrator has put to sleep does not.

    Args:
        triton: generates, and tells of the engine.
        settings: how long a step may take.
        metrics: told about readiness.
    """

    def __init__(self, triton: TritonImages, settings: Settings, metrics: FrontendMetrics) -> None:
        self._triton = triton
        self._longest_s = settings.ready_within_s
        self._metrics = metrics
        self._problem: str | None = "no image has been generated yet"
        self._is_proved = False
        self._probe_steps = 1
        self._draining = False
        self._hurry = asyncio.Event()

    def generated(self) -> None:
        """An image was generated."""
        self._is_proved = True
        self._problem = None

    def lost(self) -> None:
        """The server cannot be reached: what it generated before proves nothing."""
        self._is_proved = False
        self._problem = "the image server cannot be reached"
        self._hurry.set()

    def drain(self) -> None:
        """No longer ready, whatever is generated."""
        self._draining = True

    def problem(self) -> str | None:
        """Why the server is not ready; None when it is."""
        return "shutting down" if self._draining else self._problem

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await (self.look() if self._is_proved else self.probe())
            self._metrics.ready.set(self.problem() is None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _RETRY_S if self.problem() else _LOOK_S)
                await asyncio.sleep(_RETRY_S)
            self._hurry.clear()

    async def look(self) -> None:
        """Ask for a sign of the engine's life, with which it is ready; a server of an earlier release gives none."""
        try:
            async with asyncio.timeout(_SILENCE_S):
                description = await self._triton.describe()
        except ServerUnreachable as error:
            self._lose(str(error))
        except TimeoutError:
            self._triton.reconnect()
            self._lose(f"no response for {_SILENCE_S:g} s")
        except Exception:  # whatever it is, the next look is due
            _log.exception("the server could not be asked")
        else:
            quiet_s = None if description is None else description.quiet_s
            hangs = quiet_s is not None and quiet_s > self._longest_s
            self._problem = f"the engine has finished no step for {quiet_s:.0f} s" if hangs else None
            if description is not None and description.asleep:
                self._problem = _ASLEEP

    async def probe(self) -> None:
        """Generate a tiny image, of a task that the model does; a failure is logged.

        It is waited for as long as there are events: a device that is slow, or busy with others' requests, may be well.
        (A diffusion process that died alone is not silent, as the streaming model goes on repeating its progress; there
        a supervisor ends the server, and with it the probe.)

        A connection may lead to a server that has died: after a probe that was given up, the next ones, and all later
        requests, take a new one.
        """
        request_id = f"probe-{uuid.uuid4().hex}"
        now_s = asyncio.get_running_loop().time
        deadline = asyncio.timeout(_SILENCE_S)
        try:
            async with deadline:
                description = await self._triton.describe()
                if description is not None and description.asleep:
                    self._problem = _ASLEEP
                    return
                values = probe_values(description, self._probe_steps)
                async with aclosing(self._triton.events(values, 0, request_id, progress=True)) as events:
                    async for event in events:
                        deadline.reschedule(now_s() + _SILENCE_S)
                        if isinstance(event, Completed):
                            self.generated()
        except ImageGenerationError as error:
            if isinstance(error, InvalidArgument) and error.field == "num_inference_steps":
                # Some schedulers end in no image after one step; the next probe takes another number.
                self._probe_steps = self._probe_steps % _MOST_PROBE_STEPS + 1
            self._lose(str(error), request_id)
        except TimeoutError:
            self._triton.reconnect()
            self._lose(f"no event for {_SILENCE_S:g} s", request_id)
        except Exception:  # whatever it is, the next probe is due
            _log.exception("probe failed", extra={"request_id": request_id})

    def _lose(self, reason: str, request_id: str = "") -> None:
        _log.warning("not ready", extra={"request_id": request_id, "reason": reason})
        self._is_proved = False
        self._problem = "no image has been generated yet, or not since the server was lost"
