"""The requests that the engine's process has: each gets one response, whatever becomes of that process."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from imagegen.api.errors import Unavailable
from imagegen.api.events import Ended, Event, decode_event
from imagegen.api.input_images import InputImages
from imagegen.api.reports import GenerationReport
from imagegen.api.request import ImageRequest
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.generation_result import GenerationResult
from imagegen.engine.image_generator import Respond
from imagegen.engine.line import Line
from imagegen.engine.response_claim import ResponseClaim, deadline_s
from imagegen.engine.slots import Ticket
from imagegen.engine.worker.messages import (
    Cancel,
    Failed,
    Frames,
    Generate,
    Images,
    Left,
    Told,
    Waiting,
    array,
    frames_of,
    image_shapes,
)
from imagegen.engine.worker.poison_list import Asked, PoisonList
from imagegen.engine.worker.remote_metrics import RemoteMetrics
from imagegen.engine.worker.wire_errors import error_of

_log = logging.getLogger(__name__)

_RESPONSE_THREADS = 2  # copying frames into a response must not hold up the messages
_USUAL_SIZE, _USUAL_STEPS = "1024x1024", 50


@dataclass(eq=False)
class RemoteRequest:
    """A request for the engine's process; see `imagegen.engine.generation.Generation` for what is not said here.

    Attributes:
        asked: what the client asked for.
        images: its input images.
    """

    asked: ImageRequest
    images: InputImages
    respond: Respond
    token: CancelToken
    arrived_s: float
    entered_s: float
    publish: Callable[[Event], None] | None
    previews: int
    claim: ResponseClaim = field(default_factory=ResponseClaim, init=False, repr=False)
    has_ended: bool = field(default=False, init=False)

    @property
    def deadline_s(self) -> float | None:
        """When it has to be finished, on the clock of `time.monotonic`; None for no deadline."""
        return deadline_s(self.arrived_s, self.asked.timeout_ms)

    @property
    def content(self) -> Asked:
        """What it asks for."""
        return self.asked, self.images

    def claim_response(self) -> bool:
        """Whether the caller is the one who responds; true for the first alone."""
        return self.claim.take()

    def publish_event(self, event: Event) -> None:
        """Publish progress or a preview; what that raises is logged."""
        if self.publish is None or self.has_ended:
            return
        try:
            self.publish(event)
        except Exception:  # who follows a request must not end the messages of all
            _log.exception("an event could not be published")

    def ended(self) -> None:
        """Nothing more will come; of no effect the second time."""
        self.publish_event(Ended())
        self.has_ended = True


@dataclass
class _Held:
    """A request that the process has: until it has both left the device there and got its outcome."""

    request: RemoteRequest
    ticket: Ticket
    has_left: bool = False
    has_outcome: bool = False


class RemoteRequests:
    """Admits requests and sends them to the engine's process. Safe from any thread.

    Args:
        max_active_requests: how many may be there at the same time.
        metrics: counts what that process cannot count.
        arrived: called when a request has come, before it waits; on its caller's thread.

    Attributes:
        line: for a slot; nobody gets one while there is no process.
        finished: how many requests have been generated, by all processes.
    """

    def __init__(
        self, max_active_requests: int, metrics: RemoteMetrics, arrived: Callable[[], None] = lambda: None
    ) -> None:
        self.finished = 0
        self._metrics = metrics
        self._arrived = arrived
        self._poison = PoisonList()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._send: Callable[[Frames], None] | None = None
        self._held: dict[int, _Held] = {}
        self._told_waiting = False
        self._native_px = _area_px(_USUAL_SIZE)
        self._responses = ThreadPoolExecutor(_RESPONSE_THREADS, thread_name_prefix="response")
        self.line: Line[RemoteRequest] = Line(
            max_active_requests,
            self,
            check=self._check,
            start=self._start,
            refused=metrics.failed,
            work=self._work,
        )
        self.line.slots.pause()

    def begin(self, send: Callable[[Frames], None], native_size: str = _USUAL_SIZE) -> None:
        """There is a process, which takes messages; `native_size`: "WxH" in pixels of an image whose size is "auto"."""
        with self._lock:
            self._send = send
            self._told_waiting = False
        self._native_px = _area_px(native_size)
        self.line.slots.resume()
        self.waiting(self.line.slots.waiting)

    def waiting(self, count: int) -> None:
        """So many requests wait for a slot; the process is told whether anybody does."""
        self._metrics.waiting(count)
        with self._lock:
            anybody = self.line.slots.waiting > 0  # by now: what two threads say may come in the wrong order
            if self._send is not None and self._told_waiting != anybody:
                self._told_waiting = anybody
                self._send(frames_of(Waiting(anybody)))

    def active(self, count: int) -> None:
        """So many requests hold a slot."""
        self._metrics.active(count)

    def lost(self, why: str, *, asleep: bool = False) -> None:
        """The process has ended: all that it had get an error now, and nobody gets a slot.

        Args:
            why: it did.
            asleep: it was meant to, so that none of its requests is to blame, and it is not started again at once.
        """
        self.line.slots.pause()
        with self._lock:
            self._send = None
            held, self._held = self._held, {}
        self._metrics.lost()
        if not asleep:
            self._poison.note(each.request.content for each in held.values() if not each.has_left)
        problem = "the model was put to sleep" if asleep else f"the engine's process ended ({why}) and is started again"
        for each in held.values():
            self.line.leave(each.request, each.ticket)
            error = Unavailable(f"{problem}; send the request again")
            self._respond_soon(each.request, None, error, self._metrics.failed)

    def told(self, message: Told | Left | Images | Failed, arrays: Frames) -> None:
        """The process says something of a request."""
        with self._lock:
            held = self._held.get(message.number)
        if held is None:
            return
        request = held.request
        if isinstance(message, Told):
            event = decode_event(bytes(arrays[0]), bytes(arrays[1]))
            request.ended() if isinstance(event, Ended) else request.publish_event(event)
        elif isinstance(message, Left):
            held.has_left = True
            self.line.leave(request, held.ticket)
        else:
            held.has_outcome = True
            if isinstance(message, Images):
                self.finished += 1
                report = GenerationReport.from_json(message.report)
                result = GenerationResult(array(arrays[0], message.shape), message.seeds, report)
                self._poison.clear(request.content)
                self._respond_soon(request, result, None)
            else:
                self._respond_soon(request, None, error_of(message))
        if held.has_left and held.has_outcome:
            with self._lock:
                self._held.pop(message.number, None)

    def close(self) -> None:
        """Respond to what is left; the process has ended."""
        self.line.close()
        self._responses.shutdown(wait=True)

    def _check(self, request: RemoteRequest) -> None:
        self._poison.check(request.content)
        self._arrived()

    def _work(self, request: RemoteRequest) -> float:
        """See `Plan.work`; what only the model knows, such as its own number of steps, is guessed."""
        asked = request.asked
        if asked.size is not None:
            pixels = asked.size[0] * asked.size[1]
        else:
            pixels = request.images.auto_area_px or self._native_px
        return float(asked.n * pixels * (asked.num_inference_steps or _USUAL_STEPS))

    def _start(self, request: RemoteRequest, ticket: Ticket) -> None:
        images = request.images
        number = next(self._numbers)
        message = Generate(
            number,
            request.asked,
            image_shapes(images),
            previews=request.previews,
            streams=request.publish is not None,
            arrived_s=request.arrived_s,
        )
        with self._lock:
            if self._send is None:  # it ended at this very moment
                raise Unavailable("the engine's process has ended and is started again; send the request again")
            self._held[number] = _Held(request, ticket)
            self._send(frames_of(message, *images.present()))
        request.token.on_cancel(partial(self._cancelled, number, request))

    def _cancelled(self, number: int, request: RemoteRequest) -> None:
        """Respond before the work has ended; on the thread of whoever cancels."""
        with self._lock:
            if self._send is not None and number in self._held:
                self._send(frames_of(Cancel(number)))
        self._respond_soon(request, None, request.token.error)

    def _respond_soon(
        self,
        request: RemoteRequest,
        result: GenerationResult | None,
        error: BaseException | None,
        count: Callable[[RemoteRequest, BaseException], Any] | None = None,
    ) -> None:
        """Leave the response to others; `count` is told of an error that nobody else counts."""

        def respond() -> None:
            if request.claim_response():
                request.ended()
                request.respond(result, error)
                if count is not None and error is not None:
                    count(request, error)

        try:
            self._responses.submit(respond)
        except RuntimeError:  # no thread to be had: late for others, but never without a response
            respond()


def _area_px(size: str) -> int:
    width, _, height = size.partition("x")
    return int(width) * int(height)
