"""Takes each request from the line for a slot to its response.

caller's thread or task   open, wait for a slot, start
device thread             images finished: free the slot
response thread           frames together, respond

A cancel, a deadline or a client that disconnects is responded to at once, although a forward may run for a minute: the
work is given up, and the slot is free, at the next step.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from imagegen.api.errors import Unavailable
from imagegen.engine.generation import Generation
from imagegen.engine.line import Line
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.out_of_memory import OUT_OF_MEMORY
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.engine.progress import ProgressPublisher
from imagegen.engine.slots import Ticket
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
        line: for a slot.
    """

    def __init__(
        self, max_active_requests: int, runner: ModelRunner, pipelines: Pipelines, metrics: EngineMetrics
    ) -> None:
        self._runner = runner
        self._pipelines = pipelines
        self._metrics = metrics
        self.line: Line[Generation] = Line(
            max_active_requests,
            metrics,
            check=self._check,
            start=self._start,
            refused=self._count_failed,
            left=lambda generation: generation.left(),
            work=lambda generation: generation.plan.work,
        )
        self._responses = ThreadPoolExecutor(_RESPONSE_THREADS, thread_name_prefix="response")

    def close(self, drain_timeout_s: float) -> None:
        """Finish what has been started within `drain_timeout_s` seconds, refuse the rest."""
        self.line.slots.close()
        self._runner.close(drain_timeout_s)
        self.line.close()
        self._responses.shutdown(wait=True)

    def _check(self, generation: Generation) -> None:
        self._runner.check(generation.plan, generation.deadline_s)

    def _start(self, generation: Generation, ticket: Ticket) -> None:
        plan = generation.plan
        progress = None
        if generation.publish is not None:
            progress = ProgressPublisher(
                len(plan.seeds), plan.size, generation.previews, self._pipelines.projection, generation.publish
            )
        finished = partial(self._finished, generation, ticket, progress)
        generation.token.on_cancel(partial(self._cancelled, generation, progress))
        self._runner.start(plan, finished, generation.token, progress)

    def _cancelled(self, generation: Generation, progress: ProgressPublisher | None) -> None:
        """Leave the response to others, before the work has ended; on the thread of whoever cancels."""
        self._runner.withdraw(generation.token)
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
        """Free the slot and leave the response to others; on the device thread, or before it has come there."""
        self.line.leave(generation, ticket)
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
            self._metrics.forecasts(sum(image.forecast_steps for image in images))
            self._metrics.loras(lora.name for lora in generation.plan.loras)
            for stage in (stage for image in images for stage in image.non_finite_stages):
                self._metrics.non_finite(stage)
        except BaseException as failure:  # every request gets a response, whatever happens
            self._fail(generation, failure)

    def _fail(self, generation: Generation, error: BaseException) -> None:
        generation.respond(None, error)
        self._count_failed(generation, error)

    def _count_failed(self, generation: Generation, error: BaseException) -> None:
        self._metrics.failed(generation.plan.task, len(generation.plan.seeds), error)
