"""Takes each request from the line for a slot to its response.

caller's thread or task   open, wait for a slot, start
device thread             images finished: free the slot
response thread           frames together, respond

A cancel, a deadline or a client that disconnects is responded to at once, although a forward may run for a minute: the
work is given up, and the slot is free, at the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from imagegen.api.errors import Cancelled, ImageGenError, Unavailable
from imagegen.engine.cancellation import Cancellation
from imagegen.engine.generation import Generation
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.model_runner import OUT_OF_MEMORY, ModelRunner
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.engine.progress import ProgressPublisher
from imagegen.engine.slots import Slots, Ticket, wait, wait_async
from imagegen.pipelines.checkpoint import Pipelines

_RESPONSE_THREADS = 2  # copying frames into a response must not hold up the device thread


class RequestLifecycle:
    """Admits requests, as many at the same time as there are slots, and responds to each exactly once.

    Args:
        max_active_requests: how many slots there are.
        runner: generates the images.
        pipelines: the loaded checkpoint.
        metrics: counts requests.

    Attributes:
        slots: who holds one is being generated.
    """

    def __init__(
        self, max_active_requests: int, runner: ModelRunner, pipelines: Pipelines, metrics: EngineMetrics
    ) -> None:
        self._runner = runner
        self._pipelines = pipelines
        self._metrics = metrics
        self.slots = Slots(max_active_requests)
        self._cancellation = Cancellation()
        self._responses = ThreadPoolExecutor(_RESPONSE_THREADS, thread_name_prefix="response")

    def submit(self, generation: Generation) -> None:
        """Start a request; blocks while no slot is free. See `Engine.submit`."""
        with self._admitting(generation) as ticket:
            wait(ticket, generation.deadline_s)

    async def submit_async(self, generation: Generation) -> None:
        """As `submit`, in asyncio."""
        with self._admitting(generation) as ticket:
            await wait_async(ticket, generation.deadline_s)

    def cancel(self, name: str) -> bool:
        """Cancel requests by name. See `Engine.cancel`."""
        return self._cancellation.cancel(name)

    def close(self, drain_timeout_s: float) -> None:
        """Finish what has been started within `drain_timeout_s` seconds, refuse the rest."""
        self.slots.close()
        self._runner.close(drain_timeout_s)
        self._cancellation.close()
        self._responses.shutdown(wait=True)

    @contextmanager
    def _admitting(self, generation: Generation) -> Iterator[Ticket]:
        """Around the wait for a slot: before it the request gets into the line, after it it is started."""
        ticket = self.slots.enter()
        token = generation.token
        try:
            self._cancellation.open(token, generation.entered_s)
            if token.error is not None:
                raise token.error
            self._runner.check(generation.plan, generation.deadline_s)
            token.on_cancel(lambda: self.slots.refuse(ticket, token.error or _cancelled()))
            self._metrics.waiting(self.slots.waiting)
            yield ticket
            if token.check():
                raise token.error or _cancelled()
            self._start(generation, ticket)
        except BaseException as error:
            self._end(generation, ticket)
            if isinstance(error, ImageGenError):
                self._metrics.failed(generation.plan.task, len(generation.plan.seeds), error)
            if generation.claim_response():  # else it was cancelled in between, and its client knows
                raise
        finally:
            self._metrics.waiting(self.slots.waiting)

    def _start(self, generation: Generation, ticket: Ticket) -> None:
        plan = generation.plan
        progress = None
        if generation.publish is not None:
            progress = ProgressPublisher(
                len(plan.seeds), plan.size, generation.previews, self._pipelines.projection, generation.publish
            )
        self._metrics.active(self.slots.held)
        finished = partial(self._finished, generation, ticket, progress)
        generation.token.on_cancel(partial(self._cancelled, generation, progress))
        if generation.deadline_s is not None:
            self._cancellation.expire(generation.token, generation.deadline_s)
        self._runner.start(plan, finished, generation.token, progress)

    def _cancelled(self, generation: Generation, progress: ProgressPublisher | None) -> None:
        """Leave the response to others, before the work has ended; on the thread of whoever cancels."""
        if progress is not None:
            progress.ended()
        self._submit_response(generation, None, generation.token.error)

    def _finished(
        self,
        generation: Generation,
        ticket: Ticket,
        progress: ProgressPublisher | None,
        images: list[GeneratedImage] | None,
        error: BaseException | None,
    ) -> None:
        """Free the slot and leave the response to others; on the device thread."""
        self._end(generation, ticket)
        if progress is not None:
            progress.ended()
        self._runner.report_state()
        self._submit_response(generation, images, error)

    def _submit_response(
        self, generation: Generation, images: list[GeneratedImage] | None, error: BaseException | None
    ) -> None:
        try:
            self._responses.submit(self._respond, generation, images, error)
        except RuntimeError:  # no thread to be had: late for others, but never without a response
            self._respond(generation, images, error)

    def _end(self, generation: Generation, ticket: Ticket) -> None:
        self._cancellation.end(generation.token)
        generation.token.on_cancel(None)
        self.slots.leave(ticket)
        self._metrics.active(self.slots.held)

    def _respond(
        self, generation: Generation, images: list[GeneratedImage] | None, error: BaseException | None
    ) -> None:
        if not generation.claim_response():
            return None
        if images is None:
            assert error is not None
            if isinstance(error, OUT_OF_MEMORY):
                error = Unavailable("out of memory; try again later, or a smaller size or n")
            return self._fail(generation, error)
        try:
            seconds = generation.stage_seconds(images)
            generation.respond(generation.result(images, seconds, self._pipelines), None)
            self._metrics.completed(generation.plan.task, len(images), seconds)
            for stage in (stage for image in images for stage in image.non_finite_stages):
                self._metrics.non_finite(stage)
        except BaseException as failure:  # every request gets a response, whatever happens
            self._fail(generation, failure)

    def _fail(self, generation: Generation, error: BaseException) -> None:
        generation.respond(None, error)
        self._metrics.failed(generation.plan.task, len(generation.plan.seeds), error)


def _cancelled() -> Cancelled:
    return Cancelled("the client cancelled the request")
