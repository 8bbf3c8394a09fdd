"""The four ways to generate images, the same for an engine in this process and for one in its own."""

from __future__ import annotations

import asyncio
import os
import queue
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, Unpack

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.generation_result import GenerationResult
from imagegen.engine.line import InLine, Line
from imagegen.engine.lora_offer import LoraOffer
from imagegen.engine.options import GenerationOptions, parse_options
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.lora_catalog import LoraCatalog


class Respond(Protocol):
    """Takes the response of a request, from any thread."""

    def __call__(self, result: GenerationResult | None, error: BaseException | None) -> None:
        """There are images, or an error."""


Request = TypeVar("Request", bound=InLine)


class ImageGenerator(LoraOffer, Generic[Request]):
    """What `Engine` and `EngineProcess` have in common.

    All methods but `close` are safe from any thread.

    Args:
        settings: which checkpoint, and how its device is shared.
        folder: where relative paths of adapters start.

    Attributes:
        settings: as given.
    """

    line: Line[Request]

    def __init__(self, settings: EngineSettings, folder: Path = Path()) -> None:
        super().__init__(LoraCatalog.of(settings, folder))
        self.settings = settings

    @classmethod
    def load(cls, model: str | os.PathLike[str], **settings: object) -> Self:
        """Load a checkpoint.

        Args:
            model: folder of a diffusers checkpoint, or hub id.
            settings: other fields of `EngineSettings`.

        Raises:
            OSError: there is no such checkpoint.
            ValueError: the checkpoint or a setting does not fit.
        """
        return cls(EngineSettings.model_validate({"model": os.fspath(model), **settings}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def granularity_px(self) -> int:
        """Both sides of an image are multiples of this."""

    @abstractmethod
    def new_request(
        self,
        asked: ImageRequest,
        images: InputImages,
        previews: int,
        respond: Respond,
        *,
        token: CancelToken,
        publish: Callable[[Event], None] | None = None,
        arrived_s: float | None = None,
        entered_s: float | None = None,
    ) -> Request:
        """A request to be submitted.

        Args:
            asked: the validated request.
            images: its input images.
            previews: of each image that are asked for.
            respond: called exactly once, from any thread, with the result or an error; never if submitting it raised.
            token: cancels it.
            publish: takes progress, previews and `Ended`, on one thread; None for nobody.
            arrived_s: when it came to the engine, on the clock of `time.monotonic`; None for now. Its deadline counts
                from then.
            entered_s: when it came to the server: a cancel by name that came later than this counts; None for one that
                no earlier cancel meant.

        Raises:
            InvalidArgument: the checkpoint cannot do what is asked.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is being generated within `drain_timeout_s`, refuse the rest; of no effect the second time."""

    @property
    @abstractmethod
    def sleeping(self) -> int:
        """How deeply the engine sleeps, 1 or 2; 0 while it is awake."""

    @abstractmethod
    def sleep(self, level: int = 1) -> None:
        """Give the device's memory back, once what is being generated is finished, or `drain_timeout_s` has passed.

        Meanwhile, and until `wake`, a request with a deadline waits up to it, and one without is refused. Of no effect
        on an engine that sleeps as deeply; from level 1 it may go on to 2.

        Args:
            level: 1 keeps the weights in the host's memory, 2 nowhere.

        Raises:
            InvalidArgument: there is no such level.
            Unavailable: the engine is closed.
        """

    @abstractmethod
    def wake(self) -> None:
        """Take the device's memory again, and wait until the engine generates; of no effect on one that is awake.

        Raises:
            Unavailable: the engine is closed. And whatever goes wrong with it.
        """

    @property
    def active_requests(self) -> int:
        """Requests that are being generated."""
        return self.line.slots.held

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a slot."""
        return self.line.slots.waiting

    def submit(self, request: Request) -> None:
        """Start a request; blocks while no slot is free. Those of least work get one first; see `Slots`.

        Raises:
            Cancelled: it was cancelled before it started.
            DeadlineExceeded: its deadline passed before it started, or is sooner than it can be finished.
            InvalidArgument: without a deadline it would take longer than `max_expected_s`; or an image of this size can
                never fit beside the model.
            Unavailable: the engine is closed, or sleeps and the request has no deadline.
        """
        self.line.submit(request)

    def cancel(self, request_id: str) -> bool:
        """Cancel every request of this id, before its next step, and none that comes later.

        Returns:
            whether there is one that is being generated or waits for a slot.
        """
        return self.line.cancel(request_id)

    def generate(self, prompt: str, **options: Unpack[GenerationOptions]) -> GenerationResult:
        """Generate images and wait for them, in a thread.

        Args:
            prompt: 1..32000 characters.
            options: see `GenerationOptions`.

        Raises:
            ImageGenError: the request is invalid, was cancelled, or came too late; see `imagegen.api.errors`. Whatever
                goes wrong with an image.
        """
        request, result = self._open(prompt, options)
        try:
            self.submit(request)
            return result.result()
        finally:
            request.token.cancel()

    async def generate_async(self, prompt: str, **options: Unpack[GenerationOptions]) -> GenerationResult:
        """As `generate`, in asyncio. Cancelling the task cancels the request before its next step."""
        request, result = self._open(prompt, options)
        try:
            await self.line.submit_async(request)
            return await asyncio.wrap_future(result)
        finally:
            request.token.cancel()

    def stream(
        self, prompt: str, **options: Unpack[GenerationOptions]
    ) -> Iterator[Progress | Preview | GenerationResult]:
        """Generate images and follow them, in a thread. Closing the iterator cancels the request before its next step.

        Args:
            prompt: 1..32000 characters.
            options: see `GenerationOptions`.

        Returns:
            progress after each step, previews, and the result at last. The request starts with the first `next`.

        Raises:
            ImageGenError: as `generate`; of an invalid request at once, of another one while it is iterated.
        """
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        request, result = self._open(prompt, options, events.put)
        return self._stream(request, result, events)

    def stream_async(
        self, prompt: str, **options: Unpack[GenerationOptions]
    ) -> AsyncIterator[Progress | Preview | GenerationResult]:
        """As `stream`, in asyncio. Cancelling the task that iterates cancels the request too."""
        events = _AsyncEvents()
        request, result = self._open(prompt, options, events.publish)
        return self._stream_async(request, result, events)

    def _stream(
        self, request: Request, result: Future[GenerationResult], events: queue.SimpleQueue[Event]
    ) -> Iterator[Progress | Preview | GenerationResult]:
        try:
            self.submit(request)
            while not isinstance(event := events.get(), Ended):
                yield event
            yield result.result()
        finally:
            request.token.cancel()

    async def _stream_async(
        self, request: Request, result: Future[GenerationResult], events: _AsyncEvents
    ) -> AsyncIterator[Progress | Preview | GenerationResult]:
        try:
            events.begin()
            await self.line.submit_async(request)
            while not isinstance(event := await events.queue.get(), Ended):
                yield event
            images: GenerationResult = await asyncio.wrap_future(result)
            yield images
        finally:
            request.token.cancel()

    def _open(
        self, prompt: str, options: GenerationOptions, publish: Callable[[Event], None] | None = None
    ) -> tuple[Request, Future[GenerationResult]]:
        """A request of the library, and what its result will come in."""
        parsed, images, previews = parse_options(prompt, options, self.settings, self.granularity_px)
        future: Future[GenerationResult] = Future()
        future.set_running_or_notify_cancel()  # cancelling goes by the token: the future itself always gets its outcome

        def respond(result: GenerationResult | None, error: BaseException | None) -> None:
            if result is not None:
                future.set_result(result)
            else:
                future.set_exception(error)

        token = CancelToken(frozenset({options.get("request_id") or ""} - {""}))
        return self.new_request(parsed, images, previews, respond, token=token, publish=publish), future


class _AsyncEvents:
    """Events from other threads, in the loop of who iterates."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """From here on they are taken."""
        self._loop = asyncio.get_running_loop()

    def publish(self, event: Event) -> None:
        """Take one, on any thread."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self.queue.put_nowait, event)
