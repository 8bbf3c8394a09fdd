"""From a request's arrays to its frames: plan, slot, images on the device thread, one answer.

submit (Triton's thread): arrays -> parse_request -> make_plan -> slot (blocks) -> Order
device thread:            hub of images -> frames
answer threads:           frames and report -> answer
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from imagegen.api.errors import Cancelled, ImageGenError, Unavailable
from imagegen.api.events import Event
from imagegen.api.request import parse_request
from imagegen.engine import collate
from imagegen.engine.cancellation import CancellationWatch
from imagegen.engine.cancelled_names import CancelledNames
from imagegen.engine.device_thread import DeviceThread
from imagegen.engine.executor import Hub, Limits
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.engine.generation_job import Order
from imagegen.engine.metrics import Measures
from imagegen.engine.pipeline_call import Drawing, draw
from imagegen.engine.progress import Telling
from imagegen.engine.settings import DiffusionSettings
from imagegen.engine.slots import Slots
from imagegen.engine.upstream import Audience, Preprocessed, read_audience, read_preprocess_report
from imagegen.engine.warmup import warm_up
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.plan import Plan, make_plan

Arrays = dict[str, npt.NDArray[Any]]
_Finished = Callable[[Sequence[Drawing] | None, BaseException | None], None]

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
_CPU_OUT_OF_MEMORY = "can't allocate memory"  # torch's CPU allocator raises a plain RuntimeError
_ANSWER_THREADS = 2  # copying frames into a response must not hold up the device thread


class AnswerPort(Protocol):
    """What the generator needs of a request: its inputs, whether it is still wanted, and a way to answer it.

    Attributes:
        request_id: as the client sent it; may be empty.
    """

    request_id: str

    def arrays(self) -> Arrays:
        """The inputs that are present, by name."""

    def is_cancelled(self) -> bool:
        """Whether the client has walked away."""

    def send(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Answer with output tensors."""

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""


@dataclass
class _Work:
    answer: AnswerPort
    plan: Plan
    before: Preprocessed
    names: frozenset[str]
    telling: Telling | None
    started_s: float = 0.0
    order: Order | None = None  # while it is being drawn


