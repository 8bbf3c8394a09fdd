"""The part `cost`: what a merged forward of rows with adapters costs, beside one without and beside one an adapter."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagegen.engine.adapters.adapter_table import ComponentAdapter, Updates
from imagegen.engine.adapters.row_updates import use_slots
from imagegen.engine.collate import DenoiserCall, describe, forward
from perf.adapters.networks import TimedNetwork, random_adapter, timed_networks
from perf.report import Section, Target, table
from perf.torch_threads import torch_threads
from perf.turns import Turn, take_turns

IMAGES = 8
NONE, SPANS, MASKED, EACH = "none", "spans", "masked", "each"
TITLES = {SPANS: "one forward", MASKED: "one forward, masked", EACH: "a forward each"}
TARGETS = {"flux": 1.05, "sd-64": 1.3, "sd-128": 1.3}
"""Most that the forward with eight adapters of rank 16 may cost, as times of one without, by network."""

_TARGET_RANK = 16
_FEW = 1e-3  # of the largest value of an output: what other orders of additions make in float32
_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: in which every way has one turn; below 5 there is no verdict.
        warmup: rounds before them.
        networks: of `timed_networks`.
        ranks: of the adapters.
        counts: how many different adapters the 8 images have.
        guidance: two rows an image instead of one.
    """

    rounds: int = 15
    warmup: int = 2
    networks: tuple[str, ...] = tuple(TARGETS)
    ranks: tuple[int, ...] = (4, 16, 64)
    counts: tuple[int, ...] = (1, 2, 4, 8)
    guidance: bool = False


QUICK = Settings(rounds=1, warmup=1, ranks=(4,), counts=(1, 8))


@dataclass(frozen=True)
class Ratio:
    """How many times as long as the forward without adapters something takes, round by round.

    Attributes:
        rounds: the ratios.
        median, lowest, highest: of them.
    """

    rounds: Sequence[float]
    median: float = field(init=False)
    lowest: float = field(init=False)
    highest: float = field(init=False)

    def __post_init__(self) -> None:
        for name, of in (("median", statistics.median), ("lowest", min), ("highest", max)):
            object.__setattr__(self, name, of(self.rounds))

    def __str__(self) -> str:
        """With its range."""
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


