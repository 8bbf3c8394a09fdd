"""The report of `perf.mixed_load`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from perf.engines import ENGINES, HUB, SERIAL, STATIC
from perf.figures import COLUMNS, COMPARED, Advantage, Record, Summary, advantage, summarize_all
from perf.report import surroundings_section, table


@dataclasses.dataclass(frozen=True)
class Target:
    """What the hub is meant to reach.

    Attributes:
        scenario: the load.
        other: the engine that it is compared with.
        figure: an attribute of `Summary`.
        factor: by how much better the hub is meant to be.
        meaning: the target in words.
    """

    scenario: str
    other: str
    figure: str
    factor: float
    meaning: str


def mixed_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    forward_s: Mapping[int, float],
    capacity_per_s: float,
    records: Sequence[Record],
    targets: Sequence[Target],
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it with the single requests as JSON values.

    Args:
        surroundings: see `perf.surroundings`.
        parameters: of the trace.
        forward_s: seconds of a denoiser forward by rows.
        capacity_per_s: requests per second that the serial engine can do.
        records: all requests.
        targets: shown next to what was reached.
    """
    summaries = summarize_all(records)
    by_scenario = {name: [record for record in records if record.scenario == name] for name in summaries}
    reached = [
        (target, advantage(by_scenario[target.scenario], HUB, target.other, target.figure))
        for target in targets
        if target.scenario in by_scenario
    ]
    sections = [
        "# What step-level batching buys under mixed load",
        surroundings_section(surroundings, parameters),
        "\n".join(f"- {name}: {meaning}" for name, meaning in ENGINES.items()),
        "Short requests have 4 steps, long ones 50, all with guidance (two rows an image). Latency counts from when "
        "a request was due in the open loop, and from when it was sent in the closed one.",
        "Denoiser forward by rows: "
        + ", ".join(f"{rows}: {seconds * 1000:.1f} ms" for rows, seconds in forward_s.items())
        + ". "
        f"The serial engine does {capacity_per_s:.2f} requests/s of this mix.",
    ]
    for scenario, engines in summaries.items():
        sections += [f"## {scenario[0].upper()}{scenario[1:]}", _summary_table(engines)]
        if all(name in engines for name in ENGINES):
            sections.append(_advantage_table(by_scenario[scenario]))
    sections += ["## Targets", table(("target", "reached", ""), [_target_row(*pair) for pair in reached])]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "forward_s": forward_s,
        "capacity_per_s": capacity_per_s,
        "summaries": {
            scenario: {engine: dataclasses.asdict(summary) for engine, summary in engines.items()}
            for scenario, engines in summaries.items()
        },
        "targets": [dataclasses.asdict(target) | {"reached": dataclasses.asdict(factor)} for target, factor in reached],
        "record_columns": [field.name for field in dataclasses.fields(Record)],
        "records": [
            [round(value, 5) if isinstance(value, float) else value for value in dataclasses.astuple(record)]
            for record in records
        ],
    }
    return "\n\n".join(sections) + "\n", raw


def _summary_table(engines: Mapping[str, Summary]) -> str:
    rows = [[name, *(getattr(summary, figure) for figure in COLUMNS.values())] for name, summary in engines.items()]
    return table(("engine", *COLUMNS), rows)


def _advantage_table(records: Sequence[Record]) -> str:
    rows = [
        [column.removesuffix(" ms"), *(advantage(records, HUB, other, COLUMNS[column]) for other in (SERIAL, STATIC))]
        for column in COMPARED
    ]
    return table((f"{HUB} is better (range over rounds)", f"than {SERIAL}", f"than {STATIC}"), rows)


def _target_row(target: Target, reached: Advantage) -> list[str]:
    return [target.meaning, str(reached), "met" if reached.pooled >= target.factor else "NOT met"]
