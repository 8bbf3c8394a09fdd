"""Scheduler, policy and slots of the engine on a clock that only forwards move, for thousands of requests a second.

What a device costs is a straight line by rows, and what an image takes besides its forwards is a number; nothing else
is played. So the numbers are the same on every machine.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imagegen.engine.backlog import Backlog
from imagegen.engine.policy import AMORTIZATION, Prefer, WeightedShortestProcessingTime
from imagegen.engine.scheduler import Limits, Policy, Scheduler
from imagegen.engine.slots import Slots, Ticket
from perf.summaries import Record, Summary, summarize
from perf.traces import Planned, closed_loop_trace, mixed_steps_mean, poisson_trace

MAX_BATCH = 8
"""Images of a full batch: their rows are a full forward's."""

_SIDE_PX = 64
_DELAY_MS = 10.0


@dataclass(frozen=True)
class Device:
    """How long things take on a device, in milliseconds.

    Attributes:
        fixed_ms, row_ms: of a forward, whatever its rows and for each.
        begin_ms, end_ms: text encoding, and VAE and pixels, of an image.
        step_ms: the pipeline's own code, of a step and image.
    """

    fixed_ms: float
    row_ms: float
    begin_ms: float = 2.5
    end_ms: float = 5.5
    step_ms: float = 0.5

    def forward_ms(self, images: int) -> float:
        """A forward of so many images with guidance, and their steps."""
        return self.fixed_ms + images * (2 * self.row_ms + self.step_ms)

    def per_s(self, images: int) -> float:
        """Requests of the mix a second when always so many images share every forward."""
        per_image_ms = self.begin_ms + self.end_ms + mixed_steps_mean() * self.forward_ms(images) / images
        return 1000 / per_image_ms


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        requests: how many.
        rate_per_s: of Poisson arrivals; 0 for a closed loop.
        clients: of a closed loop.
        seed: of the trace.
    """

    requests: int
    rate_per_s: float = 0.0
    clients: int = 8
    seed: int = 1

    def trace(self) -> list[Planned]:
        """The requests, in order of arrival."""
        if self.rate_per_s:
            return poisson_trace(self.requests, self.rate_per_s, self.seed, _SIDE_PX)
        return closed_loop_trace(self.requests, self.seed, _SIDE_PX)


@dataclass
class Outcome:
    """What a simulation gave.

    Attributes:
        records: of the requests, on the simulated clock.
        begun: indexes of the requests in the order in which they were begun.
        forward_images: images of each forward.
        backlogs: of each forward, how many images could have been in it, where somebody waited for a slot; else 0.
        waits: of each call, forwards for which it was passed over.
    """

    records: list[Record] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    forward_images: list[int] = field(default_factory=list)
    backlogs: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    @property
    def summary(self) -> Summary:
        """Latencies and requests a second."""
        return summarize(self.records)


@dataclass(frozen=True)
class Call:
    """One denoiser call of an image with guidance."""

    rows: int = 2
    pixels: int = 2
    batch_key: str = "all alike"


_CALL = Call()


@dataclass(eq=False)
class _Image:
    """One image in the scheduler."""

    index: int
    planned: Planned
    since_ms: float
    calls_left: int
    ticket: Ticket
    waiting_since: int = 0
    call: Call = _CALL


MakePolicy = Callable[[Device, Callable[[], bool]], Policy]
"""A policy for a device, and what says whether requests wait for a slot."""


def preferring(prefer: Prefer) -> MakePolicy:
    """The engine's policy by its setting, its costs already learnt."""
    return lambda device, line: WeightedShortestProcessingTime(
        lambda _: device.fixed_ms / device.row_ms, amortization=AMORTIZATION[prefer], line=line
    )


def ignoring_the_line(device: Device, line: Callable[[], bool]) -> Policy:
    """The rule without a look at the line, as the engine had it before."""
    return WeightedShortestProcessingTime(lambda _: device.fixed_ms / device.row_ms, amortization=4.0)


def full_batches(device: Device, line: Callable[[], bool]) -> Policy:
    """Everybody shares every forward."""
    return WeightedShortestProcessingTime()


