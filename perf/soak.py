"""The part `soak`: does anything grow while the server works for ten minutes?"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import AsyncImageClient, ImageGenerationError
from perf.environment import triton_version
from perf.own_server import own_server
from perf.process_tree import Holding, holding
from perf.progress import quiet_progress
from perf.report import Section, Target, table
from perf.result_check import ResultCheck, WrongResult
from perf.workload import random_request

MAX_RSS_GROWTH_PERCENT = 3.0
_LEAST_FOR_VERDICT_S = 300.0
_SAMPLES = 120
_SETTLING_SHARE = 0.1  # of the time: the first minute of ten
_REQUEST_TIMEOUT_S = 120.0
_MIB = 2**20
_HELD = {
    "rss_bytes": ("resident memory, MiB", _MIB),
    "shm_bytes": ("/dev/shm, MiB", _MIB),
    "threads": ("threads", 1),
    "sockets": ("sockets", 1),
    "processes": ("processes", 1),
}
"""What the server holds: title and unit by attribute of `Holding`."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        seconds: that the soak takes; below 300 there is no verdict on growth.
        clients: that send one request after the other, of all tasks and sizes, short and long.
    """

    seconds: float = 600.0
    clients: int = 6


QUICK = Settings(seconds=5.0)


@dataclass(frozen=True)
class Sample:
    """What the server and all its processes held at one moment.

    Attributes:
        at_s: since the start.
        completed: requests so far.
        held: memory, threads, sockets, processes.
    """

    at_s: float
    completed: int
    held: Holding


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Soak a server whose caches are on, as in production; they are bounded, and full within the first minute."""
    with own_server(checkpoint, caches=True) as server:
        samples, failures = asyncio.run(_soak(server, settings))
        return section(settings, samples, failures, triton_version(server.http_url))


async def _soak(server: EmbeddedServer, settings: Settings) -> tuple[list[Sample], list[str]]:
    """What the server held over time, and what went wrong."""
    check = ResultCheck()
    failures: list[str] = []
    samples: list[Sample] = []
    completed = 0
    started_s = time.perf_counter()

    def elapsed_s() -> float:
        return time.perf_counter() - started_s

    async def one_client(client: AsyncImageClient, number: int) -> None:
        nonlocal completed
        dice = random.Random(number)
        while elapsed_s() < settings.seconds:
            request = random_request(dice)
            try:
                result = await client.generate(**request.values(), timeout_s=_REQUEST_TIMEOUT_S)
                check.check(request, result.images, result.seeds)
                completed += 1
            except (ImageGenerationError, WrongResult) as error:
                failures.append(f"{request}: {error}")

    with quiet_progress() as progress:
        bar = progress.add_task("soak: seconds", total=round(settings.seconds))

        async def sample() -> None:
            while elapsed_s() < settings.seconds:
                held = await asyncio.to_thread(holding, server.pid, server.shm_prefix)
                samples.append(Sample(elapsed_s(), completed, held))
                progress.update(bar, completed=round(elapsed_s()), refresh=True)
                await asyncio.sleep(settings.seconds / _SAMPLES)

        async with AsyncImageClient(server.grpc_url) as client:
            await asyncio.gather(sample(), *(one_client(client, number) for number in range(settings.clients)))
    return samples, failures


def growth_percent(samples: Sequence[tuple[float, float]]) -> float:
    """By how many percent a value grows from the first moment to the last, along the straight line that fits best.

    Args:
        samples: (second, value).
    """
    if len(samples) < 2:
        return math.nan
    seconds, values = np.array(samples, dtype=float).T
    slope, offset = np.polyfit(seconds, values, 1)
    first, last = offset + slope * seconds[0], offset + slope * seconds[-1]
    return float(100 * (last / first - 1)) if first > 0 else 0.0


def section(
    settings: Settings, samples: Sequence[Sample], failures: Sequence[str], versions: Mapping[str, str]
) -> Section:
    """What the report says about it."""
    settled_s = settings.seconds * _SETTLING_SHARE
    settled = [sample for sample in samples if sample.at_s >= settled_s]
    growth = {name: growth_percent([(one.at_s, float(getattr(one.held, name))) for one in settled]) for name in _HELD}
    # A thread more or less comes and goes; what leaks with each of thousands of requests shows in the ends.
    growing = [name for name in _HELD if name != "rss_bytes" and _higher_at_the_end(settled, name)]
    grown = growth["rss_bytes"] >= MAX_RSS_GROWTH_PERCENT or bool(growing)
    completed = samples[-1].completed if samples else 0
    rows = []
    for name, (title, unit) in _HELD.items():
        values = [getattr(sample.held, name) / unit for sample in settled]
        rows.append((title, values[0], values[-1], max(values), growth[name]))
    return Section(
        title="Soak",
        settings=settings,
        paragraphs=[
            f"{completed} requests of all tasks, several sizes, 70 % short and 30 % long, every response checked; "
            f"{len(failures)} failed. Sampled over the server and all its processes; growth along the best straight "
            f"line from second {settled_s:g} on.",
            table(("held", f"at {settled_s:g} s", "at the end", "most", "growth %"), rows),
        ],
        raw={"growth_percent": growth, "completed": completed, "samples": [asdict(sample) for sample in samples]},
        targets=[
            Target(
                f"soak: memory grows by less than {MAX_RSS_GROWTH_PERCENT:g} %; /dev/shm, threads, sockets do not",
                f"memory {growth['rss_bytes']:+.2f} %; growing: {', '.join(growing) or 'nothing'}",
                None if settings.seconds < _LEAST_FOR_VERDICT_S else not grown,
            )
        ],
        faults=failures,
        versions=versions,
    )


def _higher_at_the_end(settled: Sequence[Sample], name: str) -> bool:
    """Whether it is higher at the end, at its lowest over a tenth of the time, than it ever was in the first half."""
    values = [getattr(sample.held, name) for sample in settled]
    tenth, half = max(1, len(values) // 10), max(1, len(values) // 2)
    return len(values) > 1 and bool(min(values[-tenth:]) > max(values[:half]))
