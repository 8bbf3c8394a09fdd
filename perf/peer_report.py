"""The report of `perf.peer_comparison`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from perf.engines import ENGINES, HUB
from perf.figures import COLUMNS, COMPARED, Advantage, Record, Summary, advantage, summarize_all
from perf.peer_plan import Plan
from perf.peers import triton_server
from perf.peers.server import PEERS
from perf.report import surroundings_section, table

SHOWN = {
    HUB: "this server",
    "fastapi": "FastAPI",
    "litserve": "LitServe",
    "ray_serve": "Ray Serve",
    "bentoml": "BentoML",
    triton_server.NAME: "plain Triton",
}
"""The names that people know."""

ONE_AT_A_TIME = ("fastapi",)
_LEAST_REQUESTS = 30  # 21 short ones, of which the p95 is next to the highest
_MEANINGS = {
    HUB: ENGINES[HUB],
    **{name: peer.meaning for name, peer in PEERS.items()},
    triton_server.NAME: triton_server.PEER.meaning,
}


@dataclasses.dataclass(frozen=True)
class Reached:
    """A target and what came of it.

    Attributes:
        meaning: the target in words.
        factor: by how much better this server is meant to be.
        other: the peer that it is compared with.
        advantage: by how much it is.
        requests: that each of the two has answered in this.
    """

    meaning: str
    factor: float
    other: str
    advantage: Advantage
    requests: int

    @property
    def verdict(self) -> str:
        """Whether it is enough; none from a handful of requests."""
        if self.requests < _LEAST_REQUESTS:
            return "too few requests for a verdict"
        return "met" if self.advantage.pooled >= self.factor else "NOT met"


def best_peer(engines: Mapping[str, Summary], figure: str, among: Sequence[str]) -> str | None:
    """Which of `among` does best in `figure`, an attribute of `Summary`; None where none has a number."""
    known = {
        name: value
        for name in among
        if name in engines and not math.isnan(value := float(getattr(engines[name], figure))) and value > 0
    }
    best = min if figure.endswith("_ms") else max
    return best(known, key=lambda name: known[name]) if known else None


def reached_targets(plan: Plan, records: Sequence[Record]) -> list[Reached]:
    """Each target against the peer that it is about."""
    summaries = summarize_all(records)
    peers = [name for name in SHOWN if name != HUB]
    batching = [name for name in peers if name not in ONE_AT_A_TIME]
    percent = f"{plan.load:.0%}"
    wanted = (
        (f"short p95 at {percent} load, one at a time: 15x", plan.open_name, "short_p95_ms", 15.0, ONE_AT_A_TIME),
        (f"short p95 at {percent} load, best batching peer: 8x", plan.open_name, "short_p95_ms", 8.0, batching),
        ("closed loop, requests/s, best peer: 1.4x", plan.closed_name, "requests_per_s", 1.4, peers),
        ("closed loop, requests/s, FastAPI: 2.5x", plan.closed_name, "requests_per_s", 2.5, ONE_AT_A_TIME),
    )
    reached = []
    for meaning, scenario, figure, factor, among in wanted:
        other = best_peer(summaries[scenario], figure, among)
        if other is not None:
            chosen = [record for record in records if record.scenario == scenario]
            reached.append(
                Reached(
                    meaning, factor, other, advantage(chosen, HUB, other, figure), summaries[scenario][HUB].requests
                )
            )
    return reached


def peer_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    plan: Plan,
    forward_s: Mapping[int, float],
    records: Sequence[Record],
    left_out: Mapping[str, str],
    idle_percent: Mapping[str, float],
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it with the single requests as JSON values.

    Args:
        surroundings: see `perf.surroundings`.
        parameters: of the comparison.
        plan: what a round was.
        forward_s: seconds of a denoiser forward by rows, two an image, on an otherwise idle machine.
        records: all requests.
        left_out: why peers did not take part, by name.
        idle_percent: of a core that waiting peers take, by name.
    """
    summaries = summarize_all(records)
    targets = reached_targets(plan, records)
    names = list(next(iter(summaries.values())))
    sections = [
        f"# Peers side by side, {parameters['checkpoint']} checkpoint",
        surroundings_section(surroundings, parameters),
        "\n".join(f"- {SHOWN[name]}: {_MEANINGS[name]}" for name in SHOWN if name in names),
        "All have the same checkpoint, scheduler, float32, malloc settings and one torch thread, and draw one image "
        f"of {parameters['side_px']}x{parameters['side_px']} pixels a request with guidance. 70 % of the requests have "
        "4 steps (short), 30 % have 50 (long), in an order and at times given by a seed: the same for all, who take "
        "turns. PNG is written by Pillow at level 1 by the peers and by ISA-L here (under 1 ms either way at this "
        "size). Peers are asked over HTTP, this server over gRPC. Every image is compared with the other servers' "
        "images of the same request. Latency counts from when a request was due in the open loop, and from when it "
        "was sent in the closed one. "
        f"FastAPI does {plan.capacity_per_s:.2f} requests/s of this mix.",
        _forwards_text(forward_s),
        "Left running while others have their turn, they take of one core: "
        + ", ".join(f"{SHOWN[name]} {percent:.1f} %" for name, percent in idle_percent.items())
        + ".",
    ]
    for scenario, engines in summaries.items():
        chosen = [record for record in records if record.scenario == scenario]
        sections += [
            f"## {scenario[0].upper()}{scenario[1:]}",
            _summary_table(engines),
            _advantage_table(chosen, names),
        ]
    sections += ["## Targets", table(("target", "against", "reached", ""), [_target_row(one) for one in targets])]
    if left_out:
        sections += ["## Left out", "\n".join(f"- {SHOWN[name]}: {reason}" for name, reason in left_out.items())]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "forward_s": forward_s,
        "plan": dataclasses.asdict(plan) | {"open_name": plan.open_name, "closed_name": plan.closed_name},
        "summaries": {
            scenario: {engine: dataclasses.asdict(summary) for engine, summary in engines.items()}
            for scenario, engines in summaries.items()
        },
        "targets": [dataclasses.asdict(one) | {"verdict": one.verdict} for one in targets],
        "left_out": left_out,
        "idle_percent": idle_percent,
        "record_columns": [field.name for field in dataclasses.fields(Record)],
        "records": [
            [round(value, 5) if isinstance(value, float) else value for value in dataclasses.astuple(record)]
            for record in records
        ],
    }
    return "\n\n".join(sections) + "\n", raw


