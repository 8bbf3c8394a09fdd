"""The part `forwards`: eager forwards, those of packages and those of torch.compile, in turns."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagegen.engine.collate import describe, forward
from imagegen.engine.compiled.compiled_denoisers import CompiledDenoisers
from perf.adapters.networks import TimedNetwork
from perf.compiled.networks import BUNDLED_UNET, TRANSFORMERS, differences, networks
from perf.report import Section, Target, table
from perf.torch_threads import torch_threads
from perf.turns import speedup, take_turns

EAGER, AOT, TORCH = "eager", "aot", "torch"
TARGETS = {**dict.fromkeys(TRANSFORMERS, 1.25), BUNDLED_UNET: 1.1}
"""Least speed-up over eager by a package, at every number of rows."""

_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: in which every way has one turn; below 5 there is no verdict.
        warmup: rounds before them.
        networks: by name.
        rows: of a forward.
        ways: of aot and torch.
        cache: folder of packages, which stays.
        threads: of torch.
    """

    rounds: int = 9
    warmup: int = 2
    networks: tuple[str, ...] = tuple(TARGETS)
    rows: tuple[int, ...] = (1, 2, 4, 8, 16)
    ways: tuple[str, ...] = (AOT, TORCH)
    cache: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Found:
    """One network.

    Attributes:
        network: its name.
        first_s: seconds of the first forward by way: of a package with its building, where it was not there.
        load_s: seconds of the first forward with a package that is there.
        eager_ms: of a forward by rows, medians.
        speedups: by way and rows: medians of eager over it, round by round.
        faults: outputs that differ from eager.
    """

    network: str
    first_s: Mapping[str, float]
    load_s: float
    eager_ms: Mapping[int, float]
    speedups: Mapping[str, Mapping[int, float]]
    faults: Sequence[str]


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Build what is missing, then time all ways in turns, network by network."""
    known = networks(checkpoint)
    with torch_threads(settings.threads), torch.no_grad():
        found = [_measured(name, known[name], settings) for name in settings.networks]
    return section(settings, found, {name: network.title for name, network in known.items()})


def _measured(name: str, network: TimedNetwork, settings: Settings) -> Found:
    plain = network.make()
    modules: dict[str, nn.Module] = {EAGER: plain, **{way: copy.deepcopy(plain) for way in settings.ways}}
    first_s = {}
    load_s, faults = float("nan"), []
    if AOT in modules:
        compiled = CompiledDenoisers(
            {name: modules[AOT]}, torch.device("cpu"), Path(settings.cache), lambda _: None, lambda _: None
        )

        def build() -> None:
            _run(modules[AOT], network, 2)
            compiled.wait()

        first_s[AOT] = _seconds(build)
        load_s = _seconds(lambda: _run(modules[AOT], network, 2))
        faults = [f"{key} is {state}" for key, state in compiled.states().items() if state != "ready"]
        compiled.close()
    if TORCH in modules:
        modules[TORCH].compile()
        first_s[TORCH] = _seconds(lambda: [_run(modules[TORCH], network, rows) for rows in settings.rows])
    eager_ms, speedups = {}, {way: {} for way in settings.ways}  # type: ignore[var-annotated]
    for rows in settings.rows:
        ways = {way: _way(module, network, rows) for way, module in modules.items()}
        turns = take_turns(f"{network.title}, {rows} rows", ways, settings.rounds, settings.warmup)
        eager_ms[rows] = statistics.median(turn.ms for turn in turns[EAGER])
        expected = turns[EAGER][-1].result
        for way in settings.ways:
            speedups[way][rows] = speedup(turns[EAGER], turns[way])
            faults += differences(f"{name}, {rows} rows, {way}", turns[way][-1].result, expected)
    return Found(name, first_s, load_s, eager_ms, speedups, faults)


def _run(module: nn.Module, network: TimedNetwork, rows: int) -> torch.Tensor:
    return _way(module, network, rows)(0)


def _way(module: nn.Module, network: TimedNetwork, rows: int) -> Callable[[int], torch.Tensor]:
    """Forwards of rows as the engine runs them, merged of one call each."""
    torch.manual_seed(rows)
    given = network.inputs(rows)

    def run(_: int) -> torch.Tensor:
        [(output,)] = forward([describe(module, (), dict(given), network.pixels)], row_buckets=(rows,))
        return output  # type: ignore[no-any-return]

    return run


def _seconds(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def section(settings: Settings, found: Sequence[Found], titles: Mapping[str, str]) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        found: by network.
        titles: of the networks.
    """
    rows = [f"{count} rows" for count in settings.rows]
    speeds = [
        (f"{titles[one.network]}, {way}", *by_rows.values()) for one in found for way, by_rows in one.speedups.items()
    ]
    eager = [(titles[one.network], *one.eager_ms.values()) for one in found]
    starts = [
        (titles[one.network], *(one.first_s.get(way, float("nan")) for way in (AOT, TORCH)), one.load_s)
        for one in found
    ]
    return Section(
        title="Compiled forwards",
        settings=settings,
        paragraphs=[
            "Speed-up over the eager forward, which has a turn in each round: medians of the rounds' ratios. float32,"
            " random inputs; all outputs are compared.",
            table(("", *rows), speeds),
            "The eager forward, ms:",
            table(("", *rows), eager),
            "Seconds of the first forwards. A package that is there already is not built: then the first column is"
            " that of a second start. torch.compile compiles at every start, once for one row and once for more, with"
            " what its own cache on this machine has.",
            table(("", "aot, with building", "torch, all row counts", "aot, package there"), starts),
        ],
        raw={"found": [asdict(one) for one in found]},
        targets=list(_targets(settings, found, titles)),
        faults=[fault for one in found for fault in one.faults],
    )


def _targets(settings: Settings, found: Sequence[Found], titles: Mapping[str, str]) -> list[Target]:
    targets = []
    for one in found:
        if AOT in one.speedups:
            least, bound = min(one.speedups[AOT].values()), TARGETS[one.network]
            meaning = f"{titles[one.network]}: at least {bound:g} times as fast by a package, at every number of rows"
            met = least >= bound if settings.rounds >= _LEAST_ROUNDS else None
            targets.append(Target(meaning, f"{least:.2f}", met))
    return targets
