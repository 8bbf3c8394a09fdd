"""The one report of `./build.sh bench`, put together from its parts'."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.bench_plots import Plot
from perf.peer_report import SHOWN
from perf.report import table

_TITLES = {
    "peers": "Peers",
    "peers_launch_bound": "Peers, launch-bound checkpoint",
    "stages": "Stages",
    "growth": "Growth",
    "soak": "Soak",
    "analyzer": "perf_analyzer",
    "locust_load": "locust",
    "gpu": "GPU shapes",
}
# What all parts have in common is said once, at the top.
_COMMON = re.compile(r"^- (?:date|commit|cpu|gpu|python|versions): .*\n", re.MULTILINE)
_HEADING = re.compile(r"^#", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Attributes:
        name: of the part.
        result: what its files are called.
        seconds: that it took.
        fault: why it failed; empty when it did not.
    """

    name: str
    result: str
    seconds: float
    fault: str


def bench_report(
    surroundings: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    markdowns: Mapping[str, str],
    plots: Sequence[Plot],
    folder: Path,
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and a summary as JSON values.

    Args:
        surroundings: what it was measured with.
        outcomes: of all parts, in order.
        markdowns: the parts' own reports by result.
        plots: in the folder.
        folder: where the parts' numbers lie, too.
    """
    targets = _targets(folder, [outcome.result for outcome in outcomes])
    versions = ", ".join(f"{name} {value}" for name, value in _versions(folder, outcomes, surroundings).items())
    sections = [
        "# Measured",
        f"`{surroundings['command']}`\n\n"
        + "\n".join(f"- {name}: {surroundings[name]}" for name in ("date", "commit", "cpu", "gpu", "python"))
        + f"\n- versions: {versions}",
        *_images(plots[:1]),
        "## In short",
        table(("target", "reached", ""), targets) if targets else "No part with a target was measured.",
        "## Parts",
        table(
            ("part", "seconds", "outcome"),
            [(outcome.name, f"{outcome.seconds:.0f}", outcome.fault or "done") for outcome in outcomes],
        ),
    ]
    for outcome in outcomes:
        if outcome.result in markdowns:
            sections += [part_section(markdowns[outcome.result])]
            sections += _images([plot for plot in plots[1:] if plot.part == outcome.result])
        else:
            sections += [f"## {_TITLES[outcome.result]}", f"Nothing was measured: {outcome.fault}."]
    raw = {
        "surroundings": surroundings,
        "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes],
        "targets": targets,
        "plots": [plot.file for plot in plots],
    }
    return "\n\n".join(sections) + "\n", raw


def part_section(markdown: str) -> str:
    """A part's report as a section: headings one level lower, without what is said at the top."""
    return _HEADING.sub("##", _COMMON.sub("", markdown)).strip()


def _images(plots: Sequence[Plot]) -> list[str]:
    return [f"![{plot.caption}]({plot.file})\n\n*{plot.caption}*" for plot in plots]


def _versions(folder: Path, outcomes: Sequence[Outcome], surroundings: Mapping[str, Any]) -> dict[str, str]:
    """Those of all parts: the server's is known to them alone."""
    versions: dict[str, str] = {}
    for outcome in outcomes:
        path = folder / f"{outcome.result}.json"
        if path.exists():
            versions |= json.loads(path.read_text())["surroundings"]["versions"]
    return dict(surroundings["versions"]) | versions


def _targets(folder: Path, results: Sequence[str]) -> list[tuple[str, str, str]]:
    """Target, what was reached, and the verdict."""
    rows = []
    for result in results:
        path = folder / f"{result}.json"
        if not path.exists():
            continue
        raw = json.loads(path.read_text())
        if result.startswith("peers"):
            where = "launch-bound checkpoint" if result == "peers_launch_bound" else "bundled checkpoint"
            rows += [
                (
                    f"{where}: {one['meaning']}",
                    f"{one['advantage']['pooled']:.2f}x ({SHOWN[one['other']]})",
                    one["verdict"],
                )
                for one in raw["targets"]
            ]
        elif result == "stages":
            off = ", ".join(f"{name} {percent:+.1f} %" for name, percent in raw["off_percent"].items())
            rows.append(("stages add up to the whole request within 5 %", off, _verdict(raw["met"])))
        elif result == "soak":
            grown = raw["growth_percent"]["rss_bytes"]
            told = f"{len(raw['failures'])} of {raw['answered'] + len(raw['failures'])} requests failed"
            told += "" if grown is None else f"; memory {grown:+.2f} %; growing: {', '.join(raw['grown']) or 'nothing'}"
            verdict = "too short for a verdict" if raw["too_short"] and raw["met"] else _verdict(raw["met"])
            rows.append(("soak: no failure, memory below +3 %, no growth of /dev/shm, threads, sockets", told, verdict))
    return rows


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"
