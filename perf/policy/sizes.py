"""The part `sizes`: short requests of 64x64 while somebody has large images made, against the tree before, in turns."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.environment import ROOT
from perf.policy.in_process import BALANCED, BEFORE
from perf.policy.sides import Side
from perf.report import Section, Target, table
from perf.summaries import percentile_ms
from perf.tree_comparison import check_out
from perf.turns import rotated

_MOST_TIMES_ALONE = 1.5


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        before: git reference of the tree before, or a checkout's folder.
        rounds: repetitions of everything.
        requests: short ones, one after the other.
        large_px: width and height of the large images.
        side_px: of the short ones.
    """

    before: str = "b27288a"
    rounds: int = 3
    requests: int = 20
    large_px: tuple[int, ...] = (128, 256, 512)
    side_px: int = 64


QUICK = Settings(before=str(ROOT), rounds=1, requests=2, large_px=(128,))

Latencies = dict[tuple[int, str], list[list[float]]]
"""Seconds of each round, by the large images' size, 0 for none, and the side."""


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Send short requests, alone and beside large images."""
    found: Latencies = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-policy-")))
        sides = {
            BALANCED: stack.enter_context(Side(BALANCED, ROOT, checkpoint)),
            BEFORE: stack.enter_context(Side(BEFORE, check_out(settings.before, folder), checkpoint)),
        }
        for number in range(settings.rounds):
            for large_px in (0, *settings.large_px):
                for name in rotated(list(sides), number):
                    load: dict[str, Any] = {"requests": settings.requests, "clients": 1, "seed": number}
                    load |= {"side_px": settings.side_px, "large_px": large_px}
                    records = sides[name].send(f"beside {large_px}", number, load)
                    found.setdefault((large_px, name), []).append([record.latency_s for record in records])
    return section(settings, found)


def section(settings: Settings, found: Latencies) -> Section:
    """What the report says about it."""
    p95 = {key: [percentile_ms(latencies, 95) for latencies in rounds] for key, rounds in found.items()}
    rows, times = [], {}
    for large_px in (0, *settings.large_px):
        now, before = (statistics.median(p95[large_px, name]) for name in (BALANCED, BEFORE))
        alone = statistics.median(p95[0, BALANCED])
        times[large_px] = now / alone
        rows.append((f"{large_px}x{large_px}" if large_px else "none", now, before, now / alone))
    largest = settings.large_px[-1]
    return Section(
        title="Short requests beside large images",
        settings=settings,
        paragraphs=[
            f"One client has images of {settings.side_px}x{settings.side_px} in 4 steps made, one after the other, and"
            " another one larger ones in 4 steps. Both trees, and the clock, as in the part engine, in turns; p95 of"
            f" the small ones, medians of {settings.rounds} rounds.",
            table(("large images", "p95 now, ms", "p95 before, ms", "now, times alone"), rows),
        ],
        raw={"latencies_s": [{"large_px": px, "side": name, "rounds": all_} for (px, name), all_ in found.items()]},
        targets=[
            Target(
                f"short p95 beside {largest}x{largest} within 1.5 times of alone",
                f"{times[largest]:.1f} times",
                times[largest] <= _MOST_TIMES_ALONE,
            )
        ],
    )