@dataclass(frozen=True)
class Found:
    """One network with adapters of one rank.

    Attributes:
        network: its name.
        rank: of the adapters.
        none_ms: milliseconds of the forward without adapters, round by round.
        ratios: by way and number of different adapters.
        faults: outputs that differ between the ways.
    """

    network: str
    rank: int
    none_ms: Sequence[float]
    ratios: Mapping[str, Mapping[int, Ratio]]
    faults: Sequence[str]


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Time all ways in turns, network by network and rank by rank."""
    known = timed_networks(checkpoint)
    with torch_threads(1), torch.no_grad():
        found = [_measured(name, known[name], rank, settings) for name in settings.networks for rank in settings.ranks]
    return section(settings, found, {name: network.title for name, network in known.items()})


def _measured(name: str, network: TimedNetwork, rank: int, settings: Settings) -> Found:
    plain = network.make()
    spans, masked = copy.deepcopy(plain), copy.deepcopy(plain)
    use_slots(masked, max(settings.counts), rank)
    adapters = [random_adapter(plain, rank, seed) for seed in range(max(settings.counts))]
    rows = 2 if settings.guidance else 1
    torch.manual_seed(0)
    given = [network.inputs(rows) for _ in range(IMAGES)]

    def way(module: nn.Module, count: int, *, each: bool = False) -> Callable[[int], list[torch.Tensor]]:
        calls = _calls(module, given, adapters[:count], network.pixels)
        groups = [calls[first::count] for first in range(count)] if each else [calls]
        return lambda _: [output for group in groups for (output,) in forward(group)]

    ways: dict[str, Callable[[int], list[torch.Tensor]]] = {NONE: way(plain, 0)}
    for count in settings.counts:
        ways |= {f"{SPANS} {count}": way(spans, count), f"{MASKED} {count}": way(masked, count)}
        ways[f"{EACH} {count}"] = way(spans, count, each=True)
    turns = take_turns(f"cost: {network.title}, rank {rank}", ways, settings.rounds, settings.warmup)
    none_ms = [turn.ms for turn in turns[NONE]]
    ratios = {
        kind: {count: ratio(turns[f"{kind} {count}"], none_ms) for count in settings.counts}
        for kind in (SPANS, MASKED, EACH)
    }
    faults = [f"{name}, rank {rank}: {text}" for text in differences(turns, settings.counts)]
    return Found(name, rank, none_ms, ratios, faults)


def _calls(
    module: nn.Module, given: Sequence[dict[str, Any]], adapters: Sequence[ComponentAdapter], pixels: int
) -> list[DenoiserCall]:
    """One call an image; image i has adapter i modulo their number, or none."""
    count = max(1, len(adapters))
    updates: list[Updates] = [((adapter, 1.0),) for adapter in adapters] or [()]
    return [
        describe(module, (), dict(kwargs), pixels, updates=updates[number % count])
        for number, kwargs in enumerate(given)
    ]


def ratio(turns: Sequence[Turn[Any]], none_ms: Sequence[float]) -> Ratio:
    """Of what took these turns to what took `none_ms` in the same rounds."""
    return Ratio([turn.ms / ms for turn, ms in zip(turns, none_ms, strict=True)])


def differences(turns: Mapping[str, Sequence[Turn[list[torch.Tensor]]]], counts: Sequence[int]) -> list[str]:
    """Where the ways' outputs are not the same, or adapters change nothing.

    Args:
        turns: by "way number"; the outputs of a way with a forward each come adapter by adapter.
        counts: the numbers of different adapters.
    """
    wrong = []
    without = torch.cat(turns[NONE][-1].result)
    for count in counts:
        expected = torch.cat(turns[f"{SPANS} {count}"][-1].result)
        most = expected.abs().max().item() * _FEW
        order = [place for first in range(count) for place in range(first, IMAGES, count)]
        each = turns[f"{EACH} {count}"][-1].result
        for kind, outputs in (
            (MASKED, turns[f"{MASKED} {count}"][-1].result),
            (EACH, [each[order.index(place)] for place in range(IMAGES)]),
        ):
            if not (off := (torch.cat(outputs) - expected).abs().max().item()) <= most:
                wrong.append(f"{count} adapters, {TITLES[kind]}: differs by {off:.1e}")
        if not (expected - without).abs().max().item() > most:
            wrong.append(f"{count} adapters change nothing")
    return wrong


def section(settings: Settings, found: Sequence[Found], titles: Mapping[str, str]) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        found: by network and rank.
        titles: of the networks.
    """
    most = max(settings.counts)
    medians, spreads = [], []
    for one in found:
        title = f"{titles[one.network]}, rank {one.rank}"
        by_count = {
            kind: " ".join(f"{ratios[count].median:.2f}" for count in settings.counts)
            for kind, ratios in one.ratios.items()
        }
        medians.append((title, statistics.median(one.none_ms), *by_count.values()))
        spreads.append((title, *(str(ratios[most]) for ratios in one.ratios.values())))
    counts = ", ".join(map(str, settings.counts))
    rows = IMAGES * (2 if settings.guidance else 1)
    return Section(
        title="What adapters cost in a forward",
        settings=settings,
        paragraphs=[
            f"A forward of {rows} rows, {IMAGES} images, one torch thread, float32, with {counts} different adapters on"
            " all attention and feed-forward layers, as times of the same forward without adapters, which has a turn in"
            " each round: medians. Masked is the form of compiled forwards, here not compiled; a forward each is what a"
            " server does that batches by adapter. All outputs are compared.",
            table(("", "none, ms", *TITLES.values()), medians),
            f"With {most} different ones by round, median (lowest to highest):",
            table(("", *TITLES.values()), spreads),
        ],
        raw={"found": [asdict(one) for one in found]},
        targets=list(_targets(settings, found, titles)),
        faults=[fault for one in found for fault in one.faults],
    )


def _targets(settings: Settings, found: Sequence[Found], titles: Mapping[str, str]) -> list[Target]:
    targets = []
    for one in found:
        if one.rank == _TARGET_RANK and IMAGES in settings.counts and not settings.guidance:
            reached, bound = one.ratios[SPANS][IMAGES], TARGETS[one.network]
            enough = settings.rounds >= _LEAST_ROUNDS
            meaning = f"{titles[one.network]}: {IMAGES} adapters of rank {one.rank} cost at most {bound:g} times none"
            targets.append(Target(meaning, str(reached), reached.median <= bound if enough else None))
    return targets
