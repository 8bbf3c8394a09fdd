"""The part `start`: how long an engine takes until it is ready, eagerly and with packages that are there."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imagegen.engine import Engine, EngineSettings
from perf.report import Section, Target, table

_MOST_LATER_S = 5.0
_SIZE = "64x64"


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: in which each way starts once, in a process of its own.
        cache: folder of packages, which stays.
        threads: of torch.
    """

    rounds: int = 3
    cache: str = ""
    threads: int = 1


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Start engines one after the other; the first one with packages builds them and does not count."""
    _start("aot", settings, checkpoint, wait=True)
    seconds: dict[str, list[float]] = {"off": [], "aot": []}
    for _ in range(settings.rounds):
        for way, taken in seconds.items():
            taken.append(_start(way, settings, checkpoint))
    return section(settings, seconds)


def _start(way: str, settings: Settings, checkpoint: Path, *, wait: bool = False) -> float:
    arguments = json.dumps([way, settings.cache, settings.threads, str(checkpoint), wait])
    done = subprocess.run([sys.executable, "-m", "perf.compiled.start", arguments], check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def section(settings: Settings, seconds: Mapping[str, Sequence[float]]) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        seconds: by way, until the engine was warm.
    """
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    later_s = medians["aot"] - medians["off"]
    return Section(
        title="A second start",
        settings=settings,
        paragraphs=[
            f"Seconds from loading the bundled checkpoint to the end of the warm-up at {_SIZE}, in a new process each:"
            " median.",
            table(("", "seconds"), [("eager", medians["off"]), ("with packages", medians["aot"])]),
        ],
        raw={"seconds": {way: list(taken) for way, taken in seconds.items()}},
        targets=[
            Target(
                f"ready at most {_MOST_LATER_S:g} s later than an eager engine",
                f"{later_s:.1f} s later",
                later_s <= _MOST_LATER_S,
            )
        ],
    )


def main(arguments: str) -> None:
    """Start an engine; print how many seconds it took."""
    way, cache, threads, checkpoint, wait = json.loads(arguments)
    torch.set_num_threads(threads)
    started_s = time.perf_counter()
    settings = EngineSettings(model=checkpoint, compile=way, compile_cache=cache, warmup_sizes=(_SIZE,))
    with Engine(settings) as engine:
        engine.warm_up()
        print(time.perf_counter() - started_s)
        if wait and engine.compiled is not None:
            engine.compiled.wait()


if __name__ == "__main__":
    main(sys.argv[1])
