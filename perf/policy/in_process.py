"""The part `engine`: the engine as a library against the tree before, and against static batches, in turns.

Each side is a process with its own load, and a clock that other work on the machine hardly moves. Rates are shares of
what eight clients in a closed loop get of an engine that fills all forwards, measured anew when a round begins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from perf.environment import ROOT
from perf.policy.costs import limit_per_s, measure_forwards
from perf.policy.side import STATIC as STATIC_KIND
from perf.policy.sides import Side
from perf.report import Section, Target
from perf.summaries import Record, Summary, advantage_table, summarize, summarize_all, summary_table
from perf.tree_comparison import check_out
from perf.turns import rotated
from perf.workload import SHORT_STEPS

BALANCED, THROUGHPUT, BEFORE, STATIC = "balanced", "throughput", "before", "static"
TITLES = {
    BALANCED: "balanced",
    THROUGHPUT: "throughput",
    BEFORE: "the tree before",
    STATIC: "static batches",
}
OPEN, OVER, CLOSED = "open loop, 80 %", "overload, 120 %", "closed loop of 8"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        before: git reference of the tree before, or a checkout's folder.
        rounds: repetitions of everything, each with traces of its own.
        requests: of the open loop.
        overload: requests of the overload.
        closed: requests of the closed loop.
        repeats: forwards of each size and round, of which the least counts.
        side_px: width and height of the images.
        seed: of the traces.
    """

    before: str = "b27288a"
    rounds: int = 2
    requests: int = 120
    overload: int = 300
    closed: int = 48
    repeats: int = 10
    side_px: int = 64
    seed: int = 1


QUICK = Settings(before=str(ROOT), rounds=1, requests=8, overload=10, closed=8, repeats=1)


@dataclass(frozen=True)
class Round:
    """What one round began with.

    Attributes:
        limit_per_s: requests a second of forwards of 16 rows, back to back.
        capacity_per_s: of eight clients in a closed loop, all forwards filled.
        alone_ms: least milliseconds of a short request that is alone.
    """

    limit_per_s: float
    capacity_per_s: float
    alone_ms: float


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Start all sides, send the loads in turns, and compare.

    Raises:
        SideError: one of them does not start.
        ServerError: git does not know the tree before.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-policy-")))
        before = check_out(settings.before, folder)
        opened = {
            side.name: stack.enter_context(side)
            for side in (
                Side(BALANCED, ROOT, checkpoint),
                Side(THROUGHPUT, ROOT, checkpoint, settings={"prefer": "throughput"}),
                Side(BEFORE, before, checkpoint),
                Side(STATIC, ROOT, checkpoint, STATIC_KIND),
            )
        }
        rounds, records = [], []
        for number in range(settings.rounds):
            one, found = _round(settings, checkpoint, opened, number)
            rounds.append(one)
            records += found
    return section(settings, rounds, records)


def _round(settings: Settings, checkpoint: Path, opened: Mapping[str, Side], number: int) -> tuple[Round, list[Record]]:
    seed, common = settings.seed + number, {"seed": settings.seed + number, "side_px": settings.side_px}
    limit = limit_per_s(measure_forwards(checkpoint, settings.side_px, settings.repeats))
    alone = opened[BALANCED].send("alone", number, {"requests": 10, "clients": 1} | common)
    closed: dict[str, Any] = {"requests": settings.closed, "clients": 8} | common
    full = opened[THROUGHPUT].send("calibration", number, closed | {"seed": 1000 + seed})
    short = [one.latency_s for one in alone if one.num_inference_steps == SHORT_STEPS]
    one = Round(limit, summarize(full).requests_per_s, 1000 * min(short))
    scenarios: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        CLOSED: (tuple(TITLES), closed),
        OPEN: (
            (BALANCED, BEFORE, STATIC),
            {"requests": settings.requests, "rate_per_s": 0.8 * one.capacity_per_s} | common,
        ),
        OVER: (
            (BALANCED, BEFORE, THROUGHPUT),
            {"requests": settings.overload, "rate_per_s": 1.2 * one.capacity_per_s} | common,
        ),
    }
    records = [
        record
        for scenario, (names, load) in scenarios.items()
        for name in rotated(list(names), number)
        for record in opened[name].send(scenario, number, load)
    ]
    return one, records


def section(settings: Settings, rounds: Sequence[Round], records: Sequence[Record]) -> Section:
    """What the report says about it."""
    summaries = summarize_all(records)
    paragraphs = [
        "The engine as a library in a process of its own, prefer=balanced and prefer=throughput, against the tree"
        f" {settings.before} and against a pipeline that does up to eight requests at a time, those of equal steps as"
        " one. One torch thread, float32, no caches, no server in front. 70 % of the requests have 4 steps, 30 % have"
        " 50. All take turns on the same requests. The machine was shared with other work: all times are those of the"
        " processor that a side's process has had, and those in which it had nothing to do.",
        "By round: "
        + "; ".join(
            f"forwards of 16 rows back to back would do {one.limit_per_s:.2f} requests/s, eight clients of an engine"
            f" that fills all forwards get {one.capacity_per_s:.2f}, a short request alone takes {one.alone_ms:.0f} ms"
            for one in rounds
        )
        + ". Rates are shares of the second number.",
    ]
    for scenario, by_side in summaries.items():
        chosen = [record for record in records if record.scenario == scenario]
        paragraphs += [
            f"### {scenario[0].upper()}{scenario[1:]}",
            summary_table(by_side, TITLES),
            advantage_table(chosen, BALANCED, TITLES),
        ]
    return Section(
        title="The engine against the tree before and static batches",
        settings=settings,
        paragraphs=paragraphs,
        raw={
            "rounds": [asdict(one) for one in rounds],
            "summaries": {name: {side: asdict(one) for side, one in by.items()} for name, by in summaries.items()},
            "record_columns": [field.name for field in fields(Record)],
            "records": [astuple(record) for record in records],
        },
        targets=targets(rounds, summaries),
        faults=[f"{record.server}, {record.scenario}: {record.error}" for record in records if record.error],
    )


def targets(rounds: Sequence[Round], found: Mapping[str, Mapping[str, Summary]]) -> list[Target]:
    """Of the default preference."""
    at_80, over, closed = found[OPEN], found[OVER], found[CLOSED]
    short, alone = at_80[BALANCED].short_p95_ms, min(one.alone_ms for one in rounds)
    long, static = at_80[BALANCED].long_p50_ms, at_80[STATIC].long_p50_ms
    kept = over[BALANCED].requests_per_s / over[THROUGHPUT].requests_per_s
    sooner = over[BALANCED].short_p95_ms / over[BEFORE].short_p95_ms
    limit = sum(one.limit_per_s for one in rounds) / len(rounds)
    shares = {name: closed[name].requests_per_s / limit for name in (BALANCED, THROUGHPUT, BEFORE)}
    reached = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return [
        Target("80 %: short p95 <= 300 ms", f"{short:.0f} ms; alone {alone:.0f} ms", short <= 300),
        Target("80 %: long p50 below static batches'", f"{long:.0f} against {static:.0f} ms", long < static),
        Target("120 %: throughput >= 97 % of prefer=throughput's", f"{kept:.1%}", kept >= 0.97),
        Target("120 %: short p95 less than half of before", f"{sooner:.1%}", sooner < 0.5),
        Target("closed loop of 8: >= 90 % of full forwards back to back", reached, shares[BALANCED] >= 0.9),
    ]
