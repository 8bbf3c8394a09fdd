"""The plots of `./build.sh bench`, from the parts' numbers. Each says what it was measured with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from perf.peer_report import SHOWN
from perf.stages_report import PROTOCOLS, STAGES

_OURS, _OTHERS = "#1f77b4", "#b0b7bf"
_MIB = 2**20
_DPI = 110


@dataclasses.dataclass(frozen=True)
class Plot:
    """A file of the report.

    Attributes:
        part: the result that it shows.
        file: its name.
        caption: what it shows, in a sentence.
    """

    part: str
    file: str
    caption: str


def draw_plots(folder: Path, results: Sequence[str], surroundings: Mapping[str, Any]) -> list[Plot]:
    """Draw what the numbers in `folder` allow, the main plot first.

    Args:
        folder: where the parts' JSON files lie and the plots go.
        results: of the parts that were run.
        surroundings: what it was measured with.
    """
    plots = []
    for part, file, caption, draw in _PLOTS:
        path = folder / f"{part}.json"
        if part not in results or not path.exists():
            continue
        raw = json.loads(path.read_text())
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, raw)
        versions = {**surroundings["versions"], **raw["surroundings"]["versions"]}
        wanted = ("tritonserver", "torch", "diffusers")
        figure.supxlabel(
            f"{raw['surroundings']['command']} · {surroundings['date']} · commit {surroundings['commit']}\n"
            f"{surroundings['cpu'].partition(';')[0]} · "
            + ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions),
            fontsize=7,
            color="#666666",
        )
        figure.savefig(folder / file, dpi=_DPI)
        plots.append(Plot(part, file, caption))
    return plots


def _peers(figure: Figure, raw: Mapping[str, Any]) -> None:
    plan = raw["plan"]
    columns = (
        (plan["open_name"], "short_p95_ms", f"p95 of 4-step requests, ms\nat {plan['load']:.0%} of FastAPI's capacity"),
        (plan["closed_name"], "requests_per_s", f"requests/s\nof {plan['clients']} clients in a closed loop"),
    )
    figure.suptitle("To the left: shorter is better. To the right: longer is better.")
    for axes, (scenario, name, title) in zip(figure.subplots(1, 2), columns, strict=True):
        values = {
            server: raw["summaries"][scenario][server][name] for server in SHOWN if server in raw["summaries"][scenario]
        }
        shown = [server for server in values if values[server] is not None]
        bars = axes.barh(
            [SHOWN[server] for server in shown],
            [values[server] for server in shown],
            color=[_OURS if SHOWN[server] == "this server" else _OTHERS for server in shown],
        )
        axes.bar_label(bars, fmt="%.0f" if name.endswith("_ms") else "%.2f", padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)


def _load(figure: Figure, raw: Mapping[str, Any]) -> None:
    loads = {100 * float(load): summary for load, summary in raw["loads"].items()}
    for axes, kind, names in zip(
        figure.subplots(1, 2),
        ("short (4 steps)", "long (50 steps)"),
        (("short_p50_ms", "short_p95_ms", "short_p99_ms"), ("long_p50_ms", "long_p95_ms")),
        strict=True,
    ):
        for name in names:
            points = [(load, one[name]) for load, one in loads.items() if one[name] is not None]
            axes.plot(*zip(*points, strict=True), marker="o", label=name.split("_")[1])
        axes.set_title(f"{kind} requests", fontsize=11)
        axes.set_xlabel(f"offered load, % of one client's {raw['capacity_per_s']:.2f} requests/s")
        axes.set_ylabel("ms")
        _from_zero(axes)
        axes.legend()


def _concurrency(figure: Figure, raw: Mapping[str, Any]) -> None:
    points = {int(clients): one for clients, one in raw["concurrency"].items()}
    columns = (
        ("requests_per_s", "requests/s", "throughput"),
        ("mean_rows", "rows of a forward", "how full the batch is (two rows an image)"),
        ("p95_ms", "p95, ms", "latency"),
    )
    for axes, (name, unit, title) in zip(figure.subplots(1, 3), columns, strict=True):
        axes.plot(list(points), [one[name] for one in points.values()], marker="o", color=_OURS)
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(points))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("clients")
        axes.set_ylabel(unit)
        axes.set_title(title, fontsize=11)
        _from_zero(axes)


def _occupancy(figure: Figure, raw: Mapping[str, Any]) -> None:
    rows_axes, active_axes = figure.subplots(2, 1, sharex=True)
    seconds, rows, active = zip(*raw["occupancy"], strict=True)
    rows_axes.step(seconds, rows, where="pre", color=_OURS)
    rows_axes.set_ylabel("rows of a forward")
    active_axes.step(seconds, active, where="post", color="#d95f02")
    active_axes.set_ylabel("requests drawn")
    active_axes.set_xlabel("seconds")
    for number, (load, (begin, end)) in enumerate(raw["spans_s"].items()):
        for axes in (rows_axes, active_axes):
            axes.axvspan(begin, end, color="#000000", alpha=0.06 if number % 2 else 0.0, linewidth=0)
        rows_axes.text(
            (begin + end) / 2,
            1.03,
            f"load {float(load):.0%}",
            ha="center",
            transform=rows_axes.get_xaxis_transform(),
            fontsize=9,
        )
    for axes in (rows_axes, active_axes):
        _from_zero(axes)


def _stages(figure: Figure, raw: Mapping[str, Any]) -> None:
    colours = ("#7570b3", "#a6761d", "#1b9e77", "#cccccc", "#e7298a", _OURS, "#d95f02", "#e6ab02", "#66a61e")
    whole, small = figure.subplots(1, 2)
    for axes, left_out in ((whole, ()), (small, ("denoise",))):
        starts = dict.fromkeys(PROTOCOLS, 0.0)
        for stage, colour in zip(STAGES, colours, strict=True):
            if stage in left_out:
                continue
            widths = [raw["medians_ms"][name][stage] for name in PROTOCOLS]
            label = f"{stage} " + " | ".join(f"{width:.1f}" for width in widths)
            axes.barh(PROTOCOLS, widths, left=list(starts.values()), color=colour, label=label, height=0.5)
            starts = {name: starts[name] + width for name, width in zip(PROTOCOLS, widths, strict=True)}
        axes.set_xlabel("ms")
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    for place, name in enumerate(PROTOCOLS):
        whole.plot([raw["whole_ms"][name]] * 2, [place - 0.35, place + 0.35], color="black")
    whole.set_title(
        f"one request of {raw['parameters']['steps']} steps\n(black: whole requests, timed apart)", fontsize=11
    )
    small.set_title("without denoising", fontsize=11)
    names = f"ms: {' | '.join(PROTOCOLS)}"
    figure.legend(*whole.get_legend_handles_labels(), title=names, fontsize=8, loc="outside right center")


def _growth(figure: Figure, raw: Mapping[str, Any]) -> None:
    labels = {"n": "n, images of a request", "side_px": "side, pixels", "steps": "denoising steps"}
    shown = [name for name in labels if name in raw["single_ms"]]
    for axes, name in zip(figure.subplots(1, len(shown)), shown, strict=True):
        points = {int(value): sorted(times)[len(times) // 2] for value, times in raw["single_ms"][name].items()}
        axes.plot(list(points), list(points.values()), marker="o", color=_OURS)
        axes.set_xlabel(labels[name])
        axes.set_ylabel("ms")
        power = raw["exponents"][name]
        if power is not None:
            axes.set_title(f"power {power:.2f}{' of the area' if name == 'side_px' else ''}", fontsize=11)
        _from_zero(axes)


def _soak(figure: Figure, raw: Mapping[str, Any]) -> None:
    samples = raw["samples"]
    seconds = [one["at_s"] for one in samples]
    curves = (
        ("rss_bytes", "resident memory, MiB", _MIB),
        ("shm_bytes", "/dev/shm, MiB", _MIB),
        ("threads", "threads", 1),
        ("sockets", "sockets", 1),
    )
    for axes, (name, label, unit) in zip(figure.subplots(2, 2, sharex=True).flat, curves, strict=True):
        axes.plot(seconds, [one[name] / unit for one in samples], color=_OURS)
        axes.set_title(label, fontsize=10)
        _from_zero(axes)
    figure.suptitle(f"{raw['answered']} requests in {seconds[-1]:.0f} seconds", fontsize=11)


def _from_zero(axes: Axes) -> None:
    axes.set_ylim(0, max(1.08 * axes.dataLim.ymax, 1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


_PLOTS: tuple[tuple[str, str, str, Callable[[Figure, Mapping[str, Any]], None]], ...] = (
    (
        "peers",
        "peers.png",
        "Peers side by side, bundled checkpoint: 70 % of the requests have 4 steps, 30 % have 50.",
        _peers,
    ),
    (
        "peers_launch_bound",
        "peers_launch_bound.png",
        "Peers side by side where a forward of 16 rows costs about twice one of 2, as on a GPU that is not full.",
        _peers,
    ),
    ("stages", "stages.png", "Where each millisecond of one request goes.", _stages),
    ("growth", "latency_over_load.png", "Latency percentiles over offered load.", _load),
    ("growth", "occupancy_over_time.png", "Batch occupancy over time, while the load rises.", _occupancy),
    (
        "growth",
        "throughput_over_concurrency.png",
        "Throughput, batch and latency over concurrency, 4-step requests.",
        _concurrency,
    ),
    ("growth", "growth.png", "Median cost of a single request.", _growth),
    ("soak", "soak.png", "What the server and all its processes hold over time.", _soak),
)
