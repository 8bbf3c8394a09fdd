"""One load on one engine, once: what a comparison is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.progress import Progress

from perf.figures import Record
from perf.image_check import ImageCheck
from perf.load import Answered, Client, Notify, closed_loop, open_loop
from perf.traces import closed_loop_shares, poisson_trace

Load = Callable[[Client, Notify], Awaitable[list[Answered]]]


@dataclass(frozen=True)
class Cell:
    """One load on one engine, once.

    Attributes:
        scenario: the load's name.
        engine: who answers.
        round: which repetition, from 0.
        load: sends it.
        requests: of it.
    """

    scenario: str
    engine: str
    round: int
    load: Load
    requests: int


def open_cell(scenario: str, engine: str, number: int, requests: int, rate_per_s: float, seed: int) -> Cell:
    """Poisson arrivals."""
    trace = poisson_trace(requests, rate_per_s, seed)
    return Cell(scenario, engine, number, lambda client, notify: open_loop(client, trace, notify), requests)


def closed_cell(scenario: str, engine: str, number: int, clients: int, each: int, seed: int) -> Cell:
    """Clients that send their next request when the last one is answered."""
    shares = closed_loop_shares(clients, each, seed)
    return Cell(scenario, engine, number, lambda client, notify: closed_loop(client, shares, notify), clients * each)


def in_turn(engines: Sequence[str], number: int) -> list[str]:
    """The order of round `number`: another engine begins in each."""
    turn = number % len(engines)
    return [*engines[turn:], *engines[:turn]]


async def run_cells(
    cells: Sequence[Cell], clients: Mapping[str, Client], check: ImageCheck, progress: Progress
) -> list[Record]:
    """Run them one after the other.

    Args:
        cells: what to do, in order.
        clients: by engine.
        check: of every image.
        progress: shows how far it is.
    """
    bar = progress.add_task("", total=sum(cell.requests for cell in cells))
    records = []
    for cell in cells:
        progress.update(bar, description=f"round {cell.round + 1}: {cell.scenario}: {cell.engine}", refresh=True)
        answers = await cell.load(clients[cell.engine], lambda: progress.update(bar, advance=1, refresh=True))
        records += [_record(cell, answered, check) for answered in answers]
    return records


def _record(cell: Cell, answered: Answered, check: ImageCheck) -> Record:
    error = answered.error
    if answered.result is not None:
        error = check.fault(answered.planned, answered.result)
    return Record(
        scenario=cell.scenario,
        engine=cell.engine,
        round=cell.round,
        index=answered.planned.index,
        num_inference_steps=answered.planned.num_inference_steps,
        started_s=answered.started_s,
        latency_s=answered.latency_s,
        error=error,
    )
