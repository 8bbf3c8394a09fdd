"""The part `adapters`: merged forwards whose rows have adapters, eagerly and by a package, in turns."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.collate import describe, forward
from imagegen.engine.compiled.compiled_denoisers import CompiledDenoisers
from perf.adapters.networks import TimedNetwork, random_adapter
from perf.compiled.networks import differences, networks
from perf.report import Section, Target, table
from perf.torch_threads import torch_threads
from perf.turns import speedup, take_turns

EAGER, AOT, WITHOUT = "eager", "by a package", "by a package, without adapters"

_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: in which every way has one turn; below 5 there is no verdict.
        warmup: rounds before them.
        networks: by name.
        rows: of a forward; those with none, one or another adapter take turns.
        counts: how many different adapters a forward has.
        ranks: of the adapters.
        cache: folder of packages, which stays.
        threads: of torch.
    """

    rounds: int = 9
    warmup: int = 2
    networks: tuple[str, ...] = ("flux", "qwen", "sd-64")
    rows: tuple[int, ...] = (2, 8)
    counts: tuple[int, ...] = (1, 4, 8)
    ranks: tuple[int, ...] = (4, 16)
    cache: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Found:
    """One network, with so many adapters of one rank in a forward of so many rows.

    Attributes:
        network: its name.
        rows, count, rank: of the forward.
        eager_ms: of the eager forward, median.
        speedups: by way, of the eager forward with the same adapters: median of the rounds' ratios.
        faults: what differs, or has no package.
    """

    network: str
    rows: int
    count: int
    rank: int
    eager_ms: float
    speedups: Mapping[str, float]
    faults: Sequence[str]


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Build what is missing, then time all ways in turns, network by network."""
    known = networks(checkpoint)
    with torch_threads(settings.threads), torch.no_grad():
        found = [one for name in settings.networks for one in _measured(name, known[name], settings)]
    return section(settings, found, {name: network.title for name, network in known.items()})


def _measured(name: str, network: TimedNetwork, settings: Settings) -> list[Found]:
    plain = network.make()
    module = copy.deepcopy(plain)
    compiled = CompiledDenoisers(
        {name: module}, torch.device("cpu"), Path(settings.cache), lambda _: None, lambda _: None
    )
    compiled.take_updates({name: tuple(random_adapter(plain, 1, 0).layers)})
    stacks: dict[int, list[Updates]] = {
        rank: [((random_adapter(plain, rank, seed), 1.0),) for seed in range(max(settings.counts))]
        for rank in settings.ranks
    }
    some = stacks[settings.ranks[0]]
    for rows in (2, 2, 1):  # built, then each compared with an eager one
        for updates in ([()], some[:1]):
            _way(module, network, rows, updates)(0)
        compiled.wait()
    found = []
    for rank, adapters in stacks.items():
        for rows in settings.rows:
            for count in (each for each in settings.counts if each <= rows):
                ways = {
                    EAGER: _way(plain, network, rows, adapters[:count]),
                    AOT: _way(module, network, rows, adapters[:count]),
                    WITHOUT: _way(module, network, rows, [()]),
                }
                title = f"{network.title}, {rows} rows, {count} of rank {rank}"
                turns = take_turns(title, ways, settings.rounds, settings.warmup)
                speedups = {way: speedup(turns[EAGER], turns[way]) for way in (AOT, WITHOUT)}
                faults = differences(title, turns[AOT][-1].result, turns[EAGER][-1].result)
                eager_ms = statistics.median(turn.ms for turn in turns[EAGER])
                found.append(Found(name, rows, count, rank, eager_ms, speedups, faults))
    bad = [f"{key} is {state}" for key, state in compiled.states().items() if state != "ready"]
    compiled.close()
    return [*found, *([Found(name, 0, 0, 0, 0.0, {}, bad)] if bad else [])]


def _way(
    module: nn.Module, network: TimedNetwork, rows: int, updates: Sequence[Updates]
) -> Callable[[int], torch.Tensor]:
    """A merged forward of calls of one row, as the engine runs it; call i has updates i modulo their number."""
    torch.manual_seed(rows)
    calls = [
        describe(module, (), network.inputs(1), network.pixels, updates=updates[row % len(updates)])
        for row in range(rows)
    ]
    # One row bucket: else a call that is alone runs as it came.
    return lambda _: torch.cat([output for (output,) in forward(calls, row_buckets=(rows,))])


def section(settings: Settings, found: Sequence[Found], titles: Mapping[str, str]) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        found: by network, rank, rows and number of adapters.
        titles: of the networks.
    """
    measured = [one for one in found if one.speedups]
    lines = [
        (titles[one.network], one.rank, one.rows, one.count, one.eager_ms, one.speedups[AOT], one.speedups[WITHOUT])
        for one in measured
    ]
    targets = []
    for name in dict.fromkeys(one.network for one in measured):
        least = min(one.speedups[AOT] for one in measured if one.network == name)
        met = least >= 1 if settings.rounds >= _LEAST_ROUNDS else None
        targets.append(Target(f"{titles[name]}: with adapters never slower by a package", f"{least:.2f}", met))
    return Section(
        title="Compiled forwards with adapters",
        settings=settings,
        paragraphs=[
            "Speed-up over the eager forward with the same adapters, which has a turn in each round: medians of the"
            " rounds' ratios. float32, random inputs and adapters for attention and feed-forward layers; all outputs"
            " are compared.",
            table(
                ("", "rank", "rows", "adapters", "eager, ms", "by a package", "the same without adapters"),
                lines,
            ),
        ],
        raw={"found": [asdict(one) for one in found]},
        targets=targets,
        faults=[fault for one in found for fault in one.faults],
    )
