"""The part `loads`: does a request that is being generated wait while the files of other adapters are read?

A request of many steps by itself, so that there is nothing between two forwards but its scheduler, in turns with and
without an administrator who loads one file after the other.
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.worker.child import SWITCH_INTERVAL_S
from perf.adapters.watch import Gaps, Interval, Watch, gaps, overlaps
from perf.report import Section, Target, table
from tests.unit.engine.adapters.made import write_adapter

_LEAST_STEPS = 500
_BETWEEN_S = 0.02  # two files


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: each of a request without files being read, and one while they are.
        steps: of each request; below 500 of all that see files being read there is no verdict.
        rank: of the adapters.
        files: different ones, none of which is kept.
        side_px: width and height of the image.
    """

    rounds: int = 5
    steps: int = 200
    rank: int = 64
    files: int = 4
    side_px: int = 64


QUICK = Settings(rounds=1, steps=20, rank=4, files=1)


@dataclass(frozen=True)
class Steps:
    """The steps of requests, from the begin of a forward to that of the next.

    Attributes:
        median_ms, longest_ms: of them.
        gaps: between forwards.
    """

    median_ms: float
    longest_ms: float
    gaps: Gaps


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Generate, and read, in this process with the threads' turns of the engine's own."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with tempfile.TemporaryDirectory(prefix="imagegen-adapters-") as folder:
        plain: Any = DiffusionPipeline.from_pretrained(checkpoint)
        files = [
            write_adapter(plain, Path(folder, f"{number}.safetensors"), number, rank=settings.rank)
            for number in range(settings.files)
        ]
        own = write_adapter(plain, Path(folder, "own.safetensors"), settings.files)
        size_bytes = files[0].stat().st_size
        del plain
        engine_settings = EngineSettings(
            model=str(checkpoint),
            dtype="float32",
            device="cpu",
            cpu_threads=1,
            warmup_sizes=("none",),
            max_num_inference_steps=1000,
            max_expected_s=0,
            lora_modules=(f"own={own}",),
            lora_host_bytes=own.stat().st_size * 2,  # of the others none is kept
        )
        with Engine(engine_settings) as engine:
            watch = Watch(engine)
            _generate(engine, settings)
            seen: dict[bool, list[tuple[list[Interval], list[Interval]]]] = {False: [], True: []}
            for number in range(settings.rounds):
                for reading in (False, True) if number % 2 else (True, False):
                    watch.clear()
                    _generate(engine, settings, files if reading else ())
                    seen[reading].append((list(watch.forwards), list(watch.readings)))
    return section(settings, steps(seen[False]), steps(seen[True], reading=True), size_bytes)


def _generate(engine: Engine, settings: Settings, files: Sequence[Path] = ()) -> None:
    """One image with an adapter, while files are read, each again and again."""
    done = threading.Event()

    def administrate() -> None:
        number = 0
        while files and not done.wait(_BETWEEN_S):
            file = files[number % len(files)]
            engine.load_lora(f"new-{number}", str(file))
            engine.unload_lora(f"new-{number}")
            number += 1

    thread = threading.Thread(target=administrate)
    thread.start()
    try:
        side = settings.side_px
        engine.generate("a star", size=(side, side), num_inference_steps=settings.steps, seed=1, lora="own")
    finally:
        done.set()
        thread.join()


def steps(seen: Sequence[tuple[Sequence[Interval], Sequence[Interval]]], *, reading: bool = False) -> Steps:
    """What forwards and readings of several requests come to.

    Args:
        seen: forwards and readings of each request.
        reading: only steps with a moment in which a file was read count.
    """
    lengths_ms: list[float] = []
    found = []
    for forwards, readings in seen:
        found.append(gaps(forwards, readings))
        for (begin, _), (after, _) in itertools.pairwise(forwards):
            if not reading or overlaps((begin, after), readings):
                lengths_ms.append((after - begin) * 1000)
    nothing = float("nan")

    def longest(name: str) -> float:
        values = [float(getattr(one, name)) for one in found]
        return max((value for value in values if not math.isnan(value)), default=nothing)

    both = Gaps(
        longest("longest_forward"),
        longest("longest_reading"),
        longest("longest_other"),
        len(lengths_ms),
        sum(one.readings for one in found),
    )
    return Steps(statistics.median(lengths_ms) if lengths_ms else nothing, max(lengths_ms, default=nothing), both)


def section(settings: Settings, quiet: Steps, reading: Steps, size_bytes: int) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        quiet: of the requests during which nothing was read.
        reading: of the others, those steps during which something was.
        size_bytes: of a file.
    """
    between, undisturbed = reading.gaps, quiet.gaps
    enough = between.forwards >= _LEAST_STEPS
    rows = [
        ("nothing", quiet.median_ms, quiet.longest_ms, undisturbed.longest_forward, undisturbed.longest_other),
        ("files", reading.median_ms, reading.longest_ms, between.longest_forward, between.longest_reading),
    ]
    return Section(
        title="Steps while files of adapters are read",
        settings=settings,
        paragraphs=[
            f"Requests of {settings.steps} steps of {settings.side_px}x{settings.side_px} pixels with an adapter, one"
            f" at a time, in turns by themselves and while {between.readings} files of rank {settings.rank},"
            f" {size_bytes / 1e6:.1f} MB, are loaded one after the other. Milliseconds; a step goes from the begin of a"
            " forward to the begin of the next.",
            table(("read meanwhile", "median step", "longest step", "longest forward", "longest between two"), rows),
        ],
        raw={"quiet": asdict(quiet), "reading": asdict(reading), "size_bytes": size_bytes},
        targets=[
            Target(
                "while files are read no time between two forwards is longer than a forward",
                f"{between.longest_reading:.1f} ms; the longest forward alone {undisturbed.longest_forward:.1f} ms",
                between.longest_reading <= undisturbed.longest_forward if enough else None,
            ),
            Target(
                "while files are read no step takes longer by more than a forward",
                f"{reading.longest_ms:.1f} ms; alone {quiet.median_ms:.1f} ms, the longest forward"
                f" {undisturbed.longest_forward:.1f} ms",
                reading.longest_ms <= quiet.median_ms + undisturbed.longest_forward if enough else None,
            ),
        ],
    )