def _summary_table(engines: Mapping[str, Summary]) -> str:
    rows = [
        [SHOWN[name], *(getattr(engines[name], figure) for figure in COLUMNS.values())]
        for name in SHOWN
        if name in engines
    ]
    return table(("server", *COLUMNS), rows)


def _advantage_table(records: Sequence[Record], names: Sequence[str]) -> str:
    others = [name for name in SHOWN if name in names and name != HUB]
    rows = [
        [SHOWN[other], *(_told(advantage(records, HUB, other, COLUMNS[column])) for column in COMPARED)]
        for other in others
    ]
    return table(("this server is better than (by round)", *(name.removesuffix(" ms") for name in COMPARED)), rows)


def _target_row(one: Reached) -> list[str]:
    return [one.meaning, SHOWN[one.other], _told(one.advantage), one.verdict]


def _told(factor: Advantage) -> str:
    """With the range over the rounds where there are several."""
    return str(factor) if factor.lowest != factor.highest else f"{factor.pooled:.2f}x"


def _forwards_text(forward_s: Mapping[int, float]) -> str:
    """What batching can gain at best with this checkpoint."""
    fewest, most = min(forward_s), max(forward_s)
    gain = most / fewest * forward_s[fewest] / forward_s[most]
    told = ", ".join(f"{rows}: {seconds * 1000:.1f} ms" for rows, seconds in forward_s.items())
    return (
        f"Denoiser forward by rows, two an image: {told}. So {most // 2} images that share every forward are "
        f"denoised {gain:.2f} times as fast as one after the other: with that many nobody's batching can gain more "
        "requests/s here."
    )
