"""What the report says about the comparison with baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perf.baselines.server import BASELINES
from perf.baselines.triton_server import NAME as TRITON
from perf.baselines.triton_server import PLAIN_TRITON
from perf.report import Section, Target
from perf.summaries import Record, Summary, advantage, advantage_table, summarize_all, summary_table

OWN = "imagegen"
ONE_AT_A_TIME = "fastapi"
"""The baseline whose capacity the load is a share of."""

_ALL = BASELINES | {TRITON: PLAIN_TRITON}
TITLES = {OWN: "this server"} | {name: baseline.title for name, baseline in _ALL.items()}
"""The names that people know, in the order of tables."""
_NOT_BATCHING = (ONE_AT_A_TIME,)
_OUR_ENGINE = ("engine_library",)  # not a stranger to be beaten
ADAPTER_RANK = 4
_LEAST_REQUESTS = 30  # 21 short ones, of which the p95 is next to the highest


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        launch_bound: a checkpoint of many thin layers with random weights instead of the bundled one: as a GPU that
            is not full.
        layers: of that checkpoint.
        adapters: LoRA adapters, of which each request has one; 0 for none.
        controls: half of the requests, of the short ones as of the long ones, have a control image.
        compiled: all have the denoiser compiled: the others by torch.compile for any number of rows, this server by
            `compile = aot`, with packages that are there.
        side_px: width and height of the images. At 128, for which the bundled checkpoint was trained, one image
            fills a core, as one of 1024x1024 fills a small GPU; at 64 it leaves half of it.
        baselines: besides this server.
        rounds: repetitions of everything, each with a trace of its own.
        load: rate of arrival as a share of what the one-at-a-time server can do.
        requests: of an open loop.
        clients: of the closed loop.
        each: requests of each of them.
        calibration: requests that measure the one-at-a-time server.
        seed: of the traces.
    """

    launch_bound: bool = False
    layers: int = 8
    adapters: int = 0
    controls: bool = False
    compiled: bool = False
    side_px: int = 64
    baselines: tuple[str, ...] = tuple(_ALL)
    rounds: int = 2
    load: float = 0.8
    requests: int = 60
    clients: int = 8
    each: int = 6
    calibration: int = 40
    seed: int = 1

    @property
    def title(self) -> str:
        """Of the report's section."""
        return f"Baselines side by side, {self.of}"

    @property
    def of(self) -> str:
        """What the requests are for."""
        checkpoint = f"{'launch-bound' if self.launch_bound else 'bundled'} checkpoint"
        more = [f"{self.adapters} adapters"] * bool(self.adapters)
        more += ["half with a control image"] * self.controls + ["compiled"] * self.compiled
        return ", ".join([checkpoint, *more])

    @property
    def open_name(self) -> str:
        """What the open loop is called."""
        return f"open loop, {self.load:.0%} of one-at-a-time capacity"

    @property
    def closed_name(self) -> str:
        """What the closed loop is called."""
        return f"closed loop, {self.clients} clients"


_FEW = (ONE_AT_A_TIME, "engine_library", "litserve", TRITON)
LAUNCH_BOUND = Settings(launch_bound=True, baselines=_FEW)
QUICK = Settings(baselines=_FEW, rounds=1, requests=8, each=1, calibration=6)
ADAPTERS = Settings(adapters=8, baselines=(ONE_AT_A_TIME,), rounds=3)
CONTROL = Settings(controls=True, baselines=(ONE_AT_A_TIME, "litserve"), rounds=3)
COMPILED = Settings(compiled=True, baselines=_FEW)
QUICK_COMPILED = Settings(compiled=True, baselines=(ONE_AT_A_TIME,), rounds=1, requests=8, each=1, calibration=6)
QUICK_ADAPTERS = Settings(adapters=2, baselines=(ONE_AT_A_TIME,), rounds=1, requests=8, each=1, calibration=6)
QUICK_CONTROL = Settings(
    controls=True, baselines=(ONE_AT_A_TIME, "litserve"), rounds=1, requests=8, each=1, calibration=6
)
QUICK_LAUNCH_BOUND = Settings(
    launch_bound=True, layers=1, baselines=(ONE_AT_A_TIME,), rounds=1, requests=8, each=1, calibration=6
)


@dataclass(frozen=True)
class Found:
    """What the comparison is made of.

    Attributes:
        forward_s: seconds of a denoiser forward by rows, two an image, on an otherwise idle machine.
        capacity_per_s: requests per second of the one-at-a-time server.
        records: all requests.
        left_out: why baselines did not take part, by name.
    """

    forward_s: Mapping[int, float]
    capacity_per_s: float
    records: Sequence[Record]
    left_out: Mapping[str, str]


def best(summaries: Mapping[str, Summary], statistic: str, among: Sequence[str]) -> str | None:
    """Which of `among` does best in `statistic`, an attribute of `Summary`; None where none has a number."""
    known = {
        name: value
        for name in among
        if name in summaries and not math.isnan(value := float(getattr(summaries[name], statistic))) and value > 0
    }
    choose = min if statistic.endswith("_ms") else max
    return choose(known, key=lambda name: known[name]) if known else None


