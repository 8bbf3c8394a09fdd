"""Runs unmodified pipeline calls side by side, each in a greenlet of its own, so that they share denoiser forwards.

Where a pipeline calls its denoiser, its greenlet is suspended with the call that it needs. The scheduler picks calls
that share a forward; the executor runs it and resumes each greenlet with its part of the output. Images join and leave
at any step.

    tick = start new runs · end runs that are to stop · forward one batch · resume its runs, do what they share, resume
           them again · resume those whose copies came

A long forward, or a run's long decode, gives way between its layers where others wait: the scheduler then picks what
goes on. One waits like that at a time, so that there is never more in memory than its layers and a whole forward.

No Triton, no I/O, no clock, no torch. One thread drives it; only `submit` may be called from others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import greenlet

from imagegen.engine.failure import Failure
from imagegen.engine.pipeline_run import Arrival, PipelineRun
from imagegen.engine.scheduler import Rest, Scheduler
from imagegen.engine.shared_forward import SharedForward
from imagegen.engine.shared_task import SharedTask, do_together

_log = logging.getLogger(__name__)

Forward = Callable[[Sequence[Any]], Sequence[Any]]


class Executor:
    """Runs pipeline calls to their end, sharing forwards.

    Args:
        forward: runs calls of one batch key in one go and returns their outputs in order. May raise: the batch is
            then halved until only the call that fails by itself sees the exception.
        scheduler: picks the calls of each forward.
        out_of_memory: exceptions that mean "too many rows at once", not "this call is bad".

    Attributes:
        row_limit: most rows of a forward at the moment: `max_batch_rows`, or less after out-of-memory.
        isolation_retries: forwards that failed and were run again in halves.
    """

    REGROW_AFTER = 64  # forwards without out-of-memory before one more row is tried

    def __init__(
        self,
        forward: Forward,
        scheduler: Scheduler[PipelineRun | SharedForward],
        out_of_memory: tuple[type[BaseException], ...] = (MemoryError,),
    ) -> None:
        self._forward = forward
        self._scheduler = scheduler
        self._out_of_memory = out_of_memory
        self._submitted: deque[PipelineRun] = deque()
        self._live: set[PipelineRun] = set()  # started and not ended
        self._arriving: deque[PipelineRun] = deque()  # of those, the ones that wait for an arrival
        self._sharing: list[PipelineRun] = []  # those that wait until others have come as far
        self._has_company = False  # whether the run that goes on was in a forward with others
        self._running: PipelineRun | SharedForward | None = None
        self._preempted: PipelineRun | SharedForward | None = None
        self._makes_room = False  # the one that was preempted goes on to its end
        self._greenlet: Any = None
        self.row_limit = scheduler.limits.max_batch_rows
        self._since_out_of_memory = self.isolation_retries = 0

    @property
    def active(self) -> int:
        """Runs that have not ended."""
        return len(self._submitted) + len(self._live)

    def submit(self, run: PipelineRun) -> None:
        """Take a run; it starts at the next tick. Safe from any thread."""
        self._submitted.append(run)

    def call(self, call: Any) -> Any:
        """Run one denoiser call, from inside `PipelineRun.run`: suspends the run until its forward is done.

        Outside any run the call is forwarded at once, alone.

        Args:
            call: as `scheduler.Call` describes it.
        """
        run = self._running
        if not isinstance(run, PipelineRun) or run._greenlet is not greenlet.getcurrent():
            return self._forward([call])[0]
        run.call = call
        return self._greenlet.switch()

    def suspend_until(self, arrival: Arrival) -> None:
        """Let the other runs go on until something has come, from inside `PipelineRun.run`.

        Its greenlet has this method, as those below, as an attribute, so that whoever works for a run can find it.
        """
        run = self._running
        assert isinstance(run, PipelineRun)
        assert run._greenlet is greenlet.getcurrent()
        run.arrival = arrival
        self._greenlet.switch()

    def share(self, task: SharedTask) -> Any:
        """Do a task, as one with equal tasks of runs of the same forward, from inside `PipelineRun.run`."""
        run = self._running
        assert isinstance(run, PipelineRun)
        if not self._has_company:
            return task.alone()
        run.task = task
        return self._greenlet.switch()

    def give_way(self, rest: Rest) -> bool:
        """Let others have the device, from inside a run or a forward whose rest can wait. False if there are none."""
        here = self._running
        assert here is not None
        own = len(here.runs) if isinstance(here, SharedForward) else 1
        if self._preempted is not None or self._makes_room or self.active <= own:
            return False
        self._preempted = here
        here.call = rest
        self._greenlet.switch()
        return True

    def make_room(self) -> bool:
        """Let what was preempted end, from inside a run or a forward that finds no memory. False where nothing was."""
        if self._preempted is None or self._running is None:
            return False
        self._makes_room = True
        self._running.call = Rest(object(), 0, 0, 0.0, 0.0)
        self._greenlet.switch()
        return True

    def tick(self) -> bool:
        """Do one round. Returns False when there was nothing to do."""
        if not self.active:
            return False
        self._greenlet = greenlet.getcurrent()
        while self._submitted:
            self._start(self._submitted.popleft())
        self._end_stopped()
        if self._makes_room:
            assert self._preempted is not None
            batch = [self._preempted]
            self._scheduler.take(self._preempted)
        else:
            batch = self._scheduler.next_batch(self.row_limit)
        if batch:
            self._advance(batch)
        self._resume_arrived(wait=not batch)
        return True

    def abandon(self, error: Exception) -> None:
        """End every run with `error`."""
        self._greenlet = greenlet.getcurrent()
        while self._submitted:
            self._end(self._submitted.popleft(), None, error)
        self._has_company = False
        self._running = None
        for run in (*self._scheduler.take_all(), *self._arriving, *self._sharing):
            self._fail(run, error)
        self._scheduler.take_all()
        self._arriving.clear()
        self._sharing.clear()
        for run in list(self._live):  # went on although told to end, or was lost by what broke the tick
            self._end(run, None, error)

    def _start(self, run: PipelineRun) -> None:
        self._live.add(run)
        error = run.stop()
        if error is not None:
            return self._end(run, None, error)
        run._greenlet = greenlet.greenlet(run.run)
        for method in (self.suspend_until, self.share, self.give_way, self.make_room):
            setattr(run._greenlet, method.__name__, method)
        self._resume(run, None)

    def _end(self, run: PipelineRun, result: Any, error: BaseException | None) -> None:
        run._greenlet = run.call = run.arrival = run.task = None
        self._live.discard(run)
        try:
            run.done(result, error)
        except Exception:  # one run's owner must not take the others down
            _log.exception("the outcome of an image could not be handed over")

    def _end_stopped(self) -> None:
        for run in self._scheduler.take_all():
            error = run.stop()
            if error is None:
                self._scheduler.keep(run)
            else:
                self._fail(run, error)

    def _fail(self, waiting: PipelineRun | SharedForward, error: Exception) -> None:
        """Resume a run, or all that wait for a forward, with an error."""
        if waiting is self._preempted:
            self._preempted, self._makes_room = None, False
        if isinstance(waiting, SharedForward):
            waiting.end()
        for run in waiting.runs if isinstance(waiting, SharedForward) else [waiting]:
            self._resume(run, Failure(run.stop() or error))

    def _advance(self, batch: Sequence[PipelineRun | SharedForward]) -> None:
        """Run the forward of these runs, or let the one go on that was preempted, and resume its runs."""
        first = batch[0]
        if first is self._preempted:
            self._preempted = None
        if isinstance(first, PipelineRun) and isinstance(first.call, Rest):
            self._resume(first, None)
        else:
            shared = first if isinstance(first, SharedForward) else SharedForward(batch, self._isolated, self)
            self._running = shared
            outcomes = shared.go_on()
            self._running = None
            if outcomes is None:
                return self._scheduler.add(shared)
            self._has_company = len(shared.runs) > 1
            for run, outcome in zip(shared.runs, outcomes, strict=True):
                self._resume(run, outcome)
            while self._sharing:
                self._resume_sharing()
            self._has_company = False
        self._makes_room = self._makes_room and self._preempted is not None

    def _resume_arrived(self, wait: bool) -> None:
        """Resume the runs whose arrival has come. `wait`: for the first of them, where there is nothing else to do."""
        for index, run in enumerate(list(self._arriving)):
            assert run.arrival is not None
            if wait and not index:
                run.arrival.wait()
            if run.arrival.arrived():
                self._arriving.remove(run)
                self._resume(run, None)

    def _resume_sharing(self) -> None:
        """Do the tasks that runs wait for, those of equal key as one, and resume the runs."""
        runs, outcomes = self._sharing, do_together([run.task for run in self._sharing], self._out_of_memory)
        self._sharing = []
        for run, outcome in zip(runs, outcomes, strict=True):
            self._resume(run, outcome)

    def _resume(self, run: PipelineRun, outcome: Any) -> None:
        """Let a run go on until it is suspended again or ends."""
        run._calls_done += run.call is not None and not isinstance(run.call, Rest)
        run.call = run.arrival = run.task = None
        self._running = run
        try:
            if isinstance(outcome, Failure):
                result = run._greenlet.throw(*outcome.take())
            elif run._greenlet:
                result = run._greenlet.switch(outcome)
            else:
                result = run._greenlet.switch()
        except BaseException as error:  # SystemExit from a pipeline must not take the others down
            if error.__traceback__ is not None:  # without this frame, from which its callers can be reached: a cycle
                error.__traceback__ = error.__traceback__.tb_next
            self._end(run, None, error)
            return
        finally:
            self._running = None
        if run._greenlet.dead:
            self._end(run, result, None)
        elif run.arrival is not None:
            self._arriving.append(run)
        elif run.task is not None:
            self._sharing.append(run)
        else:
            self._scheduler.add(run)

    def _isolated(self, calls: Sequence[Any]) -> list[Any]:
        """Outputs of the calls in order, a `Failure` for each that fails also by itself."""
        if not calls:
            return []
        try:
            outputs = list(self._forward(calls))
            if len(outputs) != len(calls):
                raise RuntimeError(f"{len(outputs)} outputs for {len(calls)} calls")
        except Exception as error:
            crowded = isinstance(error, self._out_of_memory)
            waits = crowded and self._preempted is not None
            if crowded and not waits:
                self.row_limit = max(1, min(self.row_limit, sum(call.rows for call in calls) // 2))
                self._since_out_of_memory = 0
            if len(calls) == 1 and not waits:
                return [Failure(error)]
        else:
            self._since_out_of_memory += 1
            if self._since_out_of_memory % self.REGROW_AFTER == 0:
                self.row_limit = min(self._scheduler.limits.max_batch_rows, self.row_limit + 1)
            return outputs
        # Outside the except block: the exception's traceback holds the tensors of the failed forward.
        if waits and self.make_room():
            return self._isolated(calls)
        self.isolation_retries += 1
        half = len(calls) // 2
        return self._isolated(calls[:half]) + self._isolated(calls[half:])