class Simulation:
    """One load on one device under one policy.

    Args:
        device: what things cost.
        load: what is sent.
        make_policy: the policy.
        slots: images that are generated at the same time.
        in_order: slots are given in the order of arrival, as the engine did before, instead of least work first.
        visible: how many that wait can be seen, as behind a server with a queue of its own: 1. None for all.
    """

    def __init__(
        self,
        device: Device,
        load: Load,
        make_policy: MakePolicy,
        *,
        slots: int = 16,
        in_order: bool = False,
        visible: int | None = None,
    ) -> None:
        self._device, self._load = device, load
        self._in_order = in_order
        self._visible = math.inf if visible is None else visible
        self._slots = Slots(slots)
        backlog = Backlog()
        backlog.waiting = lambda: self._slots.waiting
        self._scheduler: Scheduler[_Image] = Scheduler(Limits(2 * MAX_BATCH), make_policy(device, backlog.seen))
        self._clock_ms = 0.0
        self._ahead = deque(enumerate(load.trace()))
        self._waiting: list[_Image] = []
        self._active = 0
        self._forwards = 0
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """To the last response."""
        while self._ahead or self._waiting or self._active:
            self._arrive()
            self._begin()
            self._forward()
        return self._outcome

    def _arrive(self) -> None:
        """Those enter the line that have come by now, or whose client is free."""
        if self._load.rate_per_s and not self._active and not self._waiting:
            self._clock_ms = max(self._clock_ms, self._ahead[0][1].due_s * 1000)
        while self._ahead and self._enters(self._ahead[0][1]):
            index, planned = self._ahead.popleft()
            steps = planned.request.num_inference_steps
            since_ms = planned.due_s * 1000 if self._load.rate_per_s else self._clock_ms
            ticket = self._slots.enter(0.0 if self._in_order else steps)
            self._waiting.append(_Image(index, planned, since_ms, steps, ticket))

    def _enters(self, planned: Planned) -> bool:
        if not self._load.rate_per_s:
            return self._active + len(self._waiting) < self._load.clients
        return planned.due_s * 1000 <= self._clock_ms and self._slots.waiting < self._visible

    def _begin(self) -> None:
        for image in [image for image in self._waiting if image.ticket.done()]:
            self._waiting.remove(image)
            self._active += 1
            self._clock_ms += self._device.begin_ms
            self._outcome.begun.append(image.index)
            self._scheduler.add(image)

    def _forward(self) -> None:
        could = min(MAX_BATCH, self._active) if self._slots.waiting else 0
        batch = self._scheduler.next_batch(2 * MAX_BATCH)
        self._outcome.backlogs.append(could)
        self._outcome.forward_images.append(len(batch))
        self._clock_ms += self._device.forward_ms(len(batch))
        for image in batch:
            self._outcome.waits.append(self._forwards - image.waiting_since)
            image.calls_left -= 1
            if image.calls_left:
                continue
            self._clock_ms += self._device.end_ms
            self._active -= 1
            self._slots.leave(image.ticket)
            self._outcome.records.append(_record(image.planned, image.since_ms, self._clock_ms))
        self._forwards += 1
        for image in batch:
            if image.calls_left:
                self._scheduler.add(image)


def simulate(
    device: Device, load: Load, make_policy: MakePolicy, *, in_order: bool = False, visible: int | None = None
) -> Outcome:
    """One load on one device; see `Simulation`."""
    return Simulation(device, load, make_policy, in_order=in_order, visible=visible).run()


def simulate_static_batches(device: Device, load: Load) -> Outcome:
    """What servers do that batch requests: up to eight, those of equal steps as one, answered when all are done."""
    clock_ms, outcome = 0.0, Outcome()
    ahead, line = deque(load.trace()), deque[tuple[float, Planned]]()
    free = load.clients
    while ahead or line:
        if not load.rate_per_s:
            for _ in range(min(free, len(ahead))):
                line.append((clock_ms, ahead.popleft()))
        else:
            if not line:
                clock_ms = max(clock_ms, ahead[0].due_s * 1000 + _DELAY_MS)
            while ahead and ahead[0].due_s * 1000 <= clock_ms:
                line.append((ahead[0].due_s * 1000, ahead.popleft()))
        batch = [line.popleft() for _ in range(min(MAX_BATCH, len(line)))]
        free = len(batch)
        for group in _equal(batch):
            steps = group[0][1].request.num_inference_steps
            outcome.forward_images += [len(group)] * steps
            clock_ms += len(group) * (device.begin_ms + device.end_ms) + steps * device.forward_ms(len(group))
        outcome.records += [_record(planned, since_ms, clock_ms) for since_ms, planned in batch]
    return outcome


def _equal(batch: Sequence[tuple[float, Planned]]) -> list[list[tuple[float, Planned]]]:
    groups: dict[int, list[tuple[float, Planned]]] = {}
    for one in batch:
        groups.setdefault(one[1].request.num_inference_steps, []).append(one)
    return list(groups.values())


def _record(planned: Planned, since_ms: float, ended_ms: float) -> Record:
    steps = planned.request.num_inference_steps
    return Record("", "", 0, steps, since_ms / 1000, (ended_ms - since_ms) / 1000, "")


def mean_images(outcome: Outcome) -> float:
    """Of a forward."""
    return statistics.mean(outcome.forward_images)