class Generator:
    """Draws requests with one checkpoint on one device.

    Args:
        settings: the model's configuration.
        offers: the loaded checkpoint.
        measures: counts what happens; closed by `close`.
        tell: sends an event to whoever made a stream id; called on the device thread.
    """

    def __init__(
        self,
        settings: DiffusionSettings,
        offers: Pipelines,
        measures: Measures,
        tell: Callable[[str, Event], None] = lambda stream_id, event: None,
    ) -> None:
        self._settings = settings
        self._offers = offers
        self._measures = measures
        self._tell = tell
        limits = Limits(settings.max_batch_rows, settings.max_batch_pixels)
        self._costs = ForwardCosts(offers.device)
        self._hub = Hub(self._forward, limits, _OUT_OF_MEMORY, self._costs.fixed_rows)
        self._slots = Slots(settings.max_active_requests)
        self._cancellation = CancellationWatch()
        self._cancelled = CancelledNames()
        self._answers = ThreadPoolExecutor(_ANSWER_THREADS, thread_name_prefix="answer")
        self._device_thread = DeviceThread(self._hub)
        self._closed = False

    def warm_up(self) -> None:
        """Draw every task at the configured sizes. Raises whatever goes wrong."""
        warm_up(self._offers, self._settings, self._draw_now)

    def submit(self, answer: AnswerPort) -> None:
        """Take a request; blocks while no slot is free. It is answered exactly once, from any thread."""
        try:
            if self._closed:
                raise Unavailable("the server is shutting down")
            self._begin(answer)
        except BaseException as error:  # every request is answered, whatever happens
            answer.fail(error)

    def cancel(self, name: str) -> bool:
        """Cancel every request whose Triton request id or stream id is `name`, if it came before now.

        Returns:
            whether there is one that is being drawn or waits for a slot.
        """
        return self._cancelled.cancel(name)

    def close(self) -> None:
        """Finish what is being drawn within `drain_timeout_s`, refuse the rest."""
        self._closed = True
        self._device_thread.close(self._settings.drain_timeout_s)
        self._cancellation.close()
        self._answers.shutdown(wait=True)
        self._measures.close()

    def _begin(self, answer: AnswerPort) -> None:
        arrays = answer.arrays()
        audience = read_audience(arrays.pop("stream_id", None), arrays.pop("partial_images", None))
        before = read_preprocess_report(arrays.pop("preprocess_report", None))
        pixels = arrays.pop("pixels", None)
        mask = arrays.pop("mask_pixels", None)
        request = parse_request(
            arrays, self._settings, granularity_px=self._offers.granularity_px, has_images=pixels is not None
        )
        plan = make_plan(request, pixels, mask, self._offers, self._settings)
        if audience.previews and self._offers.projection is None:
            plan = replace(plan, warnings=(*plan.warnings, "partial_images: this model offers no previews"))
        names = frozenset({answer.request_id, audience.stream_id} - {""})
        work = _Work(answer, plan, before, names, self._telling(plan, audience))
        self._cancelled.take(names)
        try:
            self._start(work)
        except BaseException:
            self._cancelled.end(names)
            raise

    def _start(self, work: _Work) -> None:
        plan = work.plan
        deadline_s = None if plan.timeout_ms is None else work.before.arrived_s + plan.timeout_ms / 1000
        self._measures.waiting(1)
        try:
            if self._cancelled.include(work.names, work.before.entered_s):
                raise Cancelled("the request was cancelled")
            self._slots.take(partial(self._is_cancelled, work), deadline_s)
        except ImageGenError as error:
            self._measures.failed(plan.task, len(plan.seeds), error)
            raise
        finally:
            self._measures.waiting(0)
        try:
            work.started_s = time.monotonic()
            order = work.order = self._order(plan, partial(self._finished, work), deadline_s, work.telling)
            self._cancellation.add(order, partial(self._is_cancelled, work))
            self._measures.active(self._cancellation.watched)
            self._device_thread.submit(order)
        except BaseException:
            self._slots.give_back()
            raise

    def _is_cancelled(self, work: _Work) -> bool:
        return self._cancelled.include(work.names, work.before.entered_s) or work.answer.is_cancelled()

    def _telling(self, plan: Plan, audience: Audience) -> Telling | None:
        if not audience.stream_id:
            return None
        tell = partial(self._tell, audience.stream_id)
        return Telling(len(plan.seeds), plan.size, audience.previews, self._offers.projection, tell)

    def _draw_now(self, plan: Plan) -> Sequence[Drawing]:
        """Draw a plan and wait for it, past slots and answers."""
        drawn: Future[Sequence[Drawing]] = Future()

        def finished(drawings: Sequence[Drawing] | None, error: BaseException | None) -> None:
            if drawings is not None:
                drawn.set_result(drawings)
            else:
                drawn.set_exception(error)

        self._device_thread.submit(self._order(plan, finished))
        return drawn.result()

    def _order(
        self, plan: Plan, finished: _Finished, deadline_s: float | None = None, telling: Telling | None = None
    ) -> Order:
        def draw_one(index: int) -> Drawing:
            on_step = None if telling is None else partial(telling.stepped, index)
            return draw(plan, index, self._offers, self._hub.call, on_step)

        return Order(draw_one, len(plan.seeds), finished, deadline_s, plan.expected_calls)

    def _forward(self, calls: Sequence[collate.Call]) -> Sequence[Any]:
        call = calls[0]
        # Nothing can be learnt from calls that run alone: each has a signature of its own.
        timed = nullcontext() if call.recipes is None else self._costs.timed(call.signature, sum(c.rows for c in calls))
        try:
            with timed:
                outputs = collate.forward(calls, self._row_buckets(call))
        except RuntimeError as error:
            if _CPU_OUT_OF_MEMORY in str(error):
                raise MemoryError(str(error)) from error
            raise
        self._measures.forward(calls)
        return outputs

    def _row_buckets(self, call: collate.Call) -> list[int]:
        """The buckets within the limits of a forward: padding takes memory too."""
        most = self._hub.row_limit
        if self._settings.max_batch_pixels:
            most = min(most, self._settings.max_batch_pixels * call.rows // call.pixels)
        return [bucket for bucket in self._settings.row_buckets if bucket <= most]

    def _finished(self, work: _Work, drawings: Sequence[Drawing] | None, error: BaseException | None) -> None:
        """On the device thread: free the slot, leave the answering to others."""
        order, work.order = work.order, None  # no cycle: what the order holds is freed at once
        assert order is not None
        self._cancellation.remove(order)
        self._cancelled.end(work.names)
        self._slots.give_back()
        if work.telling is not None:
            work.telling.ended()
        self._measures.active(self._cancellation.watched)
        self._measures.hub(self._hub.row_limit, self._hub.isolation_retries)
        try:
            self._answers.submit(self._answer, work, drawings, error)
        except RuntimeError:  # no thread to be had: late for others, but never unanswered
            self._answer(work, drawings, error)

    def _answer(self, work: _Work, drawings: Sequence[Drawing] | None, error: BaseException | None) -> None:
        if drawings is None:
            assert error is not None
            if isinstance(error, _OUT_OF_MEMORY):
                error = Unavailable("out of memory; try again later, or a smaller size or n")
            work.answer.fail(error)
            self._measures.failed(work.plan.task, len(work.plan.seeds), error)
            return
        try:
            seconds = _stage_seconds(work, drawings)
            report = json.dumps(self._report(work, drawings, seconds))
            work.answer.send(
                {
                    "frames": np.stack([drawing.frame for drawing in drawings]),
                    "used_seed": np.array(work.plan.seeds, dtype=np.int64),
                    "diffusion_report": np.array([report.encode()], dtype=np.object_),
                }
            )
            self._measures.drawn(work.plan.task, seconds, len(drawings))
        except BaseException as failure:  # every request is answered, whatever happens
            work.answer.fail(failure)
            self._measures.failed(work.plan.task, len(work.plan.seeds), failure)

    def _report(self, work: _Work, drawings: Sequence[Drawing], seconds: dict[str, float]) -> dict[str, Any]:
        """The request's metadata so far."""
        plan = work.plan
        milliseconds = work.before.milliseconds | {stage: round(value * 1000, 2) for stage, value in seconds.items()}
        forwards = sum(drawing.forwards for drawing in drawings)
        rows = sum(drawing.batch_rows for drawing in drawings)
        return {
            "model": self._offers.name,
            "task": plan.task,
            "size": f"{plan.size[0]}x{plan.size[1]}",
            "num_inference_steps": plan.num_inference_steps,
            "guidance_scale": plan.guidance_scale,
            "strength": plan.strength,
            "scheduler": plan.scheduler or self._offers.scheduler_name,
            "mean_batch_rows": round(rows / forwards, 2) if forwards else 0,
            "warnings": [
                *work.before.warnings,
                *plan.warnings,
                *dict.fromkeys(warning for d in drawings for warning in d.warnings),
            ],
            "milliseconds": milliseconds,
            **work.before.metadata,
        }


def _stage_seconds(work: _Work, drawings: Sequence[Drawing]) -> dict[str, float]:
    """Seconds by stage; a stage of several images counts as long as its slowest."""
    return {
        "queue": work.started_s - work.before.arrived_s,
        "encode": max(drawing.encode_s for drawing in drawings),
        "denoise": max(drawing.denoise_s for drawing in drawings),
        "decode": max(drawing.decode_s for drawing in drawings),
        "diffusion": time.monotonic() - work.before.arrived_s,
    }
