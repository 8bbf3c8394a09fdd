"""The report of `perf.locust_load`, from the CSV files that locust writes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf.report import surroundings_section, table
from perf.traces import LONG_STEPS, SHORT_SHARE, SHORT_STEPS

_ALL = "Aggregated"
_MOMENTS = 12  # lines of the table over time


def read_csv(prefix: Path, part: str) -> list[dict[str, str]]:
    """The lines of `<prefix>_<part>.csv`, by column; none where locust had nothing to write."""
    path = prefix.with_name(f"{prefix.name}_{part}.csv")
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def locust_report(
    surroundings: Mapping[str, Any], parameters: Mapping[str, Any], prefix: Path
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the measurement.
        prefix: what the names of locust's CSV files begin with.
    """
    stats, failures, history = (read_csv(prefix, part) for part in ("stats", "failures", "stats_history"))
    sections = [
        "# Many users, by locust",
        surroundings_section(surroundings, parameters),
        "## Requests",
        f"Response times in ms. {SHORT_SHARE:.0%} of the requests are short ({SHORT_STEPS} steps), the others long "
        f"({LONG_STEPS}). Every answer has been checked: number, size, seeds, and that a repeated request gives the "
        "same image.",
        table(
            ("request", "requests", "failures", "median", "p95", "p99", "longest", "requests/s"),
            [_request_row(line) for line in stats],
        ),
        "## Over time",
        "Users come along a ramp, stay, come all at once in a burst, and leave again. Response times (ms) are those of "
        "the ten seconds before.",
        table(("second", "users", "requests/s", "median", "p95"), _time_rows(history)),
        "## Failures by kind",
        table(
            ("request", "kind", "times"),
            [(f"{line['Method']}: {line['Name']}", line["Error"], line["Occurrences"]) for line in failures],
        )
        if failures
        else "None.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "stats": stats,
        "failures": failures,
        "history": history,
    }
    return "\n\n".join(sections) + "\n", raw


def _request_row(line: Mapping[str, str]) -> tuple[object, ...]:
    name = f"{line['Type']}: {line['Name']}" if line["Name"] != _ALL else "all"
    times_ms = [_number(line[column]) for column in ("50%", "95%", "99%", "100%")]
    counts = int(line["Request Count"]), int(line["Failure Count"])
    return (name, *counts, *times_ms, _number(line["Requests/s"]))


def _time_rows(history: list[dict[str, str]]) -> list[tuple[object, ...]]:
    """Some moments, evenly spread."""
    moments = [line for line in history if line["Name"] == _ALL]
    every = max(1, -(-len(moments) // _MOMENTS))
    return [
        (
            int(line["Timestamp"]) - int(moments[0]["Timestamp"]),
            int(line["User Count"]),
            *(_number(line[column]) for column in ("Requests/s", "50%", "95%")),
        )
        for line in moments[::every]
    ]


def _number(text: str) -> float:
    """Locust writes N/A where there has been no request."""
    return float(text) if text != "N/A" else float("nan")
