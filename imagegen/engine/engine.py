"""The engine as a library: many requests at once, from threads and from asyncio, on one device.

    arguments -> ImageRequest -> Plan -> slot -> images on the device thread -> result on a response thread

An adapter of a server goes the same way with requests of its own (`plan`, `submit`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import torch

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.api.request import ImageRequest
from imagegen.engine.cached_encoders import Caches, with_caches
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.generation import Generation, GenerationResult
from imagegen.engine.lifecycle import RequestLifecycle
from imagegen.engine.memory_costs import tells_memory
from imagegen.engine.metrics import EngineMetrics, NewSeries, discard
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.options import GenerationOptions, parse_options
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.checkpoint import Pipelines, load_pipelines
from imagegen.pipelines.plan import Pixels, Plan, make_plan
from imagegen.pipelines.warmup import dropping_what_fails, warmup_plans

_log = logging.getLogger(__name__)


class Engine:
    """Generates images with one checkpoint on one device, all requests at once, step by step.

    All methods but `warm_up` and `close` are safe from any thread.

    Args:
        settings: which checkpoint, and how its device is shared.
        pipelines: the checkpoint, where it is loaded already; loaded as `settings` say otherwise.
        new_series: makes a series of your metrics for a family and labels (`imagegen.engine.metrics.FAMILIES` lists
            the families); its `increment`, `set` and `observe` are called a few times a second, on a thread.
        on_alive: called on the device's thread after each round of steps, and every second while there is nothing to
            do: who waits for it in vain for longer than a step takes knows that the device hangs.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: the checkpoint or a setting does not fit.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        pipelines: Pipelines | None = None,
        new_series: NewSeries = discard,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        if pipelines is None:
            pipelines = load_pipelines(settings, Path(), "cuda" if torch.cuda.is_available() else "cpu")
        caches = Caches(ContentCache(settings.prompt_cache_bytes), ContentCache(settings.image_cache_bytes))
        self._caches = caches
        self.settings = settings
        self.pipelines = with_caches(pipelines, caches)
        self._metrics = EngineMetrics(new_series, caches.by_name(), pipelines.device)
        self._runner = ModelRunner(settings, self.pipelines, self._metrics, on_alive)
        self._lifecycle = RequestLifecycle(settings.max_active_requests, self._runner, self.pipelines, self._metrics)

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
    def active_requests(self) -> int:
        """Requests that are being generated."""
        return self._lifecycle.slots.held

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a slot."""
        return self._lifecycle.slots.waiting

    def warm_up(self) -> None:
        """Generate the checkpoint's own task at the configured sizes, one image and as many as fill each row bucket.

        Each other task is generated once, at the smallest. Where the device says what it holds, one image more shows
        what it takes; where that cannot be measured, or something else uses the device meanwhile, the log says so and
        nothing is learnt of that size.

        A task that diffusers derives from the checkpoint and that fails is not offered afterwards.

        Raises:
            ValueError: a warm-up size is malformed or not allowed, or the checkpoint's own task cannot be done.
                Whatever else goes wrong with an image.
        """
        largest = (self.settings.max_batch_rows,) if self.pipelines.device.type == "cuda" else ()
        for plan in warmup_plans(self.pipelines, self.settings, self.settings.warmup_sizes):
            started_s = time.monotonic()
            _log.info("warming up: %s at %dx%d", plan.task, *plan.size)
            takes = ""
            with dropping_what_fails(plan, self.pipelines):
                (image,) = self._runner.run(plan)
                rows = max(1, image.batch_rows // max(1, image.forwards))
                for bucket in self.settings.row_buckets or largest:
                    self._runner.run(replace(plan, seeds=tuple(range(math.ceil(bucket / rows)))))
            if tells_memory(self.pipelines.device) and plan.task in self.pipelines.tasks:
                for cache in self._caches.by_name().values():
                    cache.clear()  # the prompt of most requests has to be encoded
                cost = self._runner.measure(plan)  # last, for the first forwards take what stays
                takes = f"; {cost.summary()}" if cost is not None else ""
            took_s = time.monotonic() - started_s
            _log.info("warmed up: %s at %dx%d in %.1f s%s", plan.task, *plan.size, took_s, takes)

    def generate(self, prompt: str, **options: Unpack[GenerationOptions]) -> GenerationResult:
        """Generate images and wait for them, in a thread.

        Args:
            prompt: 1..32000 characters.
            options: see `GenerationOptions`.

        Raises:
            ImageGenError: the request is invalid, was cancelled, or came too late; see `imagegen.api.errors`. Whatever
                goes wrong with an image.
        """
        generation, result = _generation(*self._plan(prompt, options), options)
        try:
            self.submit(generation)
            return result.result()
        finally:
            generation.token.cancel()

    async def generate_async(self, prompt: str, **options: Unpack[GenerationOptions]) -> GenerationResult:
        """As `generate`, in asyncio. Cancelling the task cancels the request before its next step."""
        generation, result = _generation(*self._plan(prompt, options), options)
        try:
            await self._lifecycle.submit_async(generation)
            return await asyncio.wrap_future(result)
        finally:
            generation.token.cancel()

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
        plan, previews = self._plan(prompt, options)
        return self._stream(plan, previews, options)

    def stream_async(
        self, prompt: str, **options: Unpack[GenerationOptions]
    ) -> AsyncIterator[Progress | Preview | GenerationResult]:
        """As `stream`, in asyncio. Cancelling the task that iterates cancels the request too."""
        plan, previews = self._plan(prompt, options)
        return self._stream_async(plan, previews, options)

    def cancel(self, request_id: str) -> bool:
        """Cancel every request of this id, before its next step, and none that comes later.

        Returns:
            whether there is one that is being generated or waits for a slot.
        """
        return self._lifecycle.cancel(request_id)

    def plan(self, request: ImageRequest, images: Pixels | None, mask: Pixels | None, previews: int = 0) -> Plan:
        """Resolve a request against the checkpoint.

        Args:
            request: the validated request.
            images: uint8 [N, H, W, 3] or None.
            mask: uint8 [1, H, W] or None.
            previews: of each image that are asked for.

        Raises:
            InvalidArgument: the checkpoint cannot do what is asked.
        """
        plan = make_plan(request, images, mask, self.pipelines, self.settings)
        if previews and self.pipelines.projection is None:
            plan = replace(plan, warnings=(*plan.warnings, "partial_images: this model has no previews"))
        return plan

    def submit(self, generation: Generation) -> None:
        """Start a request; blocks while no slot is free. Slots are given in the order of arrival.

        Raises:
            Cancelled: it was cancelled before it started.
            DeadlineExceeded: its deadline passed before it started, or is sooner than it can be finished.
            InvalidArgument: without a deadline it would take longer than `max_expected_s`; or an image of this size can
                never fit beside the model.
            Unavailable: the engine is closed.
        """
        self._lifecycle.submit(generation)

    def close(self) -> None:
        """Finish what is being generated within `drain_timeout_s`, refuse the rest; of no effect the second time."""
        self._lifecycle.close(self.settings.drain_timeout_s)
        self._metrics.close()

    def _plan(self, prompt: str, options: GenerationOptions) -> tuple[Plan, int]:
        request, images, mask, previews = parse_options(prompt, options, self.settings, self.pipelines.granularity_px)
        return self.plan(request, images, mask, previews), previews

    def _stream(
        self, plan: Plan, previews: int, options: GenerationOptions
    ) -> Iterator[Progress | Preview | GenerationResult]:
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        generation, result = _generation(plan, previews, options, events.put)
        try:
            self.submit(generation)
            while not isinstance(event := events.get(), Ended):
                yield event
            yield result.result()
        finally:
            generation.token.cancel()

    async def _stream_async(
        self, plan: Plan, previews: int, options: GenerationOptions
    ) -> AsyncIterator[Progress | Preview | GenerationResult]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def publish(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        generation, result = _generation(plan, previews, options, publish)
        try:
            await self._lifecycle.submit_async(generation)
            while not isinstance(event := await events.get(), Ended):
                yield event
            images: GenerationResult = await asyncio.wrap_future(result)
            yield images
        finally:
            generation.token.cancel()


def _generation(
    plan: Plan, previews: int, options: GenerationOptions, publish: Callable[[Event], None] | None = None
) -> tuple[Generation, Future[GenerationResult]]:
    """A request of the library, and what its result will come in."""
    future: Future[GenerationResult] = Future()
    future.set_running_or_notify_cancel()  # cancelling goes by the token: the future itself always gets its outcome

    def respond(result: GenerationResult | None, error: BaseException | None) -> None:
        if result is not None:
            future.set_result(result)
        else:
            future.set_exception(error)

    token = CancelToken(frozenset({options.get("request_id") or ""} - {""}))
    return Generation(plan, respond, token, publish=publish, previews=previews), future
