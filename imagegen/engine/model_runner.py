"""Runs the images of a plan on the device: executor, scheduler, learnt costs and the thread that owns them all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from imagegen.api.errors import Unavailable
from imagegen.engine.adapters.adapter_store import AdapterStack, AdapterStore
from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.collate import DenoiserCall, Ranks, forward
from imagegen.engine.denoiser_proxy import RunCall
from imagegen.engine.device_thread import DeviceThread
from imagegen.engine.executor import Executor
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.engine.generation_job import GenerationJob
from imagegen.engine.memory_costs import Disturbed, MemoryCost, MemoryCosts, MemoryMeter
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.out_of_memory import OUT_OF_MEMORY, memory_errors
from imagegen.engine.pipeline_call import GeneratedImage, generate_image
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.policy import AMORTIZATION, WeightedShortestProcessingTime
from imagegen.engine.preemption import Preemption
from imagegen.engine.progress import ProgressPublisher
from imagegen.engine.request_costs import RequestCosts
from imagegen.engine.scheduler import Limits, Scheduler
from imagegen.engine.settings import EngineSettings
from imagegen.engine.shared_forward import SharedForward
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.plan import Plan
from imagegen.pipelines.steps import Step

_log = logging.getLogger(__name__)
_forwards: Counter[torch.device] = Counter()  # begun by all engines of this process, which share a device's memory

Result = TypeVar("Result")
Finished = Callable[[list[GeneratedImage] | None, BaseException | None], None]


class ModelRunner:
    """Generates plans, all that it is given at the same time.

    Args:
        settings: the bounds of a forward.
        pipelines: the loaded checkpoint.
        metrics: counts forwards.
        adapters: those of requests.
        on_alive: called after each tick, and every second while there is nothing to do; on the device thread.
        ranks: several devices that share each forward; None for one.
        line: whether requests wait until one of those that are given here is finished; asked once a forward.
    """

    def __init__(
        self,
        settings: EngineSettings,
        pipelines: Pipelines,
        metrics: EngineMetrics,
        adapters: AdapterStore,
        on_alive: Callable[[], None] = lambda: None,
        ranks: Ranks | None = None,
        line: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._ranks = ranks
        self._pipelines = pipelines
        self._metrics = metrics
        self._costs = ForwardCosts(pipelines.device)
        self._preemption = Preemption(self._costs, pipelines.device)
        self._request_costs = RequestCosts(settings.max_expected_s, pipelines.native_size)
        own_task, own = next(iter(pipelines.tasks.items()))
        tiles = bool(getattr(getattr(own.pipeline, "vae", None), "use_tiling", False))
        self._memory_costs = MemoryCosts(own_task, pipelines.native_size, tiles=tiles)
        limits = Limits(settings.max_batch_rows, settings.max_batch_pixels)
        policy = WeightedShortestProcessingTime(
            self._costs.fixed_rows, amortization=AMORTIZATION[settings.prefer], line=line
        )
        scheduler: Scheduler[PipelineRun | SharedForward] = Scheduler(limits, policy, self._costs.seconds)
        self._executor = Executor(self._forward, scheduler, OUT_OF_MEMORY)
        self._device_thread = DeviceThread(self._executor, on_alive, pipelines.device)
        self._forwards = 0
        self._adapters = adapters
        self._waiting: dict[CancelToken, AdapterStack] = {}  # for their adapters

    def start(
        self,
        plan: Plan,
        finished: Finished,
        token: CancelToken,
        progress: ProgressPublisher | None = None,
        updates: Mapping[str, Updates] = MappingProxyType({}),
    ) -> None:
        """Have a plan generated.

        Args:
            plan: the request.
            finished: called exactly once, on the device thread, with the images or an error; on another one, maybe at
                once, where its adapters cannot be used.
            token: cancels it before the next forward.
            progress: is told of each step.
            updates: what adapters add beside those of the plan, by component.

        Raises:
            Unavailable: the runner is closed.
        """

        def generate(index: int) -> GeneratedImage:
            on_step = None if progress is None else partial(progress.stepped, index)
            image = self._generate(plan, index, self._executor.call, on_step, {**updates, **stack.updates()})
            return replace(image, warnings=(*stack.warnings, *image.warnings)) if stack.warnings else image

        def ended(images: list[GeneratedImage] | None, error: BaseException | None) -> None:
            self._adapters.release(stack)
            if images is not None:
                self._request_costs.note(plan, images)
            finished(images, error)

        def failed(error: BaseException) -> None:
            self._waiting.pop(token, None)
            finished(None, error)

        def begin() -> None:
            self._waiting.pop(token, None)
            try:
                self._device_thread.submit(job)
            except Unavailable as error:
                ended(None, error)

        job = GenerationJob(generate, len(plan.seeds), ended, token, plan.expected_calls)
        stack = AdapterStack(plan.loras, lambda: token.error, begin, failed)
        if not plan.loras:
            self._device_thread.submit(job)
            return
        self._waiting[token] = stack
        self._adapters.acquire(stack)

    def withdraw(self, token: CancelToken) -> None:
        """Have a cancelled plan wait for its adapters no more; it is finished then."""
        stack = self._waiting.get(token)
        if stack is not None and self._adapters.withdraw(stack):
            assert token.error is not None
            stack.failed(token.error)

    def run(self, plan: Plan, updates: Mapping[str, Updates] = MappingProxyType({})) -> list[GeneratedImage]:
        """Generate a plan and wait for it. Raises whatever goes wrong."""
        images: Future[list[GeneratedImage]] = Future()
        self.start(plan, partial(_settle, images), CancelToken(), updates=updates)
        return images.result()

    def measure(self, plan: Plan) -> MemoryCost | None:
        """Generate the first image of a plan, while there is nothing else, and learn what memory it takes.

        On a device for which `tells_memory` is true. None, with a warning in the log, where that could not be measured,
        be it that something else used the device: then no request is refused for it.

        Raises:
            torch.AcceleratorError: the device is broken.
        """

        def generate(index: int) -> tuple[MemoryCost, int]:
            before = self._forwards_of_others()
            meter = MemoryMeter(self._pipelines.device, self._executor.call)
            self._generate(plan, index, meter.run_call)
            if self._forwards_of_others() != before:
                raise Disturbed("another engine used the device")
            return meter.finish(), meter.room_bytes

        measured = self._submit(generate)
        try:
            ((cost, room_bytes),) = measured.result()
        except torch.AcceleratorError:
            raise
        except Disturbed as disturbance:
            _log.warning("what an image of %dx%d takes was not learnt: %s", *plan.size, disturbance)
            return None
        except Exception:
            _log.warning("what an image of %dx%d takes could not be measured", *plan.size, exc_info=True)
            return None
        self._memory_costs.note(plan, cost, room_bytes)
        self._metrics.image_peak(plan.task, plan.size, cost.by_stage())
        return cost

    def see_first_call(self, plan: Plan, see: Callable[[DenoiserCall], None]) -> None:
        """Generate the first image of a plan, its first denoiser call shown before it is made. Raises what goes wrong.

        Args:
            plan: the request.
            see: is called on the device's thread; forwards of its own are made before the image's.
        """
        seen = False

        def run_call(call: DenoiserCall) -> Any:
            nonlocal seen
            if not seen:
                seen = True
                see(call)
            return self._executor.call(call)

        self._submit(lambda index: self._generate(plan, index, run_call)).result()

    def run_on_device_thread(self, work: Callable[[], None]) -> None:
        """Do something on the device's thread, between two forwards, and wait for it. Raises what it raises."""
        self._submit(lambda _: work()).result()

    def check(self, plan: Plan, deadline_s: float | None) -> None:
        """Refuse a plan that can never fit, or not be finished in time; see `MemoryCosts` and `RequestCosts`."""
        self._memory_costs.check(plan)
        self._request_costs.check(plan, deadline_s)

    def report_state(self) -> None:
        """Hand the executor's state to the metrics."""
        self._metrics.executor(self._executor.row_limit, self._executor.isolation_retries)

    def close(self, drain_timeout_s: float) -> None:
        """Finish what has been started within `drain_timeout_s` seconds, refuse the rest."""
        self._device_thread.close(drain_timeout_s)
        for stack in list(self._waiting.values()):
            if self._adapters.withdraw(stack):
                stack.failed(Unavailable("the server is shutting down"))
        self._adapters.close()

    def _submit(self, work: Callable[[int], Result]) -> Future[list[Result]]:
        """Have something done on the device's thread as an image of index 0 is; its one result, or error."""
        done: Future[list[Result]] = Future()
        self._device_thread.submit(GenerationJob(work, 1, partial(_settle, done)))
        return done

    def _forwards_of_others(self) -> int:
        """Begun by the other engines of this process on the same device."""
        return _forwards[self._pipelines.device] - self._forwards

    def _generate(
        self,
        plan: Plan,
        index: int,
        run_call: RunCall,
        on_step: Callable[[Step], None] | None = None,
        updates: Mapping[str, Updates] = MappingProxyType({}),
    ) -> GeneratedImage:
        tolerate = self._settings.non_finite_images == "warning"
        with memory_errors():
            return generate_image(
                plan, index, self._pipelines, run_call, on_step, tolerate_non_finite=tolerate, updates=updates
            )

    def _forward(self, calls: Sequence[DenoiserCall]) -> Sequence[Any]:
        self._forwards += 1
        _forwards[self._pipelines.device] += 1
        with self._around(calls[0], sum(call.rows for call in calls)), memory_errors():
            outputs = forward(calls, self._row_buckets(calls[0]), self._ranks)
        self._metrics.forward(calls)
        return outputs

    def _around(self, call: DenoiserCall, rows: int) -> AbstractContextManager[Any]:
        """What a forward is run in, so that its time is learnt, and that it can be preempted where that is possible."""
        if call.rules is None:  # nothing can be learnt from calls that run alone: each has a batch key of its own
            return nullcontext()
        key = call.batch_key
        if self._ranks is not None or self._settings.compile != "off":
            return self._costs.timed(key, rows)
        return self._preemption.around(call.module, key, rows, key, rows * call.pixels // call.rows)

    def _row_buckets(self, call: DenoiserCall) -> list[int]:
        """The buckets within the limits of a forward: padding takes memory too."""
        most = self._executor.row_limit
        if self._settings.max_batch_pixels:
            most = min(most, self._settings.max_batch_pixels * call.rows // call.pixels)
        return [bucket for bucket in self._settings.row_buckets if bucket <= most]


def _settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future its outcome."""
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
