"""The report of `perf.analyzer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perf.analyzer_run import CONCURRENCY, RATE, Measured
from perf.report import surroundings_section, table

_TIMES = ("Avg latency", "p50 latency", "p95 latency", "p99 latency")
_STREAM_COLUMNS = {
    "Inferences/Second": "streams/s",
    "Response Throughput": "responses/s",
    **dict(zip(_TIMES, ("mean", "p50", "p95", "p99"), strict=True)),
}
_PARTS = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")
_STAGE_COLUMNS = ("fetch", "open", "queue", "encode", "denoise", "decode", "turns", "write", "rest")
_OUTSIDE = ("fetch", "open", "write")  # of the diffusion model
_NAN = float("nan")


def analyzer_report(
    surroundings: Mapping[str, Any], parameters: Mapping[str, Any], measured: Sequence[Measured]
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the measurement.
        measured: every run.
    """
    unary = [one for one in measured if not one.load.streaming]
    streams = [one for one in measured if one.load.streaming]
    closed = [one for one in unary if one.load.mode == CONCURRENCY]
    sections = [
        "# perf_analyzer",
        surroundings_section(surroundings, parameters),
        "Times are in ms. perf_analyzer's files and what it printed lie in `analyzer/`.",
        "## Concurrency sweep",
        table(("request", "protocol", CONCURRENCY, "images/s", "mean", "p50", "p95", "p99"), _rows(closed)),
        "## Poisson arrivals",
        "At shares of the most images/s of the sweep above. perf_analyzer's arrivals are always the same, and in a "
        "short run fewer than asked for: images/s is what came, over whole seconds. Late is what it sent too late.",
        table(
            ("request", "protocol", RATE, "images/s", "mean", "p50", "p95", "p99", "late %"),
            [(*row, one.delayed_percent) for one, row in _with_rows([one for one in unary if one.load.mode == RATE])],
        ),
        "## Streams",
        "`image_generation_stream` over gRPC. The latencies fit whole streams (concurrency over streams/s), although "
        "perf_analyzer announces those of first responses.",
        table(
            ("request", CONCURRENCY, *(_STREAM_COLUMNS[name] for name in _stream_columns(streams))),
            [
                (
                    one.load.kind,
                    f"{one.load.level:g}",
                    *(one.columns.get(name, _NAN) for name in _stream_columns(streams)),
                )
                for one in streams
                if not one.fault
            ],
        ),
        "## Composing models, as Triton sees them",
        "What the server's statistics say of each model. Those of `diffusion` end when it has taken a request over, so "
        "its drawing is missing here; the next table has it.",
        table(
            ("request", "protocol", CONCURRENCY, "model", "queue", "input", "infer", "output"), _composing_rows(closed)
        ),
        "## Stages, as our models measure them",
        "Mean of a request. `fetch` and `open` are input images, `queue` the wait for a slot, `turns` the wait between "
        "the next three while the device draws for others, `write` the PNG file. `rest` is what remains of "
        "perf_analyzer's mean: client, transport, hand-overs.",
        table(("request", "protocol", CONCURRENCY, *_STAGE_COLUMNS, "mean"), _stage_rows(closed)),
        "## Failed runs",
        table(("run", "reason"), [(one.load.name, one.fault) for one in measured if one.fault])
        if any(one.fault for one in measured)
        else "None.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "measured": [dataclasses.asdict(one) for one in measured],
    }
    return "\n\n".join(sections) + "\n", raw


def _rows(measured: Sequence[Measured]) -> list[tuple[object, ...]]:
    return [row for _, row in _with_rows(measured)]


def _with_rows(measured: Sequence[Measured]) -> Iterator[tuple[Measured, tuple[object, ...]]]:
    for one in measured:
        if not one.fault:
            times_ms = (one.columns[name] for name in _TIMES)
            yield one, (*_head(one), one.columns["Inferences/Second"], *times_ms)


def _head(one: Measured) -> tuple[str, str, str]:
    return one.load.kind, one.load.protocol, f"{one.load.level:.3g}"


def _composing_rows(measured: Sequence[Measured]) -> list[tuple[object, ...]]:
    return [
        (*_head(one), model, *(columns[name] for name in _PARTS))
        for one in measured
        for model, columns in one.composing.items()
    ]


def _stage_rows(measured: Sequence[Measured]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for one in measured:
        if one.stages_ms:
            mean_ms, parts_ms = one.columns["Avg latency"], dict(one.stages_ms)
            diffusion_ms = parts_ms.pop("diffusion")
            outside_ms = sum(parts_ms[stage] for stage in _OUTSIDE)
            parts_ms["turns"] = diffusion_ms - (sum(parts_ms.values()) - outside_ms)
            parts_ms["rest"] = mean_ms - diffusion_ms - outside_ms
            rows.append((*_head(one), *(parts_ms[column] for column in _STAGE_COLUMNS), mean_ms))
    return rows


def _stream_columns(streams: Sequence[Measured]) -> list[str]:
    """perf_analyzer's own, which differ for streams."""
    return [name for name in _STREAM_COLUMNS if any(name in one.columns for one in streams)]