def reached_targets(settings: Settings, records: Sequence[Record]) -> list[Target]:
    """Each target against the baseline that it is about."""
    summaries = summarize_all(records)
    strangers = [name for name in TITLES if name != OWN and name not in _OUR_ENGINE]
    batching = [name for name in strangers if name not in _NOT_BATCHING]
    open_name, closed_name = settings.open_name, settings.closed_name
    where, closed = f"{settings.of}, {settings.load:.0%} load", f"{settings.of}, {closed_name}"
    goals: tuple[tuple[str, str, str, float, Sequence[str]], ...] = (
        (f"{where}: short p95, one at a time: 15x", open_name, "short_p95_ms", 15.0, _NOT_BATCHING),
        (f"{where}: short p95, best batching baseline: 8x", open_name, "short_p95_ms", 8.0, batching),
        (f"{closed}: requests/s, best baseline: 1.4x", closed_name, "requests_per_s", 1.4, strangers),
        (f"{closed}: requests/s, FastAPI: 2.5x", closed_name, "requests_per_s", 2.5, _NOT_BATCHING),
    )
    if settings.adapters:
        goals = (
            (f"{where}: short p95, a lock and set_adapters: 8x", open_name, "short_p95_ms", 8.0, _NOT_BATCHING),
            (f"{closed}: requests/s, a lock and set_adapters: 1.5x", closed_name, "requests_per_s", 1.5, _NOT_BATCHING),
        )
    targets = []
    for meaning, scenario, statistic, factor, among in goals:
        other = best(summaries[scenario], statistic, among)
        if other is not None:
            chosen = [record for record in records if record.scenario == scenario]
            gained = advantage(chosen, OWN, other, statistic)
            enough = summaries[scenario][OWN].requests >= _LEAST_REQUESTS
            targets.append(Target(meaning, f"{gained} ({TITLES[other]})", gained.pooled >= factor if enough else None))
    return targets


def section(settings: Settings, found: Found, versions: Mapping[str, str]) -> Section:
    """What the report says about it."""
    summaries = summarize_all(found.records)
    compared = next(iter(summaries.values()))
    paragraphs = [
        "\n".join(f"- {_ALL[name].title}: {_ALL[name].meaning}" for name in _ALL if name in compared),
        "All have the same checkpoint, scheduler, float32, malloc settings and one torch thread, and generate one "
        f"image of {settings.side_px}x{settings.side_px} pixels a request with guidance. 70 % of the requests have 4 "
        "steps (short), 30 % have 50 (long), in an order and at times given by a seed, the same for all. "
        "Baselines are asked over HTTP, this server over gRPC. Every image is compared with the other servers' images "
        "of the same request. Latency counts from when a request was due in the open loop, and from when it was sent "
        f"in the closed one. FastAPI does {found.capacity_per_s:.2f} requests/s of this mix.",
        _forwards_text(found.forward_s),
    ]
    if settings.adapters:
        paragraphs.insert(
            2,
            f"Each request has one of {settings.adapters} LoRA adapters of rank {ADAPTER_RANK}. FastAPI has all of them"
            " in its pipeline and calls `set_adapters` behind its lock; here they share forwards.",
        )
    if settings.controls:
        paragraphs.insert(
            2,
            "Half of the requests, of the short ones as of the long ones, have a control image: edges, each other "
            "ones. The baselines have a StableDiffusionPipeline and a StableDiffusionControlNetPipeline that share "
            "weights: one for requests without a control image, the other for those with one. Here the two kinds "
            "are in flight together.",
        )
    for scenario, servers in summaries.items():
        chosen = [record for record in found.records if record.scenario == scenario]
        paragraphs += [
            f"### {scenario[0].upper()}{scenario[1:]}",
            summary_table(servers, TITLES),
            advantage_table(chosen, OWN, TITLES),
        ]
    return Section(
        title=settings.title,
        settings=settings,
        paragraphs=paragraphs,
        raw={
            "forward_s": found.forward_s,
            "capacity_per_s": found.capacity_per_s,
            "summaries": {
                scenario: {server: asdict(summary) for server, summary in servers.items()}
                for scenario, servers in summaries.items()
            },
            "left_out": found.left_out,
            "record_columns": [field.name for field in fields(Record)],
            "records": [astuple(record) for record in found.records],
        },
        targets=reached_targets(settings, found.records),
        faults=[f"{TITLES[name]} was left out: {reason}" for name, reason in found.left_out.items()]
        + [f"{record.server}, {record.scenario}: {record.error}" for record in found.records if record.error],
        plot=(
            f"{settings.title}: 70 % of the requests have 4 steps, 30 % have 50.",
            _plot(settings, summaries),
        ),
        versions=versions,
    )


def _plot(settings: Settings, summaries: Mapping[str, Mapping[str, Summary]]) -> Figure:
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    FigureCanvasAgg(figure)  # needs no display
    figure.suptitle("To the left: shorter is better. To the right: longer is better.", fontsize=11)
    columns = (
        (
            settings.open_name,
            "short_p95_ms",
            f"p95 of 4-step requests, ms\nat {settings.load:.0%} of FastAPI's capacity",
        ),
        (settings.closed_name, "requests_per_s", f"requests/s\nof {settings.clients} clients in a closed loop"),
    )
    for axes, (scenario, statistic, title) in zip(figure.subplots(1, 2), columns, strict=True):
        values = {
            name: float(getattr(summaries[scenario][name], statistic)) for name in TITLES if name in summaries[scenario]
        }
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        bars = axes.barh(
            [TITLES[name] for name in values],
            list(values.values()),
            color=["#1f77b4" if name in (OWN, *_OUR_ENGINE) else "#b0b7bf" for name in values],
        )
        axes.bar_label(bars, fmt="%.0f" if statistic.endswith("_ms") else "%.2f", padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _forwards_text(forward_s: Mapping[int, float]) -> str:
    """What batching can gain at best with this checkpoint."""
    fewest, most = min(forward_s), max(forward_s)
    gain = most / fewest * forward_s[fewest] / forward_s[most]
    times = ", ".join(f"{rows}: {seconds * 1000:.1f} ms" for rows, seconds in forward_s.items())
    return (
        f"Denoiser forward by rows, two an image: {times}. So {most // 2} images that share every forward are denoised "
        f"{gain:.2f} times as fast as one after the other: with that many nobody's batching can gain more requests/s."
    )
