"""One load on one server, once: what a comparison is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from perf.load import Client, Completed, Notify, closed_loop, open_loop
from perf.progress import quiet_progress
from perf.result_check import ResultCheck, WrongResult
from perf.summaries import Record
from perf.traces import Planned, closed_loop_trace, poisson_trace

Change = Callable[[Sequence[Planned]], list[Planned]]
"""Makes a trace of the plain mix what is to be sent."""


@dataclass(frozen=True)
class Trial:
    """One load on one server, once.

    Attributes:
        scenario: the load's name.
        server: which one responds.
        round: which repetition, from 0.
        load: sends it.
        requests: of it.
    """

    scenario: str
    server: str
    round: int
    load: Callable[[Client, Notify], Awaitable[list[Completed]]]
    requests: int


def open_trial(
    scenario: str,
    server: str,
    number: int,
    requests: int,
    rate_per_s: float,
    seed: int,
    side_px: int,
    change: Change = list,
) -> Trial:
    """Poisson arrivals of the mix, as `change` makes it."""
    trace = change(poisson_trace(requests, rate_per_s, seed, side_px))
    return Trial(scenario, server, number, lambda client, notify: open_loop(client, trace, notify), requests)


def closed_trial(
    scenario: str,
    server: str,
    number: int,
    clients: int,
    each: int,
    seed: int,
    side_px: int,
    change: Change = list,
) -> Trial:
    """Clients that send their next request when the last one is answered; `each` is how many each sends on average.

    They send the mix as `change` makes it.
    """
    trace = change(closed_loop_trace(clients * each, seed, side_px))
    return Trial(
        scenario, server, number, lambda client, notify: closed_loop(client, trace, clients, notify), len(trace)
    )


async def run_trials(trials: Sequence[Trial], clients: Mapping[str, Client], check: ResultCheck) -> list[Record]:
    """Run them one after the other.

    Args:
        trials: what to do, in order.
        clients: by server.
        check: of every image.
    """
    records = []
    with quiet_progress() as progress:
        bar = progress.add_task("", total=sum(trial.requests for trial in trials))
        for trial in trials:
            progress.update(bar, description=f"round {trial.round + 1}: {trial.scenario}: {trial.server}", refresh=True)
            completed = await trial.load(clients[trial.server], lambda: progress.update(bar, advance=1, refresh=True))
            records += [_record(trial, one, check) for one in completed]
    return records


def _record(trial: Trial, completed: Completed, check: ResultCheck) -> Record:
    error = completed.error
    request = completed.planned.request
    if completed.result is not None:
        try:
            check.check(request, completed.result.images, completed.result.seeds)
        except WrongResult as wrong:
            error = f"{wrong.kind}: {wrong.details}"
    return Record(
        scenario=trial.scenario,
        server=trial.server,
        round=trial.round,
        num_inference_steps=request.num_inference_steps,
        started_s=completed.started_s,
        latency_s=completed.latency_s,
        error=error,
    )
