"""What the report says of it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from perf.environment import triton_version
from perf.hostile.run import Findings, Settings, attack
from perf.hostile.targets import Target as Server
from perf.hostile.targets import own_target
from perf.report import Section, Target, table
from perf.soak import MAX_RSS_GROWTH_PERCENT

_LEAST_FOR_VERDICT = 8000
"""Requests, below which memory has no verdict: allocators still grow to what the worst moment needs."""
_MIB = 2**20
QUICK = Settings(requests=300)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Attack a server of our own."""
    with own_target(checkpoint) as server:
        return measure_at(settings, server)


def measure_at(settings: Settings, server: Server) -> Section:
    """Attack a server that runs."""
    findings = asyncio.run(attack(server, settings))
    versions = triton_version(server.addresses.http) if not findings.ended else {}
    return section(settings, findings, versions)


def rss_mib(samples: Sequence[tuple[int, int]], warm_up: int) -> tuple[float, float] | None:
    """Resident memory before and after, each the median of a tenth of the samples behind the warm-up, in MiB.

    Args:
        samples: (requests so far, bytes).
        warm_up: requests that do not count.
    """
    settled = [rss / _MIB for done, rss in samples if done >= warm_up and rss]
    tenth = max(1, len(settled) // 10)
    return (statistics.median(settled[:tenth]), statistics.median(settled[-tenth:])) if settled else None


def section(settings: Settings, findings: Findings, versions: Mapping[str, str]) -> Section:
    """The section of the report."""
    memory = rss_mib(findings.rss_bytes, findings.warm_up)
    growth = None if memory is None else 100 * (memory[1] / memory[0] - 1)
    before_after = "not measured" if memory is None else f"{memory[0]:.0f} MiB before, {memory[1]:.0f} MiB after"
    faults = [f"`--only '{name}' --seed {settings.seed}`: {problem}" for name, problem in findings.unexpected]
    faults += [f"`--only '{name}' --seed {settings.seed}`: hung" for name in findings.hung]
    if findings.private_connections:
        faults.append(f"{findings.private_connections} connections to a host on loopback, which is private")
    if findings.ended:
        faults.append(f"{', '.join(findings.ended)} ended during or after one of: {'; '.join(findings.suspects)}")
    enough = settings.requests >= _LEAST_FOR_VERDICT and growth is not None
    return Section(
        title="Hostile requests",
        settings=settings,
        paragraphs=[
            f"{findings.tried.total()} requests of {len(findings.tried)} kinds, {settings.connections} at a time: "
            f"**{len(findings.unexpected)} unexpected, {len(findings.hung)} hung** (no response within "
            f"{settings.deadline_s:g} s). Memory of all processes: {before_after}, the first "
            f"{findings.warm_up} requests left out.",
            table(("had to be", "requests"), sorted(findings.expected.items())),
            table(("kind", "tried"), sorted(findings.tried.items())),
            table(("way: status", "requests"), sorted(findings.statuses.items())),
        ],
        raw={
            "tried": findings.tried,
            "statuses": findings.statuses,
            "unexpected": findings.unexpected,
            "hung": findings.hung,
            "rss_bytes": findings.rss_bytes,
        },
        targets=[
            Target(
                "hostile: every response as documented, none hung",
                f"{len(findings.unexpected)} unexpected, {len(findings.hung)} hung",
                not faults,
            ),
            Target(
                f"hostile: memory grows by less than {MAX_RSS_GROWTH_PERCENT:g} %",
                "not measured" if growth is None else f"{growth:+.2f} %, {before_after}",
                None if growth is None or not enough else growth < MAX_RSS_GROWTH_PERCENT,
            ),
        ],
        faults=faults,
        versions=versions,
    )
